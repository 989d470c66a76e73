//! What becomes of a request for a legacy route (spec 3, "Legacy routes").

use http::header::{LINK, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::body::Body;
use crate::config::{LegacyConfig, LegacyMode};
use crate::message::problem::Problem;

/// When the legacy names were superseded: the day of ssecar's first version, 2026-11-23, as RFC 9745
/// wants it written.
const DEPRECATED_SINCE: HeaderValue = HeaderValue::from_static("@1795392000");

const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// A request's path under its present name.
#[derive(Debug)]
pub(super) enum Route {
    /// As it came.
    Current,
    /// Served as this path and query.
    Twin(String),
    /// Answered here.
    Answered(Response<Body>),
}

/// Finds the present name of a path and query.
pub(super) fn route(config: &LegacyConfig, path_and_query: &str) -> Route {
    let Some(twin) = config.routes.twin(path_and_query) else { return Route::Current };
    match config.mode {
        LegacyMode::Rewrite => Route::Twin(twin),
        LegacyMode::Redirect => {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            if let Ok(location) = HeaderValue::from_str(&twin) {
                response.headers_mut().insert(LOCATION, location);
            }
            mark(config, &twin, response.headers_mut());
            Route::Answered(response)
        }
        LegacyMode::Gone => {
            let path = twin.split('?').next().unwrap_or_default().to_owned();
            let problem = Problem::LegacyGone { successor: path };
            let mut response = problem.response().map(|body| Body::Full(Some(body)));
            mark(config, &twin, response.headers_mut());
            Route::Answered(response)
        }
    }
}

/// Tells the client that the name it used is a legacy one.
pub(super) fn mark(config: &LegacyConfig, twin: &str, headers: &mut HeaderMap) {
    headers.insert(DEPRECATION, DEPRECATED_SINCE);
    let path = twin.split('?').next().unwrap_or_default();
    if let Ok(link) = HeaderValue::from_str(&format!("<{path}>; rel=\"successor-version\"")) {
        headers.append(LINK, link);
    }
    if let Some(sunset) = config.sunset
        && let Ok(sunset) = HeaderValue::from_str(&httpdate::fmt_http_date(sunset))
    {
        headers.insert(SUNSET, sunset);
    }
}
