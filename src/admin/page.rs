//! The page: one file, nothing fetched from elsewhere.

/// Served at `/`.
pub(super) const HTML: &str = include_str!("page.html");
