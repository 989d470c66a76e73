//! Which paths match which patterns, and the `/v1/` twin of a legacy path (spec 3, "Legacy routes").

/// A path pattern, parsed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern(String);

impl PathPattern {
    /// Whether the path matches, as the upstream would read it.
    #[must_use]
    pub fn matches(&self, _path: &str) -> bool {
        false
    }
}

/// The legacy patterns and the prefix of their twins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyRoutes {}
