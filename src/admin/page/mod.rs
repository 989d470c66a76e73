//! What is part of the binary: the page, made of one document, a style and scripts, nothing fetched from
//! elsewhere, and the API's description.

use bytes::Bytes;
use http::HeaderValue;

/// Served at `/api/openapi.json`.
pub(super) const OPENAPI: &str = include_str!("../openapi.json");

/// Stands in the document where each answer has its own.
const NONCE: &str = "{{nonce}}";

/// The page, served at `/`.
#[derive(Debug)]
pub(super) struct Page {
    /// Whole but for the nonce.
    document: String,
}

impl Page {
    pub(super) fn new() -> Self {
        let script = concat!(
            include_str!("draw.js"),
            include_str!("ask.js"),
            include_str!("overview.js"),
            include_str!("sessions.js"),
            include_str!("chosen.js"),
            include_str!("page.js"),
        );
        let document = include_str!("page.html").replace("{{style}}", include_str!("page.css"));
        Self { document: document.replace("{{script}}", script) }
    }

    /// The document, and the policy that lets only its own style and script run (CSP level 3); `None`: the
    /// system gives no random numbers.
    pub(super) fn fresh(&self) -> Option<(Bytes, HeaderValue)> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        let nonce = format!("{:032x}", u128::from_ne_bytes(random));
        let policy = format!(
            "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let policy = HeaderValue::from_str(&policy).ok()?;
        Some((self.document.replace(NONCE, &nonce).into(), policy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pages_own_style_and_script_run_and_each_page_names_its_own() {
        let page = Page::new();
        let (document, policy) = page.fresh().unwrap();
        let document = std::str::from_utf8(&document).unwrap();
        assert!(!document.contains("{{"), "all is filled in");
        let policy = policy.to_str().unwrap();
        let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
        assert_eq!(nonce.len(), 32);
        assert_eq!(document.matches(nonce).count(), 2, "the style and the script");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(
            !document.contains(" style=\"") && !document.contains(" onclick=\""),
            "nothing inline beside them"
        );
        assert_ne!(page.fresh().unwrap().1, policy);
    }
}
