//! Which paths match which patterns, and the `/v1/` twin of a legacy path (spec 3, "Legacy routes").
//!
//! A path is matched as the upstream would read it, so that no spelling of a path slips past a rule:
//!
//! - percent-encoding is undone, once, segment by segment: `%73essions` is `sessions`, and `%2F` is a
//!   slash within its segment, not a border between two;
//! - dot segments are resolved (RFC 3986, 5.2.4), `%2e%2e` being one as well; above the root there is
//!   nothing, so `/../a` is `/a`;
//! - then empty segments are passed over, as most servers and routers do: `//a///b/` is `/a/b`, and a
//!   slash at the end changes nothing;
//! - upper and lower case differ, and a backslash is a letter like any other.
//!
//! Matching never changes what is sent: an upstream that takes `/a/` and `/a` for two things still
//! gets what the client wrote.

mod legacy;
mod path;
mod pattern;

pub use legacy::{DEFAULT_PREFIX, InvalidPrefix, LegacyRoutes};
pub use pattern::{InvalidPattern, PathPattern};
