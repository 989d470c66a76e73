//! What the upstream sent first on its present connection (spec 4.8, `late-join=opening`).

use super::{LateJoin, Position, ReplayLimits};
use crate::proto::encoder::Encoded;

/// The first events of a connection, up to the ring's limits. Their bytes are shared with the log.
#[derive(Debug, Default)]
pub(super) struct Opening {
    events: Vec<Encoded>,
    bytes: usize,
    /// The place behind the last event kept here, or where the connection began.
    until: Position,
    is_open: bool,
}

impl Opening {
    /// A connection begins at this place.
    pub(super) fn begin(at: Position) -> Self {
        Self { events: Vec::new(), bytes: 0, until: at, is_open: true }
    }

    /// The first pause, or a limit: what comes now is no longer part of the opening.
    pub(super) fn end(&mut self) {
        self.is_open = false;
    }

    /// The log's events were given up to save memory, and these with them.
    pub(super) fn forget(&mut self) {
        self.events = Vec::new();
        self.bytes = 0;
        self.is_open = false;
    }

    /// Keeps an event that ends at `end`, if the opening still goes on.
    pub(super) fn record(&mut self, event: &Encoded, end: Position, wanted: LateJoin, limits: ReplayLimits) {
        if !self.is_open || wanted != LateJoin::Opening {
            return;
        }
        let bytes = self.bytes + event.chunk().len();
        if self.events.len() >= limits.events || bytes > limits.bytes {
            self.is_open = false;
            return;
        }
        self.events.push(event.clone());
        self.bytes = bytes;
        self.until = end;
    }

    pub(super) fn events(&self) -> &[Encoded] {
        &self.events
    }

    pub(super) fn until(&self) -> Position {
        self.until
    }
}
