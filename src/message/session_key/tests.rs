use proptest::prelude::*;

use super::*;

const SECRET: &str = "s3cr3t";

fn hasher() -> KeyHasher {
    KeyHasher::new(*b"a random process")
}

fn rules() -> KeyRules {
    let names = |names: &[&'static str]| names.iter().map(|name| HeaderName::from_static(name)).collect();
    KeyRules {
        ignored: names(&["x-noise", "x-api-key"]),
        key: names(&["user-agent"]),
        credential_headers: names(&["x-api-key", "x-real-ip"]),
        credential_query: vec!["Pass".to_owned()],
    }
}

fn head(lines: &[(impl AsRef<str>, impl AsRef<str>)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name.as_ref().parse::<HeaderName>().unwrap(), value.as_ref().parse().unwrap());
    }
    headers
}

fn key(target: &str, lines: &[(&str, &str)]) -> SessionKey {
    rules().session_key(&hasher(), target, &head(lines), Share::SameCredentials)
}

#[test]
fn clients_that_the_upstream_tells_apart_never_share() {
    let plain = key("/a?b=1", &[("host", "h")]);
    for (target, lines) in [
        ("/A?b=1", &[("host", "h")][..]),
        ("/%61?b=1", &[("host", "h")]),
        ("/a/?b=1", &[("host", "h")]),
        ("/a", &[("host", "h")]),
        ("/a?b=1&", &[("host", "h")]),
        ("/a?b=2", &[("host", "h")]),
        ("/a?b=1&b=1", &[("host", "h")]),
        ("/a?b=1&pass=x", &[("host", "h")]),
        ("/a?b=1", &[]),
        ("/a?b=1", &[("host", "i")]),
        ("/a?b=1", &[("host", "h"), ("authorization", "x")]),
        ("/a?b=1", &[("host", "h"), ("cookie", "x")]),
        ("/a?b=1", &[("host", "h"), ("cookie", "")]),
        ("/a?b=1", &[("host", "h"), ("origin", "https://o")]),
        ("/a?b=1", &[("host", "h"), ("mcp-session-id", "1")]),
        ("/a?b=1", &[("host", "h"), ("cf-access-jwt-assertion", "j")]),
        ("/a?b=1", &[("host", "h"), ("x-forwarded-user", "root")]),
    ] {
        assert_ne!(key(target, lines), plain, "{target} {lines:?}");
    }
    assert_ne!(key("/a?b=1&c=2", &[]), key("/a?c=2&b=1", &[]), "the order of parameters counts");
    assert_ne!(key("/a?pass=1", &[]), key("/a?pass=2", &[]), "credentials count, wherever they are");
    assert_ne!(
        key("/a", &[("x-t", "1"), ("x-t", "2")]),
        key("/a", &[("x-t", "2"), ("x-t", "1")]),
        "and so does the order of one header's values"
    );
    assert_ne!(key("/a", &[("x-t", "1, 2")]), key("/a", &[("x-t", "1"), ("x-t", "2")]));
    assert_ne!(key("/a", &[("x-t", "ab")]), key("/a", &[("x-ta", "b")]));
}

#[test]
fn clients_that_it_does_not_tell_apart_share() {
    let plain = key("/a?b=1", &[("x-t", "1"), ("x-u", "2")]);
    for (target, lines) in [
        ("/a?b=1", &[("x-u", "2"), ("x-t", "1")][..]),
        ("/a?b=1&lastEventId=7", &[("x-t", "1"), ("x-u", "2")]),
        ("/a?last-event-id=7&b=1", &[("x-t", "1"), ("x-u", "2"), ("last-event-id", "6")]),
        ("/a?b=1", &[("x-t", "1"), ("x-u", "2"), ("x-noise", "n"), ("accept", "*/*")]),
    ] {
        assert_eq!(key(target, lines), plain, "{target} {lines:?}");
    }
    assert_eq!(key("/a?", &[]), key("/a", &[]));
    assert_eq!(key("/a?lastEventId=1", &[]), key("/a", &[]));
}

#[test]
fn the_lists_have_an_order_of_rank() {
    let counts = |name: &str| key("/a", &[(name, "1")]) != key("/a", &[]);
    assert!(counts("user-agent"), "--key-header wins over the built-in list");
    assert!(!counts("x-noise"), "--ignore-header widens it");
    assert!(counts("x-real-ip"), "what holds credentials counts, harmless elsewhere or not");
    assert!(counts("x-api-key"), "and --ignore-header can't change that");
    let contradictions = |ignored: &[&'static str]| {
        let ignored = ignored.iter().map(|name| HeaderName::from_static(name)).collect();
        let rules = KeyRules { ignored, ..rules() };
        rules.contradictions().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(contradictions(&["x-noise", "cookie", "x-api-key"]), ["cookie", "x-api-key"]);
    assert!(contradictions(&["x-noise"]).is_empty());
    let both = KeyRules { key: rules().ignored, ..rules() };
    let with = both.session_key(&hasher(), "/a", &head(&[("x-noise", "1")]), Share::SameCredentials);
    assert_ne!(
        with,
        both.session_key(&hasher(), "/a", &HeaderMap::new(), Share::SameCredentials),
        "key wins over ignore"
    );
}

#[test]
fn the_display_blots_secrets_out_and_keeps_the_rest() {
    for (target, shown) in [
        ("/a", "/a"),
        ("/a?", "/a"),
        ("/a?b=1&&c", "/a?b=1&&c"),
        ("/a?b=1&lastEventId=9", "/a?b=1"),
        ("/a?pass=s3cr3t&b=1", "/a?pass=***&b=1"),
        ("/a?PASS=s3cr3t=x&p%61ss=s3cr3t", "/a?PASS=***&p%61ss=***"),
        ("/a?access_token=s3cr3t&X-Amz-Signature=s3cr3t", "/a?access_token=***&X-Amz-Signature=***"),
        ("/a?passport=1", "/a?passport=1"),
    ] {
        assert_eq!(&**key(target, &[]).display(), shown, "{target}");
    }
    let long = format!("/{}?pass={SECRET}", "é".repeat(DISPLAY_BYTES_MAX));
    let shown = key(&long, &[]).to_string();
    assert!(shown.len() <= DISPLAY_BYTES_MAX && shown.ends_with('…'), "{}", shown.len());
}

#[test]
fn a_fingerprint_means_nothing_to_another_process() {
    let other = KeyHasher::new([0; 16]);
    let headers = head(&[("authorization", SECRET)]);
    assert_ne!(
        rules().session_key(&other, "/a", &headers, Share::SameCredentials),
        rules().session_key(&hasher(), "/a", &headers, Share::SameCredentials)
    );
}

fn significant_name() -> impl Strategy<Value = String> {
    "[a-z]{1,3}(-[a-z0-9]{1,3})?".prop_filter("not harmless", |name| {
        let name = HeaderName::try_from(name).unwrap();
        rules().role(&name) == Role::Significant
    })
}

fn significant_head() -> impl Strategy<Value = Vec<(String, String)>> {
    let credential = prop::sample::select(vec!["authorization", "cookie", "x-api-key", "host", "x-tenant"]);
    let name = prop_oneof![significant_name(), credential.prop_map(ToOwned::to_owned)];
    prop::collection::vec((name, "[a-c,]{0,3}"), 0..5)
}

fn harmless_head() -> impl Strategy<Value = Vec<(String, String)>> {
    let names: Vec<String> =
        harmless::all().filter(|name| rules().role(&name.parse().unwrap()) == Role::Harmless).collect();
    prop::collection::vec((prop::sample::select(names), "[a-z0-9]{0,4}"), 0..5)
}

fn target() -> impl Strategy<Value = String> {
    "/[ab/%]{0,3}(\\?[ab=&]{1,5})?"
}

/// What the key is about, in a form that can be compared: the definition, against the hash.
fn meaning(target: &str, lines: &[(String, String)]) -> (String, Vec<(String, String)>) {
    let mut lines = lines.to_vec();
    lines.sort_by(|left, right| left.0.cmp(&right.0));
    (target.to_owned(), lines)
}

proptest! {
    #[test]
    fn keys_are_equal_exactly_if_what_matters_is(
        (target_a, head_a, harmless_a) in (target(), significant_head(), harmless_head()),
        (target_b, head_b, harmless_b) in (target(), significant_head(), harmless_head()),
        is_same_target: bool,
        is_same_head: bool,
    ) {
        let target_b = if is_same_target { target_a.clone() } else { target_b };
        let head_b = if is_same_head { head_a.clone() } else { head_b };
        let fingerprint = |target: &str, lines: &[(String, String)], harmless: &[(String, String)]| {
            let all: Vec<_> = harmless.iter().chain(lines).cloned().collect();
            rules().session_key(&hasher(), target, &head(&all), Share::SameCredentials)
        };
        prop_assert_eq!(
            fingerprint(&target_a, &head_a, &harmless_a) == fingerprint(&target_b, &head_b, &harmless_b),
            meaning(&target_a, &head_a) == meaning(&target_b, &head_b)
        );
    }

    #[test]
    fn any_change_of_one_significant_value_makes_another_key(
        target in target(),
        lines in significant_head(),
        at: prop::sample::Index,
        more in "[a-z]{1,3}",
    ) {
        prop_assume!(!lines.is_empty());
        let before = rules().session_key(&hasher(), &target, &head(&lines), Share::SameCredentials);
        let mut changed = lines.clone();
        changed[at.index(lines.len())].1.push_str(&more);
        prop_assert_ne!(&rules().session_key(&hasher(), &target, &head(&changed), Share::SameCredentials), &before);
        let mut fewer = lines.clone();
        fewer.remove(at.index(lines.len()));
        prop_assert_ne!(&rules().session_key(&hasher(), &target, &head(&fewer), Share::SameCredentials), &before);
    }

    #[test]
    fn no_credential_can_be_read_anywhere(
        name in "(pass|PASS|p%61ss|pas%73|access_token|Token|sig)",
        before in "[a-z=&%]{0,9}",
        after in "[a-z=&%]{0,9}",
        header in "(authorization|cookie|x-api-key)",
    ) {
        let target = format!("/a?{before}&{name}={SECRET}&{after}");
        let headers = head(&[(header, SECRET)]);
        let key = rules().session_key(&hasher(), &target, &headers, Share::SameCredentials);
        let session = rules().session_head(&hasher(), &target, &headers);
        for text in [key.display().to_string(), format!("{key} {key:?} {session:?} {:?}", hasher())] {
            prop_assert!(!text.contains(SECRET), "{}", text);
        }
    }
}

#[test]
fn where_credentials_are_shared_across_all_else_still_counts() {
    let key = |target: &str, lines: &[(&str, &str)], share| {
        rules().session_key(&hasher(), target, &head(lines), share)
    };
    for share in [Share::Authorized, Share::Public] {
        let plain = key("/a?b=1", &[("host", "h")], share);
        let other = [("host", "h"), ("authorization", "x"), ("cookie", "y"), ("x-api-key", "z")];
        assert_eq!(key("/a?pass=secret&b=1", &other, share), plain);
        assert_ne!(key("/a?b=1&password=1", &other, share), plain, "it was not named a credential");
        assert_ne!(key("/a?b=1", &[("host", "h"), ("x-tenant", "1")], share), plain);
    }
    assert_eq!(rules().without_credentials("/a?PASS=1&b=%20&pass"), "/a?b=%20");
    assert_eq!(rules().without_credentials("/a?pass=1"), "/a");
}
