//! Headers that don't decide what the upstream answers (spec 4.2).
//!
//! What stands here is not in the key, so a wrong entry would let one client read another's stream;
//! a missing one costs an upstream connection. When in doubt, leave it out. Left out with intent,
//! because they say who someone is or what is asked for:
//!
//! - `Host`, `X-Forwarded-Host`, `X-Forwarded-Prefix`, `X-Original-URL`: they may choose a virtual host
//!   or a path;
//! - `X-Forwarded-User`, `-Email`, `-Groups`, `-Client-Cert`, `Cf-Access-*`, `X-Appengine-User-*`,
//!   `X-Arr-ClientCert`, `X-Ms-Client-Principal*`: identities, set by a proxy;
//! - `Cf-Ipcountry` and other places of clients: answers differ by country;
//! - `Origin`: answers to it name it (`Access-Control-Allow-Origin`).

use http::HeaderName;

/// Whole names, sorted: they are searched by halves.
const NAMES: [&str; 118] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "akamai-origin-hop",
    "alt-used",
    "b3",
    "baggage",
    "cache-control",
    "cdn-loop",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-ew-via",
    "cf-pseudo-ipv4",
    "cf-ray",
    "cf-visitor",
    "client-ip",
    "cloudfront-forwarded-proto",
    "cloudfront-viewer-address",
    "connection",
    "correlation-context",
    "correlation-id",
    "device-memory",
    "dnt",
    "do-connecting-ip",
    "downlink",
    "dpr",
    "early-data",
    "ect",
    "elastic-apm-traceparent",
    "fastly-client-ip",
    "fastly-ff",
    "fastly-ssl",
    "fly-client-ip",
    "fly-dispatch-start",
    "fly-forwarded-port",
    "fly-forwarded-proto",
    "fly-forwarded-ssl",
    "fly-region",
    "fly-request-id",
    "fly-traceparent",
    "fly-tracestate",
    "forwarded",
    "grpc-trace-bin",
    "http2-settings",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "last-event-id",
    "newrelic",
    "pragma",
    "priority",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "purpose",
    "referer",
    "request-context",
    "request-id",
    "rndr-id",
    "rtt",
    "save-data",
    "sentry-trace",
    "te",
    "trace-id",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "uber-trace-id",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "viewport-width",
    "width",
    "x-amz-cf-id",
    "x-amzn-trace-id",
    "x-arr-log-id",
    "x-azure-clientip",
    "x-azure-ref",
    "x-azure-requestchain",
    "x-azure-socketip",
    "x-client-ip",
    "x-client-trace-id",
    "x-cloud-trace-context",
    "x-cluster-client-ip",
    "x-correlation-id",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
    "x-forwarded-by",
    "x-forwarded-for",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-ms-client-request-id",
    "x-ms-request-id",
    "x-newrelic-id",
    "x-newrelic-transaction",
    "x-original-forwarded-for",
    "x-ot-span-context",
    "x-queue-start",
    "x-real-ip",
    "x-request-id",
    "x-request-start",
    "x-span-id",
    "x-trace-id",
];

/// Families: what a browser says about itself and its fetch, and tracing.
const PREFIXES: [&str; 4] = ["sec-", "x-b3-", "x-datadog-", "x-instana-"];

/// Whether a header is known not to matter to the upstream's answer.
#[must_use]
pub fn is_harmless(name: &HeaderName) -> bool {
    let name = name.as_str();
    NAMES.binary_search(&name).is_ok() || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// All names, and one of each family.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = String> {
    let families = PREFIXES.iter().map(|prefix| format!("{prefix}x"));
    NAMES.iter().map(ToString::to_string).chain(families)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_in_lower_case() {
        assert!(NAMES.is_sorted_by(|left, right| left < right));
        assert!(NAMES.iter().all(|name| HeaderName::from_static(name).as_str() == *name));
    }

    #[test]
    fn identities_and_places_are_not_on_it() {
        for name in [
            "authorization",
            "cookie",
            "host",
            "origin",
            "cf-access-jwt-assertion",
            "cf-access-authenticated-user-email",
            "cf-ipcountry",
            "mcp-session-id",
            "x-tenant",
            "x-forwarded-host",
            "x-forwarded-user",
            "x-forwarded-access-token",
            "x-forwarded-client-cert",
            "x-forwarded-prefix",
            "x-appengine-user-email",
            "x-arr-clientcert",
            "x-amzn-oidc-data",
            "x-goog-iap-jwt-assertion",
            "x-envoy-original-path",
            "x-requested-with",
        ] {
            assert!(!is_harmless(&HeaderName::from_static(name)), "{name}");
        }
    }
}
