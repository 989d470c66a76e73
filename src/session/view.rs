//! What operators see of a session and its clients, and what they can do to a client.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::audience::Guest;
use super::dismissal::DismissReason;
use super::shared::Session;

/// The longest error text kept, in bytes.
const ERROR_BYTES_MAX: usize = 300;

/// How far behind the end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Entries of all kinds.
    pub entries: u64,
    /// Their bytes in memory, as `--client-lag` counts them.
    pub bytes: u64,
}

/// One client of a session.
#[derive(Debug, Clone)]
pub struct ClientView {
    /// Names it among the session's clients; never given again there.
    pub id: u64,
    /// The other end of its connection; `None`: it waits for its response head.
    pub peer: Option<IpAddr>,
    /// How long it has been here.
    pub connected: Duration,
    /// Bytes of the stream handed to its socket.
    pub bytes: u64,
    /// How far it is behind; `None`: it reads something else first (a greeting, or what it missed).
    pub lag: Option<Lag>,
}

/// What came of a session's attempts so far.
#[derive(Debug, Clone, Default)]
pub struct Attempts {
    /// Attempts that came to an answer or a failure.
    pub made: u64,
    /// Those that brought no event stream.
    pub failed: u64,
    /// The newest failure, or the newest end of the stream that was none of its own.
    pub last_error: Option<LastError>,
}

/// What went wrong last.
#[derive(Debug, Clone)]
pub struct LastError {
    /// When.
    pub at: SystemTime,
    /// In words: a fault, no header or body of any request.
    pub text: String,
}

/// The attempts, as the session's task notes them.
#[derive(Debug, Default)]
pub(super) struct AttemptLog(Mutex<Attempts>);

impl AttemptLog {
    pub(super) fn succeeded(&self) {
        self.0.lock().made += 1;
    }

    pub(super) fn failed(&self, why: String) {
        {
            let mut attempts = self.0.lock();
            attempts.made += 1;
            attempts.failed += 1;
        }
        self.broke(why);
    }

    /// The stream that was there ended in a way that streams should not.
    pub(super) fn broke(&self, mut why: String) {
        let end = why.floor_char_boundary(ERROR_BYTES_MAX);
        why.truncate(end);
        self.0.lock().last_error = Some(LastError { at: SystemTime::now(), text: why });
    }
}

impl Session {
    /// Names it for operators, as long as the process runs. Tells nothing of its key.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How its attempts went.
    #[must_use]
    pub fn attempts(&self) -> Attempts {
        self.attempts.0.lock().clone()
    }

    /// How far the slowest client is behind; `None`: nobody reads the shared log.
    #[must_use]
    pub fn slowest(&self) -> Option<Lag> {
        let needed = self.audience.needed()?;
        self.lag(needed)
    }

    /// All clients, in no order.
    #[must_use]
    pub fn clients_seen(&self) -> Vec<ClientView> {
        let guests = self.audience.guests();
        let view = |Guest { id, needed, visit }: Guest| ClientView {
            id,
            peer: visit.peer(),
            connected: visit.lasted(),
            bytes: visit.bytes(),
            lag: self.lag(needed),
        };
        guests.into_iter().map(view).collect()
    }

    /// Closes one client, which may come back; `false`: there is none of this id.
    #[must_use]
    pub fn close_client(&self, id: u64) -> bool {
        self.audience.dismiss(id, DismissReason::Operator)
    }

    fn lag(&self, needed: u64) -> Option<Lag> {
        let log = self.log.read();
        (needed <= log.head()).then(|| {
            let (entries, bytes) = log.behind(needed);
            Lag { entries, bytes }
        })
    }
}
