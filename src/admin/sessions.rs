//! Sessions and their clients as JSON, sorted, filtered and cut into pages here, so that a page that
//! shows fifty of ten thousand costs fifty.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::{Value, json};

use super::query::{ClientOrder, ClientQuery, SessionOrder, SessionQuery};
use super::samples::millis;
use crate::session::{ClientView, Lag, LastError, Session, SessionState};

/// What a session's upstream side can do, by name.
pub(super) const STATES: [&str; 4] = ["connecting", "live", "waiting", "gone"];

/// The name that an id has in paths.
pub(super) fn id_text(id: u64) -> String {
    format!("{id:016x}")
}

/// The id of such a name.
pub(super) fn parse_id(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok().filter(|id| id_text(*id) == text)
}

/// A session with the values it is sorted by, looked up once.
struct Row {
    session: Arc<Session>,
    state: &'static str,
    clients: usize,
    ring: usize,
    log_bytes: usize,
    lag: Option<Lag>,
    failures: u64,
}

impl Row {
    fn new(session: Arc<Session>) -> Self {
        let (ring, log_bytes) = session.with_log(|log| (log.ring_events(), log.cost()));
        Self {
            state: state_name(session.state()),
            clients: session.clients(),
            ring,
            log_bytes,
            lag: session.slowest(),
            failures: session.attempts().failed,
            session,
        }
    }

    fn compare(&self, other: &Self, order: SessionOrder) -> Ordering {
        let lag = |row: &Self| row.lag.map_or(0, |lag| lag.bytes);
        match order {
            SessionOrder::Name => self.session.name().cmp(other.session.name()),
            SessionOrder::State => self.state.cmp(other.state),
            SessionOrder::Clients => self.clients.cmp(&other.clients),
            SessionOrder::Ring => self.ring.cmp(&other.ring),
            SessionOrder::Memory => self.log_bytes.cmp(&other.log_bytes),
            SessionOrder::Lag => lag(self).cmp(&lag(other)),
            SessionOrder::Failures => self.failures.cmp(&other.failures),
        }
    }
}

/// The sessions that are asked for.
pub(super) fn list(sessions: Vec<Arc<Session>>, query: &SessionQuery) -> Value {
    let total = sessions.len();
    let is_wanted = |session: &Arc<Session>| {
        (query.filter.is_empty() || session.name().to_lowercase().contains(&query.filter))
            && query.state.is_none_or(|state| state_name(session.state()) == state)
    };
    let mut rows: Vec<Row> = sessions.into_iter().filter(is_wanted).map(Row::new).collect();
    let matched = rows.len();
    let by_name = |left: &Row, right: &Row| {
        left.session.name().cmp(right.session.name()).then(left.session.id().cmp(&right.session.id()))
    };
    query.page.of(&mut rows, |left, right| left.compare(right, query.order), by_name);
    json!({
        "total": total,
        "matched": matched,
        "offset": query.page.offset,
        "sessions": rows.iter().map(|row| show(&row.session)).collect::<Vec<_>>(),
    })
}

/// How many sessions are in each state.
pub(super) fn count_states(sessions: &[Arc<Session>]) -> Value {
    let mut counts = STATES.map(|state| (state, 0_u64));
    for session in sessions {
        let state = state_name(session.state());
        for (_, count) in counts.iter_mut().filter(|(known, _)| *known == state) {
            *count += 1;
        }
    }
    counts
        .into_iter()
        .map(|(state, count)| (state.to_owned(), count.into()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Has the upstream asked for all sessions that wait to; how many will.
pub(super) fn retry_all(sessions: &[Arc<Session>]) -> usize {
    let waits = |session: &&Arc<Session>| matches!(session.state(), SessionState::Waiting { .. });
    sessions.iter().filter(waits).filter(|session| session.retry_now()).count()
}

/// The clients that are asked for.
pub(super) fn clients(session: &Session, query: &ClientQuery) -> Value {
    let mut rows = session.clients_seen();
    let total = rows.len();
    let lag = |client: &ClientView| client.lag.map_or(0, |lag| lag.bytes);
    let compare = |left: &ClientView, right: &ClientView| match query.order {
        ClientOrder::Id => left.id.cmp(&right.id),
        ClientOrder::Peer => left.peer.cmp(&right.peer),
        ClientOrder::Connected => left.connected.cmp(&right.connected),
        ClientOrder::Bytes => left.bytes.cmp(&right.bytes),
        ClientOrder::Lag => lag(left).cmp(&lag(right)),
    };
    query.page.of(&mut rows, compare, |left, right| left.id.cmp(&right.id));
    let show = |client: &ClientView| {
        json!({
            "id": client.id,
            "peer": client.peer.map(|peer| peer.to_string()),
            "connected_seconds": client.connected.as_secs_f64(),
            "bytes": client.bytes,
            "lag": client.lag.map(lag_json),
        })
    };
    json!({
        "total": total,
        "offset": query.page.offset,
        "clients": rows.iter().map(show).collect::<Vec<_>>(),
    })
}

/// One session.
pub(super) fn show(session: &Session) -> Value {
    let state = session.state();
    let (retry_in_ms, failures) = match state {
        SessionState::Waiting { wait, failures } => (u64::try_from(wait.as_millis()).ok(), failures),
        SessionState::Connecting | SessionState::Live | SessionState::Gone => (None, 0),
    };
    let attempts = session.attempts();
    let error = |LastError { at, text }: &LastError| json!({"at_ms": millis(*at), "text": text});
    let slowest = session.slowest();
    session.with_log(|log| {
        let (epoch, seq) = log.epoch();
        json!({
            "id": id_text(session.id()),
            "name": session.name(),
            "state": state_name(state),
            "retry_in_ms": retry_in_ms,
            "failures": failures,
            "attempts": attempts.made,
            "attempts_failed": attempts.failed,
            "last_error": attempts.last_error.as_ref().map(error),
            "clients": session.clients(),
            "slowest": slowest.map(lag_json),
            "lag_bytes_max": session.settings().client_lag_max,
            "epoch": epoch.to_string(),
            "newest": seq,
            "ring_events": log.ring_events(),
            "ring_events_max": session.settings().replay.events,
            "log_bytes": log.cost(),
        })
    })
}

fn lag_json(lag: Lag) -> Value {
    json!({"entries": lag.entries, "bytes": lag.bytes})
}

fn state_name(state: SessionState) -> &'static str {
    match state {
        SessionState::Connecting => "connecting",
        SessionState::Live => "live",
        SessionState::Waiting { .. } => "waiting",
        SessionState::Gone => "gone",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_name() {
        for id in [0, 1, 0xfeed_beef, u64::MAX] {
            assert_eq!(parse_id(&id_text(id)), Some(id));
        }
        for bad in ["", "1", "+000000000000001", "000000000000000G", "FFFFFFFFFFFFFFFF"] {
            assert_eq!(parse_id(bad), None, "{bad}");
        }
    }
}
