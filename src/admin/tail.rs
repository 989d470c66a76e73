//! The newest events of one session as they come, for an operator to look at. Holds nothing up: it is no
//! client, the log keeps nothing for it, and what it can't follow it skips, and says so.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::feed::event;
use crate::proto::decoder::{Decoder, Frame};
use crate::proto::log::{Batch, LateJoin, Read};
use crate::session::Session;

/// Between two looks. A bound on what a tail costs, together with the next.
const LOOK: Duration = Duration::from_millis(200);

/// Bytes that are looked at at once; a single event may be larger.
const LOOK_BYTES_MAX: usize = 32 * 1024;

/// The most of an event's data that is shown, in bytes.
const DATA_SHOWN_MAX: usize = 2048;

/// Says that all is well while nothing comes, so that a watcher that left is noticed.
const QUIET_LOOKS_MAX: u32 = 75;

/// Tells the ring's events, then what comes, until the session ends.
pub(super) async fn tell(session: Arc<Session>, out: mpsc::Sender<Bytes>) {
    let mut cursor = session.with_log(|log| log.join(LateJoin::Ring).cursor);
    let mut quiet = 0;
    loop {
        let read = session.with_log(|log| log.read(&mut cursor, LOOK_BYTES_MAX));
        let (text, has_ended) = match read {
            Read::Batch(Batch { text, .. }) => (Some(shown(&text)).filter(|text| !text.is_empty()), false),
            Read::Lost => {
                cursor = session.with_log(|log| log.join(LateJoin::Live).cursor);
                (Some(event("skipped", &json!({}))), false)
            }
            Read::Ended(reason) => (Some(event("end", &json!({"reason": reason.as_str()}))), true),
            Read::UpToDate if quiet >= QUIET_LOOKS_MAX => (Some(Bytes::from_static(b":\n\n")), false),
            Read::UpToDate => (None, false),
        };
        quiet = if text.is_some() { 0 } else { quiet + 1 };
        if let Some(text) = text
            && out.send(text).await.is_err()
        {
            return;
        }
        if has_ended {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Each event as JSON; comments and `retry` lines are no news.
fn shown(text: &[u8]) -> Bytes {
    let mut decoder = Decoder::new(text.len());
    let mut input = text;
    let mut out = Vec::new();
    while let Some(frame) = decoder.next_frame(&mut input) {
        if let Frame::Event(read) = frame {
            let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let cut = &read.data[..read.data.len().min(DATA_SHOWN_MAX)];
            let data: Value = json!({
                "id": read.id.map(string),
                "type": if read.event_type.is_empty() { "message".into() } else { string(read.event_type) },
                "data": string(cut),
                "bytes": read.data.len(),
            });
            out.extend_from_slice(&event("event", &data));
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_shown_in_json_and_a_long_one_is_cut() {
        let long = "é".repeat(DATA_SHOWN_MAX);
        let text = format!("id: 1\nevent: t\ndata: a\ndata: b\n\n:\n\ndata: {long}\n\n");
        let shown = String::from_utf8(shown(text.as_bytes()).to_vec()).unwrap();
        let events: Vec<Value> = shown
            .lines()
            .filter_map(|line| Some(serde_json::from_str(line.strip_prefix("data: ")?).unwrap()))
            .collect();
        assert_eq!(events.len(), 2, "{shown}");
        assert_eq!(events[0], json!({"id": "1", "type": "t", "data": "a\nb", "bytes": 3}));
        assert_eq!(events[1]["bytes"], 2 * DATA_SHOWN_MAX);
        assert_eq!(events[1]["data"].as_str().unwrap().len(), DATA_SHOWN_MAX);
        assert_eq!(events[1]["type"], "message");
    }
}
