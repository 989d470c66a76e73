//! log
/// How much a ring keeps (spec 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayLimits {
    /// Events.
    pub events: usize,
    /// Bytes, as encoded.
    pub bytes: usize,
}
