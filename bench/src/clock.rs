//! Time: nanoseconds of the monotonic clock since the process began to ask. Source and herd are one process, so that
//! an event's timestamp and its arrival are read from the same clock.

use std::sync::OnceLock;
use std::time::Instant;

/// A second in nanoseconds.
pub(crate) const SECOND: u64 = 1_000_000_000;
/// A millisecond in nanoseconds.
pub(crate) const MILLISECOND: u64 = 1_000_000;

static START: OnceLock<Instant> = OnceLock::new();

/// Nanoseconds since the first call.
pub(crate) fn now() -> u64 {
    // 64 bits of nanoseconds last for 584 years.
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}
