//! Events after which a clean end of the upstream's stream is final (spec 8.1).

use std::str::FromStr;

/// One `--end-event`: by its type or by its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndEvent {
    /// `event=NAME`: the event's type is NAME.
    Type(String),
    /// `data=TEXT`: the event's data is exactly TEXT.
    Data(String),
}

impl EndEvent {
    /// Whether an event of this type (empty: `message`) with this data is meant.
    #[must_use]
    pub fn describes(&self, event_type: &[u8], data: &[u8]) -> bool {
        match self {
            Self::Type(name) if event_type.is_empty() => name == "message",
            Self::Type(name) => name.as_bytes() == event_type,
            Self::Data(text) => text.as_bytes() == data,
        }
    }
}

impl FromStr for EndEvent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some(("event", name)) if !name.is_empty() => Ok(Self::Type(name.to_owned())),
            Some(("data", text)) => Ok(Self::Data(text.to_owned())),
            Some(_) | None => Err("event=NAME or data=TEXT"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_and_the_data_must_match_exactly() {
        let done: EndEvent = "data=[DONE]".parse().unwrap();
        assert!(done.describes(b"", b"[DONE]"));
        assert!(!done.describes(b"", b" [DONE]"));
        let end: EndEvent = "event=end".parse().unwrap();
        assert!(end.describes(b"end", b"anything"));
        assert!(!end.describes(b"", b"end"));
        let message: EndEvent = "event=message".parse().unwrap();
        assert!(message.describes(b"", b"x"), "an event without a type is a message");
    }

    #[test]
    fn other_forms_are_refused() {
        for text in ["", "done", "event=", "id=4"] {
            assert!(text.parse::<EndEvent>().is_err(), "{text}");
        }
    }
}
