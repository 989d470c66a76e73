//! One request to the collector: OTLP over HTTP, in JSON.
//!
//! The way there is that to the upstream (pool, TLS, time-outs), with settings of its own.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;

use super::otlp::{self, Partial, Resource};
use super::span::Span;
use crate::config::{HostHeader, TracingConfig, UpstreamConfig};
use crate::message::negotiation;
use crate::upstream::{RequestBody, SetupError, UpstreamClient};

/// Where spans are taken, below `--otlp-endpoint` (OTLP/HTTP).
const TRACES_PATH: &str = "/v1/traces";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Shorter than collectors keep idle connections, so that a batch seldom meets one that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// What of an answer is read, in bytes; a longer one counts as one that can't be read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The largest `--otlp-header-file`, in bytes, and the most headers in it.
const HEADER_FILE_BYTES_MAX: u64 = 64 * 1024;
const HEADERS_MAX: usize = 32;

/// Headers that belong to the connection or to the request's form.
const RESERVED: [&str; 10] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Where spans go.
#[derive(Debug)]
pub(super) struct Collector {
    client: UpstreamClient,
    headers: Option<HeaderFile>,
    resource: Resource,
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Taken, but for those that the collector did not want.
    Taken(Partial),
    /// Not now; it may be tried again, at the earliest after this time.
    NotNow { why: String, wait: Duration },
    /// Trying again would change nothing.
    Refused { why: String },
}

/// A file of headers, such as one with a credential. Read for each request, since credentials are renewed by writing
/// it anew.
#[derive(Debug, Clone)]
pub(super) struct HeaderFile(PathBuf);

/// Why there is no way to the collector.
#[derive(Debug)]
pub enum NoCollector {
    /// TLS can't be set up.
    Setup(SetupError),
    /// `--otlp-header-file` can't be used.
    HeaderFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; none of its content.
        cause: String,
    },
}

/// The settings of the way to the collector.
pub(super) fn way_to(config: &TracingConfig) -> UpstreamConfig {
    UpstreamConfig {
        target: config.endpoint.clone(),
        ca_file: config.ca_file.clone(),
        client_certificate: None,
        authorization_file: None,
        host_header: HostHeader::Upstream,
        connect_timeout: CONNECT_TIMEOUT,
        response_timeout: RESPONSE_TIMEOUT,
        pool_idle_max: 1,
        pool_idle_timeout: IDLE_TIMEOUT,
    }
}

impl Collector {
    pub(super) fn new(client: UpstreamClient, headers: Option<HeaderFile>, resource: Resource) -> Self {
        Self { client, headers, resource }
    }

    /// Sends a batch, and waits for what the collector says.
    pub(super) async fn send(&self, spans: &[Span]) -> Verdict {
        let headers = match &self.headers {
            None => HeaderMap::new(),
            Some(file) => match file.read().await {
                Ok(headers) => headers,
                Err(error) => return Verdict::NotNow { why: error.to_string(), wait: Duration::ZERO },
            },
        };
        let request = post(headers, otlp::request(&self.resource, spans));
        let exchange = async {
            let response =
                self.client.send(request).await.map_err(|error| error.fault().token().to_owned())?;
            Ok(judge(response).await)
        };
        // The time-outs of the client end with the answer's head.
        match tokio::time::timeout(CONNECT_TIMEOUT + RESPONSE_TIMEOUT, exchange).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(why)) => Verdict::NotNow { why, wait: Duration::ZERO },
            Err(_elapsed) => Verdict::NotNow { why: "no whole answer in time".into(), wait: Duration::ZERO },
        }
    }
}

fn post(headers: HeaderMap, body: Vec<u8>) -> Request<RequestBody> {
    let length = body.len();
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
    let mut request = Request::new(RequestBody::streamed(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(TRACES_PATH);
    *request.headers_mut() = headers;
    let own = request.headers_mut();
    own.insert(CONTENT_LENGTH, HeaderValue::from(length));
    own.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    own.entry(USER_AGENT).or_insert(HeaderValue::from_static(concat!(
        env!("CARGO_PKG_NAME"),
        "/",
        env!("CARGO_PKG_VERSION")
    )));
    request
}

/// By OTLP's rules ("Failures", "Failures and retries"): 429, 502, 503 and 504 may be tried again, other errors not.
async fn judge(response: Response<Incoming>) -> Verdict {
    let status = response.status();
    if status.is_success() {
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        return Verdict::Taken(
            body.map_or_else(|_| Partial::default(), |body| otlp::partial(&body.to_bytes())),
        );
    }
    let why = format!("it answers {}", status.as_u16());
    let is_passing = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    if !is_passing {
        return Verdict::Refused { why };
    }
    let wait = negotiation::retry_after(response.headers(), SystemTime::now()).unwrap_or_default();
    Verdict::NotNow { why, wait }
}

impl HeaderFile {
    /// Checks that the file can be used now.
    pub(super) fn open(path: &Path) -> Result<Self, NoCollector> {
        let file = Self(path.to_owned());
        file.read_now()?;
        Ok(file)
    }

    async fn read(&self) -> Result<HeaderMap, NoCollector> {
        let file = self.clone();
        let read = tokio::task::spawn_blocking(move || file.read_now()).await;
        read.map_err(|error| self.wrong(error)).flatten()
    }

    fn read_now(&self) -> Result<HeaderMap, NoCollector> {
        let mut text = String::new();
        let file = std::fs::File::open(&self.0).map_err(|error| self.wrong(error))?;
        file.take(HEADER_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| self.wrong(error))?;
        if text.len() as u64 > HEADER_FILE_BYTES_MAX {
            return Err(self.wrong(format_args!("larger than {HEADER_FILE_BYTES_MAX} bytes")));
        }
        let mut headers = HeaderMap::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let Some((name, value)) = header(line) else {
                // Not what the line says: it may be a secret.
                return Err(self.wrong(format_args!("line {number}: expected 'name: value'")));
            };
            if RESERVED.contains(&name.as_str()) {
                return Err(self.wrong(format_args!("line {number}: '{name}' can't be set")));
            }
            if headers.len() == HEADERS_MAX {
                return Err(self.wrong(format_args!("more than {HEADERS_MAX} headers")));
            }
            headers.append(name, value);
        }
        if headers.is_empty() { Err(self.wrong("holds no header")) } else { Ok(headers) }
    }

    fn wrong(&self, cause: impl fmt::Display) -> NoCollector {
        NoCollector::HeaderFile { path: self.0.clone(), cause: cause.to_string() }
    }
}

fn header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    let mut value = HeaderValue::from_str(value.trim()).ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}

impl fmt::Display for NoCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeaderFile { path, cause } => write!(f, "--otlp-header-file '{}': {cause}", path.display()),
            Self::Setup(SetupError::CaFile { path, cause }) => {
                write!(f, "--otlp-ca '{}': no readable PEM file of certificates: {cause}", path.display())
            }
            Self::Setup(SetupError::NoRoots { path: Some(path) }) => {
                write!(f, "--otlp-ca '{}': holds no certificate of an authority", path.display())
            }
            Self::Setup(SetupError::NoRoots { path: None }) => f.write_str(
                "--otlp-endpoint is https, but this system has no certificate authorities: give --otlp-ca",
            ),
            Self::Setup(SetupError::BadName(host)) => {
                write!(f, "--otlp-endpoint: no certificate can be for the host '{host}'")
            }
            // It shows no certificate of its own.
            Self::Setup(
                error @ (SetupError::ClientFile { .. }
                | SetupError::ClientCertificate { .. }
                | SetupError::Tls(_)),
            ) => write!(f, "--otlp-endpoint: {error}"),
        }
    }
}

impl std::error::Error for NoCollector {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<HeaderMap, String> {
        let name = format!("ssecar-otlp-{}-{:?}", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        let read = HeaderFile::open(&path).and_then(|file| file.read_now());
        std::fs::remove_file(&path).unwrap();
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_holds_a_header_on_each_line() {
        let headers = read("Authorization: Basic a:b=\n\n  x-scope-orgid :tenant\r\n").unwrap();
        assert_eq!(headers["authorization"], "Basic a:b=");
        assert_eq!(headers["x-scope-orgid"], "tenant");
        assert!(headers.values().all(HeaderValue::is_sensitive));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for (text, cause) in [
            ("\n \n", "holds no header"),
            ("Bearer hunter2", "line 1: expected 'name: value'"),
            ("a: 1\nb c: hunter2", "line 2: expected 'name: value'"),
            ("x: hunter2\u{7}", "line 1: expected 'name: value'"),
            ("Host: hunter2", "line 1: 'host' can't be set"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with("--otlp-header-file '") && error.ends_with(cause), "{error}");
        }
        assert!(read(&"a: b\n".repeat(33)).unwrap_err().ends_with("more than 32 headers"));
        assert!(read(&"a: bcd\n".repeat(9_999)).unwrap_err().ends_with("larger than 65536 bytes"));
        assert!(HeaderFile::open(Path::new("/nowhere")).is_err());
    }
}
