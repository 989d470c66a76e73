//! Keeps rings over a restart, in one embedded database file (`--state-dir`).
//!
//! Knows records, not sessions: what a ring is, `proto::log` says. Every write is one transaction of
//! [redb], durable before it answers: a crash at any moment leaves the last one or the one before.
//!
//! [redb]: https://docs.rs/redb

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

/// The database within the directory.
const FILE: &str = "state.redb";

/// Where a database that can't be read is put; the one before it there is replaced.
const BROKEN_FILE: &str = "state.redb.broken";

/// Held while a process uses the directory.
const LOCK_FILE: &str = "lock";

/// Only the user that runs ssecar may read what is kept: it holds events.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Rings that were last written so long ago are not read any more: nobody comes back for them.
const AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Memory for the database's pages, in bytes.
const CACHE_BYTES: usize = 4 << 20;

/// `key`: the secret of session keys; `clean`: there exactly if the last process wrote all it had.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// By session: when it was written, in seconds since 1970, and its head.
const SESSIONS: TableDefinition<'_, u128, (u64, &[u8])> = TableDefinition::new("sessions");

/// By session and place: an entry of its ring.
const ENTRIES: TableDefinition<'_, (u128, u64), &[u8]> = TableDefinition::new("entries");

/// An open store.
pub struct Store {
    path: PathBuf,
    /// `None`: a write failed, after which it takes no other. It is opened anew for the next one.
    database: Option<Database>,
    _lock: File,
}

/// What was in it.
#[derive(Debug)]
pub struct Opened {
    /// To write to.
    pub store: Store,
    /// The secret by which session keys are made, the same as long as the store lives.
    pub key: [u8; 16],
    /// Whether the last process had written all that it gave out.
    pub was_clean: bool,
    /// The rings, by session.
    pub rings: HashMap<u128, StoredRing>,
}

/// One session's ring, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRing {
    /// The log's head.
    pub head: Vec<u8>,
    /// Its entries by place, oldest first.
    pub entries: Vec<(u64, Vec<u8>)>,
}

/// What to write at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// Sessions that are no more.
    pub forget: Vec<u128>,
    /// Sessions that changed.
    pub rings: Vec<RingChange>,
}

/// What changed of one session's ring.
#[derive(Debug)]
pub struct RingChange {
    /// The session.
    pub session: u128,
    /// Nothing of what was written for it before is true any more.
    pub is_new: bool,
    /// The log's head.
    pub head: Vec<u8>,
    /// New entries by place.
    pub entries: Vec<(u64, Vec<u8>)>,
    /// Entries before this place are no longer of the ring.
    pub ring_start: u64,
}

/// Why a store can't be used.
#[derive(Debug)]
pub enum StoreError {
    /// Another process uses the directory.
    InUse,
    /// The directory or the file can't be made, read or written.
    Io(io::Error),
    /// The database says so.
    Database(redb::Error),
    /// The system gives no random numbers.
    Random(getrandom::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => f.write_str("another process uses it"),
            Self::Io(error) => error.fmt(f),
            Self::Database(error) => error.fmt(f),
            Self::Random(error) => write!(f, "no random numbers: {error}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The database has an error type for each step; to us they are one.
macro_rules! from_database_errors {
    ($($error:ty),*) => {$(
        impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                match error.into() {
                    // A file that is no database is told as an I/O error, too.
                    redb::Error::Io(error) if error.kind() != io::ErrorKind::InvalidData => Self::Io(error),
                    error => Self::Database(error),
                }
            }
        }
    )*};
}

from_database_errors!(
    redb::CommitError,
    redb::DatabaseError,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError
);

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in this directory, which is made if need be, and reads what it holds, at most
    /// `bytes_max`. From now on it counts as unclean, until [`Store::close`].
    ///
    /// A database that is broken, or of another version, is put aside with a line in the log.
    ///
    /// # Errors
    /// [`StoreError`]: another process has it, or it can't be read or written.
    pub fn open(dir: &Path, bytes_max: usize, now: SystemTime) -> Result<Opened, StoreError> {
        fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)?;
        let lock = owned_file(&dir.join(LOCK_FILE))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let path = dir.join(FILE);
        let read = || {
            let database = database(&path)?;
            let (key, was_clean) = begin(&database)?;
            let rings = rings(&database, bytes_max, now)?;
            Ok((database, key, was_clean, rings))
        };
        let (database, key, was_clean, rings) = match read() {
            Err(StoreError::Database(error)) => {
                put_aside(&path, &dir.join(BROKEN_FILE), &error)?;
                read()?
            }
            result => result?,
        };
        Ok(Opened { store: Self { path, database: Some(database), _lock: lock }, key, was_clean, rings })
    }

    /// Writes, durably: all of it or, after a crash, nothing.
    ///
    /// # Errors
    /// [`StoreError`]: the disk is full, say. What was there before is still there, and the next write may succeed.
    pub fn write(&mut self, batch: &Batch, now: SystemTime) -> Result<(), StoreError> {
        let database = self.take()?;
        write(&database, batch, now)?;
        self.database = Some(database);
        Ok(())
    }

    /// Says that all was written.
    ///
    /// # Errors
    /// [`StoreError`]; then the next process takes it for unclean, which is safe.
    pub fn close(mut self) -> Result<(), StoreError> {
        let database = self.take()?;
        let transaction = database.begin_write()?;
        transaction.open_table(META)?.insert("clean", &[][..])?;
        transaction.commit()?;
        Ok(())
    }

    /// The database, to be put back if it still can be used.
    fn take(&mut self) -> Result<Database, StoreError> {
        self.database.take().map_or_else(|| database(&self.path), Ok)
    }
}

fn write(database: &Database, batch: &Batch, now: SystemTime) -> Result<(), StoreError> {
    let transaction = database.begin_write()?;
    {
        let mut sessions = transaction.open_table(SESSIONS)?;
        let mut entries = transaction.open_table(ENTRIES)?;
        let all_of = |session| (session, 0)..=(session, u64::MAX);
        for &session in &batch.forget {
            sessions.remove(session)?;
            entries.retain_in(all_of(session), |_, _| false)?;
        }
        for ring in &batch.rings {
            let RingChange { session, is_new, head, entries: new, ring_start } = ring;
            let gone = if *is_new {
                all_of(*session)
            } else {
                (*session, 0)..=(*session, ring_start.saturating_sub(1))
            };
            if *is_new || *ring_start > 0 {
                entries.retain_in(gone, |_, _| false)?;
            }
            for (place, entry) in new {
                entries.insert((*session, *place), entry.as_slice())?;
            }
            sessions.insert(*session, (seconds(now), head.as_slice()))?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn begin(database: &Database) -> Result<([u8; 16], bool), StoreError> {
    let transaction = database.begin_write()?;
    let (key, was_clean);
    {
        let mut meta = transaction.open_table(META)?;
        let known = meta.get("key")?.and_then(|key| key.value().try_into().ok());
        key = match known {
            Some(key) => key,
            None => {
                let mut key = [0; 16];
                getrandom::fill(&mut key).map_err(StoreError::Random)?;
                meta.insert("key", &key[..])?;
                key
            }
        };
        was_clean = meta.remove("clean")?.is_some();
        transaction.open_table(SESSIONS)?;
        transaction.open_table(ENTRIES)?;
    }
    transaction.commit()?;
    Ok((key, was_clean))
}

fn rings(
    database: &Database,
    bytes_max: usize,
    now: SystemTime,
) -> Result<HashMap<u128, StoredRing>, StoreError> {
    let transaction = database.begin_read()?;
    let (sessions, entries) = (transaction.open_table(SESSIONS)?, transaction.open_table(ENTRIES)?);
    let oldest = seconds(now).saturating_sub(AGE_MAX.as_secs());
    let (mut rings, mut old, mut bytes) = (HashMap::new(), Vec::new(), 0);
    for row in sessions.iter()? {
        let (session, head) = row?;
        let (session, (written, head)) = (session.value(), head.value());
        if written < oldest || bytes > bytes_max {
            old.push(session);
            continue;
        }
        let mut ring = StoredRing { head: head.to_vec(), entries: Vec::new() };
        for row in entries.range((session, 0)..=(session, u64::MAX))? {
            let (place, entry) = row?;
            bytes += entry.value().len();
            ring.entries.push((place.value().1, entry.value().to_vec()));
        }
        rings.insert(session, ring);
    }
    drop(transaction);
    if !old.is_empty() {
        write(database, &Batch { forget: old, rings: Vec::new() }, now)?;
    }
    Ok(rings)
}

fn database(path: &Path) -> Result<Database, StoreError> {
    let file = owned_file(path)?;
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    Ok(builder.create_with_backend(FileBackend::new(file)?)?)
}

fn owned_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)
}

fn put_aside(path: &Path, aside: &PathBuf, error: &redb::Error) -> io::Result<()> {
    tracing::warn!(
        %error,
        aside = %aside.display(),
        "the state can't be read: put aside, starting without it"
    );
    fs::rename(path, aside)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("ssecar-store-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            Self(dir)
        }

        fn open(&self) -> Opened {
            Store::open(&self.0, 1 << 20, NOW).unwrap()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn change(session: u128, is_new: bool, places: &[u64], ring_start: u64) -> RingChange {
        let entries = places.iter().map(|place| (*place, vec![b'x'; 3])).collect();
        RingChange { session, is_new, head: vec![1], entries, ring_start }
    }

    fn places(opened: &Opened, session: u128) -> Vec<u64> {
        opened.rings[&session].entries.iter().map(|(place, _)| *place).collect()
    }

    #[test]
    fn what_was_written_is_there_again_and_what_left_the_ring_is_not() {
        let dir = Dir::new("again");
        let mut first = dir.open();
        assert!(!first.was_clean && first.rings.is_empty());
        let batch = |rings| Batch { forget: Vec::new(), rings };
        first
            .store
            .write(&batch(vec![change(1, true, &[0, 1, 2], 0), change(2, true, &[0], 0)]), NOW)
            .unwrap();
        first.store.write(&batch(vec![change(1, false, &[3], 2)]), NOW).unwrap();
        first.store.close().unwrap();

        let mut second = dir.open();
        assert_eq!((second.was_clean, second.key), (true, first.key));
        assert_eq!((places(&second, 1), places(&second, 2)), (vec![2, 3], vec![0]));
        second.store.write(&batch(vec![change(1, true, &[0], 0)]), NOW).unwrap();
        second.store.write(&Batch { forget: vec![2], rings: Vec::new() }, NOW).unwrap();
        drop(second);

        let third = dir.open();
        assert!(!third.was_clean, "it was not closed");
        assert_eq!((places(&third, 1), third.rings.len()), (vec![0], 1));
    }

    #[test]
    fn after_a_failed_write_the_database_is_opened_anew() {
        let dir = Dir::new("anew");
        let mut store = dir.open().store;
        let batch = Batch { forget: Vec::new(), rings: vec![change(7, true, &[1, 2], 0)] };
        store.write(&batch, NOW).unwrap();
        // As a failed write leaves it, and while what made it fail lasts.
        store.database = None;
        let path = std::mem::replace(&mut store.path, dir.0.clone());
        let more = Batch { forget: Vec::new(), rings: vec![change(7, true, &[1, 2, 3], 0)] };
        assert!(store.write(&more, NOW).is_err(), "a directory is no database");
        store.path = path;
        store.write(&more, NOW).unwrap();
        store.close().unwrap();
        let opened = dir.open();
        assert!(opened.was_clean);
        assert_eq!(places(&opened, 7), [1, 2, 3]);
    }

    #[test]
    fn a_directory_serves_one_process_at_a_time() {
        let dir = Dir::new("lock");
        let opened = dir.open();
        assert!(matches!(Store::open(&dir.0, 0, NOW), Err(StoreError::InUse)));
        drop(opened);
        dir.open();
    }

    #[test]
    fn nobody_else_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = Dir::new("mode");
        let _opened = dir.open();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir.0), mode(&dir.0.join(FILE))), (DIR_MODE, FILE_MODE));
    }

    #[test]
    fn what_is_old_or_too_much_is_forgotten() {
        let dir = Dir::new("old");
        let mut opened = dir.open();
        let batch = Batch { forget: Vec::new(), rings: vec![change(1, true, &[0], 0)] };
        opened.store.write(&batch, NOW).unwrap();
        drop(opened);
        let late = Store::open(&dir.0, 1 << 20, NOW + AGE_MAX + Duration::from_secs(1)).unwrap();
        assert!(late.rings.is_empty());
        drop(late);
        assert!(dir.open().rings.is_empty());
    }

    #[test]
    fn a_broken_file_is_put_aside() {
        let dir = Dir::new("broken");
        drop(dir.open());
        fs::write(dir.0.join(FILE), vec![7; 10_000]).unwrap();
        assert!(dir.open().rings.is_empty());
        assert_eq!(fs::read(dir.0.join(BROKEN_FILE)).unwrap().len(), 10_000);
    }

    #[test]
    fn a_directory_that_can_not_be_is_an_error() {
        assert!(matches!(Store::open(Path::new("/proc/nowhere"), 0, NOW), Err(StoreError::Io(_))));
    }
}
