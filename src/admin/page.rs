//! What is part of the binary: the page, one file, nothing fetched from elsewhere, and the API's description.

/// Served at `/`.
pub(super) const HTML: &str = include_str!("page.html");

/// Served at `/api/openapi.json`.
pub(super) const OPENAPI: &str = include_str!("openapi.json");
