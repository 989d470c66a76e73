//! Session keys: equal requests have equal keys, different ones have not, and no secret is shown.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use ssecar::config::Share;
use ssecar::message::session_key::{KeyHasher, KeyRules, is_harmless};

fuzz_target!(|input: (&str, Vec<(&str, &[u8])>)| {
    let (target, fields) = input;
    let rules = KeyRules {
        credential_headers: vec![HeaderName::from_static("x-api-key")],
        credential_query: vec!["ticket".into()],
        ..KeyRules::default()
    };
    let hasher = KeyHasher::new([5; 16]);
    let headers: HeaderMap = fields
        .iter()
        .take(50)
        .filter_map(|(name, value)| {
            Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_bytes(value).ok()?))
        })
        .collect();
    for share in [Share::SameCredentials, Share::Authorized] {
        let key = rules.session_key(&hasher, target, &headers, share);
        assert_eq!(rules.session_key(&hasher, target, &headers.clone(), share), key);
        assert!(key.display().len() <= ssecar::message::session_key::DISPLAY_BYTES_MAX);
        assert!(!key.display().contains(char::is_control), "a log line is torn apart");
        let mut more = headers.clone();
        more.append("x-tenant", HeaderValue::from_static("another"));
        assert_ne!(rules.session_key(&hasher, target, &more, share), key, "a header does not count");
        let mut credential = headers.clone();
        credential.append("authorization", HeaderValue::from_static("another"));
        let is_same = rules.session_key(&hasher, target, &credential, share) == key;
        assert_eq!(is_same, share == Share::Authorized);
        let mut without = headers.clone();
        for name in headers.keys().filter(|name| is_harmless(name) && !rules.is_credential(name)) {
            without.remove(name);
        }
        assert_eq!(rules.session_key(&hasher, target, &without, share), key, "a harmless header counts");
    }
    let secret = format!("{target}{}ticket=s3cr3t-value", if target.contains('?') { '&' } else { '?' });
    let key = rules.session_key(&hasher, &secret, &headers, Share::SameCredentials);
    assert!(!key.display().contains("s3cr3t-value"), "{}", key.display());
});
