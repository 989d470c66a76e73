//! Proof of the roster's promise (spec 4.5) by [loom]: every interleaving of newcomers, leavers and the
//! end of a session, with every order of memory that Rust allows. The roster is the very file of the
//! library, built here on loom's locks and atomics.
//!
//! [loom]: https://docs.rs/loom

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "../../src/session/roster.rs"]
mod roster;
mod sync;

use std::sync::atomic::{AtomicUsize as Counter, Ordering as Plain};

use loom::thread;

use roster::{Member, Roster};
use sync::{Arc, AtomicBool, AtomicUsize, Ordering};

const KEY: u8 = 7;

/// A session as the roster sees it, and whether it is over.
struct Session {
    clients: AtomicUsize,
    is_over: AtomicBool,
}

impl Session {
    fn new() -> Arc<Self> {
        Arc::new(Self { clients: AtomicUsize::new(0), is_over: AtomicBool::new(false) })
    }

    fn leave(&self) {
        self.clients.fetch_sub(1, Ordering::AcqRel);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

impl Member for Session {
    type Key = u8;

    fn key(&self) -> &u8 {
        &KEY
    }

    fn clients(&self) -> &AtomicUsize {
        &self.clients
    }
}

type Sessions = Arc<Roster<Session>>;

fn empty() -> Sessions {
    Arc::new(Roster::new(1, 10))
}

/// What the registry does for a client; `None`: nobody is let in any more.
fn come(sessions: &Sessions) -> Option<Arc<Session>> {
    let mut shard = sessions.lock(0)?;
    let session = shard.find(&KEY, |_| true).unwrap_or_else(|| {
        assert!(shard.has_room());
        let session = Session::new();
        shard.add(&session);
        session
    });
    shard.enter(&session);
    Some(session)
}

/// What a session's task does when its time of linger is over.
fn linger_out(sessions: &Sessions, session: &Arc<Session>) -> bool {
    let is_over = sessions.remove_if_alone(0, session);
    if is_over {
        session.is_over.store(true, Ordering::Relaxed);
    }
    is_over
}

/// Runs a model over all interleavings, and says how many there were.
fn explore(what: &str, model: impl Fn() + Send + Sync + 'static) {
    let runs = std::sync::Arc::new(Counter::new(0));
    let counting = std::sync::Arc::clone(&runs);
    loom::model(move || {
        counting.fetch_add(1, Plain::Relaxed);
        model();
    });
    let runs = runs.load(Plain::Relaxed);
    println!("{what}: {runs} interleavings");
    assert!(runs > 1, "the model has no race");
}

#[test]
fn a_newcomer_finds_the_living_session_or_a_fresh_one_never_one_that_ends() {
    explore("a newcomer and the end of linger", || {
        let sessions = empty();
        let old = come(&sessions).unwrap();
        old.leave();
        let newcomer = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || {
                let mine = come(&sessions).unwrap();
                assert!(!mine.is_over(), "it entered a session that is over");
                mine
            })
        };
        let has_ended = linger_out(&sessions, &old);
        let mine = newcomer.join().unwrap();
        assert!(!mine.is_over());
        assert_eq!(has_ended, !Arc::ptr_eq(&mine, &old), "the old one lives on exactly if it was entered");
        let all = sessions.all();
        assert_eq!(all.len(), 1);
        assert!(Arc::ptr_eq(&all[0], &mine));
    });
}

#[test]
fn clients_that_open_a_cold_session_at_once_open_one() {
    explore("three at once, cold", || {
        let sessions = empty();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let sessions = Arc::clone(&sessions);
                thread::spawn(move || come(&sessions).unwrap())
            })
            .collect();
        let mine = come(&sessions).unwrap();
        for other in others {
            assert!(Arc::ptr_eq(&other.join().unwrap(), &mine));
        }
        assert_eq!(mine.clients.load(Ordering::Acquire), 3);
        assert_eq!((sessions.all().len(), sessions.len()), (1, 1));
    });
}

#[test]
fn the_last_that_leaves_and_the_first_that_comes_agree() {
    explore("the last leaves, one comes, linger ends", || {
        let sessions = empty();
        let old = come(&sessions).unwrap();
        let leaver = {
            let old = Arc::clone(&old);
            thread::spawn(move || old.leave())
        };
        let newcomer = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || {
                let mine = come(&sessions).unwrap();
                assert!(!mine.is_over());
                mine
            })
        };
        let has_ended = linger_out(&sessions, &old);
        leaver.join().unwrap();
        let mine = newcomer.join().unwrap();
        assert_eq!(has_ended, !Arc::ptr_eq(&mine, &old));
        assert_eq!(mine.clients.load(Ordering::Acquire), 1);
        mine.leave();
        assert!(linger_out(&sessions, &mine), "nobody is there");
        assert!(sessions.all().is_empty(), "and nothing is left");
    });
}

#[test]
fn an_end_that_comes_twice_takes_no_fresh_session_with_it() {
    explore("an end, twice, and a newcomer", || {
        let sessions = empty();
        let old = come(&sessions).unwrap();
        let ending = {
            let (sessions, old) = (Arc::clone(&sessions), Arc::clone(&old));
            thread::spawn(move || {
                // The upstream said 404; then the task's own end removes it again, to be sure.
                sessions.remove(0, &old);
                sessions.remove(0, &old);
            })
        };
        let mine = come(&sessions).unwrap();
        ending.join().unwrap();
        let all = sessions.all();
        if Arc::ptr_eq(&mine, &old) {
            assert!(all.is_empty(), "it came before the end, and is told of it");
        } else {
            assert!(all.len() == 1 && Arc::ptr_eq(&all[0], &mine));
        }
    });
}

#[test]
fn whoever_is_let_in_before_the_close_is_seen_after_it() {
    explore("a close and a newcomer", || {
        let sessions = empty();
        let newcomer = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || come(&sessions))
        };
        sessions.close();
        let seen = sessions.all();
        match newcomer.join().unwrap() {
            Some(mine) => {
                assert!(seen.iter().any(|session| Arc::ptr_eq(session, &mine)), "it would be forgotten")
            }
            None => assert!(seen.is_empty()),
        }
    });
}
