//! What ssecar has noticed and an operator should know: said once in the log, and kept for the
//! admin page (spec 4.2, 4.8).

use std::fmt;

use http::HeaderName;
use parking_lot::Mutex;

/// The most advices kept; later ones are only logged.
const ADVICES_MAX: usize = 100;

/// One thing that could be better, and the flag that helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// Clients of a path never share because of one header whose value is always new.
    NeverShared {
        /// The path, without query.
        path: String,
        /// The header.
        header: HeaderName,
    },
    /// The upstream greets each connection, and a client that comes late does not get the greeting.
    Greeting {
        /// The session's name.
        session: String,
    },
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverShared { path, header } => write!(
                f,
                "clients of {path} never share a subscription, because the value of {header} is always new: if \
                 the upstream does not answer by it, use --ignore-header {header}"
            ),
            Self::Greeting { session } => write!(
                f,
                "the upstream greets each connection of {session}, and a client that comes late does not get \
                 the greeting: consider late-join=opening or late-join=fresh"
            ),
        }
    }
}

/// All advices given, each once.
#[derive(Debug, Default)]
pub(super) struct Advices {
    given: Mutex<Vec<Advice>>,
}

impl Advices {
    pub(super) fn give(&self, advice: Advice) {
        let mut given = self.given.lock();
        if given.contains(&advice) {
            return;
        }
        tracing::warn!("{advice}");
        if given.len() < ADVICES_MAX {
            given.push(advice);
        }
    }

    pub(super) fn all(&self) -> Vec<Advice> {
        self.given.lock().clone()
    }
}
