//! The response head of a lane's client, as hyper would write it.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderName, response};

/// What says how the body is framed, or when this was written, is ours to say.
const OURS: [HeaderName; 4] = [CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING];

/// For a body in chunks, the last of its connection (RFC 9112, 7.1 and 9.6).
pub(super) fn encode(head: &response::Parts) -> Bytes {
    let reason = head.status.canonical_reason().unwrap_or_default();
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_u16()).into_bytes();
    for (name, value) in head.headers.iter().filter(|(name, _)| !OURS.contains(name)) {
        put_field(&mut text, name.as_str(), value.as_bytes());
    }
    put_field(&mut text, "transfer-encoding", b"chunked");
    put_field(&mut text, "connection", b"close");
    put_field(&mut text, "date", httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    text.extend_from_slice(b"\r\n");
    text.into()
}

fn put_field(text: &mut Vec<u8>, name: &str, value: &[u8]) {
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::{Response, StatusCode};

    use super::*;

    #[test]
    fn a_head_has_the_sessions_fields_and_says_itself_how_its_body_is_framed() {
        let response = Response::builder()
            .header("content-type", "text/event-stream")
            .header("x-app", "one")
            .header("x-app", "two")
            .header("connection", "keep-alive")
            .header("content-length", "7")
            .header("date", "then")
            .header("transfer-encoding", "gzip")
            .body(())
            .unwrap();
        let head = encode(&response.into_parts().0);
        let text = std::str::from_utf8(&head).unwrap();
        let (fields, date) = text.split_once("date: ").unwrap();
        assert_eq!(
            fields,
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-app: one\r\nx-app: two\r\n\
             transfer-encoding: chunked\r\nconnection: close\r\n"
        );
        let date = date.strip_suffix("\r\n\r\n").unwrap();
        let age = SystemTime::now().duration_since(httpdate::parse_http_date(date).unwrap()).unwrap();
        assert!(age.as_secs() < 60, "{date}");
    }

    #[test]
    fn a_status_without_a_known_reason_keeps_its_space() {
        let response = Response::builder().status(StatusCode::from_u16(299).unwrap()).body(()).unwrap();
        assert!(encode(&response.into_parts().0).starts_with(b"HTTP/1.1 299 \r\n"));
    }
}
