//! What there is to ask for. `openapi.json` describes exactly this, which a test holds it to.

use http::Method;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Page,
    Live,
    Ready,
    Metrics,
    Description,
    State,
    Overview,
    Stream,
    Sessions,
    Session,
    Tail,
    Clients,
    Retry,
    RetryAll,
    End,
    CloseClient,
}

impl Endpoint {
    /// Whether its answer tells or changes something: probes have no token, and the page is the same
    /// for everyone.
    pub(super) fn needs_token(self) -> bool {
        !matches!(self, Self::Page | Self::Live | Self::Ready)
    }
}

/// Method, path, what it is. `HEAD` goes where `GET` goes.
const ROUTES: [(Method, &str, Endpoint); 16] = [
    (Method::GET, "/", Endpoint::Page),
    (Method::GET, "/livez", Endpoint::Live),
    (Method::GET, "/readyz", Endpoint::Ready),
    (Method::GET, "/metrics", Endpoint::Metrics),
    (Method::GET, "/api/openapi.json", Endpoint::Description),
    (Method::GET, "/api/state", Endpoint::State),
    (Method::GET, "/api/overview", Endpoint::Overview),
    (Method::GET, "/api/stream", Endpoint::Stream),
    (Method::POST, "/api/retry", Endpoint::RetryAll),
    (Method::GET, "/api/sessions", Endpoint::Sessions),
    (Method::GET, "/api/sessions/{session}", Endpoint::Session),
    (Method::DELETE, "/api/sessions/{session}", Endpoint::End),
    (Method::POST, "/api/sessions/{session}/retry", Endpoint::Retry),
    (Method::GET, "/api/sessions/{session}/tail", Endpoint::Tail),
    (Method::GET, "/api/sessions/{session}/clients", Endpoint::Clients),
    (Method::POST, "/api/sessions/{session}/clients/{client}/close", Endpoint::CloseClient),
];

/// A request's endpoint, and what its path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) endpoint: Endpoint,
    /// The session's and the client's id, as they stand in the path.
    pub(super) names: [&'a str; 2],
}

/// Why there is nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Absent {
    Path,
    /// There is, for these methods.
    Method(Vec<Method>),
}

/// What a request asks for.
///
/// # Errors
/// [`Absent`].
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Result<Target<'a>, Absent> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut others = Vec::new();
    for (allowed, pattern, endpoint) in &ROUTES {
        match names(pattern, path) {
            Some(names) if allowed == method => return Ok(Target { endpoint: *endpoint, names }),
            Some(_) => others.push(allowed.clone()),
            None => {}
        }
    }
    Err(if others.is_empty() { Absent::Path } else { Absent::Method(others) })
}

fn names<'a>(pattern: &str, path: &'a str) -> Option<[&'a str; 2]> {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    let mut names = [""; 2];
    let mut free = names.iter_mut();
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return Some(names),
            (Some(part), Some(name)) if part.starts_with('{') && !name.is_empty() => *free.next()? = name,
            (Some(part), Some(name)) if part == name => {}
            (Some(_) | None, Some(_) | None) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_path_names_its_session_and_client() {
        let target = find(&Method::POST, "/api/sessions/a1/clients/7/close").unwrap();
        assert_eq!(target, Target { endpoint: Endpoint::CloseClient, names: ["a1", "7"] });
        assert_eq!(find(&Method::HEAD, "/readyz").unwrap().endpoint, Endpoint::Ready);
        assert_eq!(find(&Method::GET, "/api/sessions/"), Err(Absent::Path));
        assert_eq!(find(&Method::GET, "/nowhere"), Err(Absent::Path));
        assert_eq!(
            find(&Method::PUT, "/api/sessions/a1"),
            Err(Absent::Method(vec![Method::GET, Method::DELETE]))
        );
    }

    #[test]
    fn the_description_has_every_route_and_no_other() {
        let description: Value = serde_json::from_str(super::super::page::OPENAPI).unwrap();
        let described: BTreeSet<(String, String)> = description["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().keys().filter(|key| *key != "parameters");
                methods.map(move |method| (method.to_uppercase(), path.clone()))
            })
            .collect();
        let served: BTreeSet<_> =
            ROUTES.iter().map(|(method, path, _)| (method.to_string(), (*path).to_owned())).collect();
        assert_eq!(described, served);
    }

    #[test]
    fn the_description_says_which_answers_need_the_token() {
        let description: Value = serde_json::from_str(super::super::page::OPENAPI).unwrap();
        for (method, path, endpoint) in &ROUTES {
            let operation = &description["paths"][path][method.as_str().to_lowercase()];
            let is_open = operation["security"].as_array().is_some_and(Vec::is_empty);
            assert_eq!(is_open, !endpoint.needs_token(), "{method} {path}");
        }
    }
}
