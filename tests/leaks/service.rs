//! A service whose content depends on one property of the request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What may decide what a client is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Property {
    Path,
    Query,
    CredentialQuery,
    Host,
    Authorization,
    Cookie,
    Custom,
    Origin,
    Language,
    UserAgent,
}

impl Property {
    pub(crate) const ALL: [Self; 10] = [
        Self::Path,
        Self::Query,
        Self::CredentialQuery,
        Self::Host,
        Self::Authorization,
        Self::Cookie,
        Self::Custom,
        Self::Origin,
        Self::Language,
        Self::UserAgent,
    ];

    pub(crate) fn header(self) -> Option<&'static str> {
        match self {
            Self::Path | Self::Query | Self::CredentialQuery | Self::Host => None,
            Self::Authorization => Some("Authorization"),
            Self::Cookie => Some("Cookie"),
            Self::Custom => Some("X-Tenant"),
            Self::Origin => Some("Origin"),
            Self::Language => Some("Accept-Language"),
            Self::UserAgent => Some("User-Agent"),
        }
    }

    pub(crate) fn text(self, value: u8) -> String {
        match self {
            Self::Origin => format!("https://o{value}.example"),
            Self::Authorization => format!("Bearer {value}"),
            _ => format!("{}{value}", format!("{self:?}").to_lowercase()),
        }
    }

    pub(crate) fn is_credential(self) -> bool {
        matches!(self, Self::Authorization | Self::Cookie | Self::CredentialQuery)
    }

    /// Told by `Vary`, as it is commonly taken to be harmless.
    fn is_told(self) -> bool {
        matches!(self, Self::Language | Self::UserAgent)
    }

    /// Its value in a request.
    fn of(self, head: &str) -> String {
        let target = head.split(' ').nth(1).unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let parameter = |name: &str| {
            let found =
                query.split('&').find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or("none").to_owned()
        };
        let field = |name: &str| {
            head.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map_or_else(|| "none".to_owned(), |(_, value)| value.trim().to_owned())
        };
        match self {
            Self::Path => path.to_owned(),
            Self::Query => parameter("room"),
            Self::CredentialQuery => parameter("ticket"),
            Self::Host => field("host"),
            other => field(other.header().unwrap()),
        }
    }
}

pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) subscriptions: Arc<AtomicU64>,
    rules: Rules,
    more: watch::Sender<bool>,
}

#[derive(Debug, Clone, Copy)]
struct Rules {
    depends_on: Property,
    varies_all: bool,
    /// Clients with different credentials get the same, if they are let in.
    is_shared: bool,
}

impl Rules {
    /// Whoever has the value 2 of a property that decides is not let in.
    fn is_denied(self, head: &str) -> bool {
        self.depends_on.is_credential() && self.depends_on.of(head).ends_with('2')
    }

    /// The body's text, first and then.
    fn says(self, head: &str) -> String {
        if self.depends_on.is_credential() && self.is_shared {
            // Whether one is let in depends on it; the content is the same for all who are.
            return "for all who may".to_owned();
        }
        format!("for {}", self.depends_on.of(head))
    }

    fn head(self, request: &str) -> String {
        let mut head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n".to_owned();
        let vary = match (self.varies_all, self.depends_on.is_told()) {
            (true, _) => Some("*"),
            (false, true) => self.depends_on.header(),
            (false, false) => None,
        };
        if let Some(vary) = vary {
            head += &format!("Vary: {vary}\r\n");
        }
        let origin = Property::Origin.of(request);
        if origin != "none" {
            head += &format!("Access-Control-Allow-Origin: {origin}\r\n");
        }
        let cookie = Property::Authorization.of(request).replace(' ', "-");
        head + &format!("Set-Cookie: of={cookie}\r\n\r\n")
    }
}

impl Service {
    pub(crate) async fn start(depends_on: Property, varies_all: bool, is_shared: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (more, _) = watch::channel(false);
        let subscriptions = Arc::<AtomicU64>::default();
        let rules = Rules { depends_on, varies_all, is_shared };
        let (said, count) = (more.clone(), Arc::clone(&subscriptions));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, rules, said.subscribe()));
            }
        });
        Self { address, subscriptions, rules, more }
    }

    /// From now on each stream says something more.
    pub(crate) fn say_more(&self) {
        self.more.send_replace(true);
    }

    /// What this request may be given, line by line.
    pub(crate) fn answer_to(&self, request: &str) -> Vec<String> {
        if self.rules.is_denied(request) {
            return Vec::new();
        }
        let text = self.rules.says(request);
        let mut lines = vec![format!("data: {text}"), format!("data: {text} more")];
        lines.extend(self.rules.head(request).lines().map(str::to_owned));
        lines
    }
}

async fn serve(mut stream: TcpStream, rules: Rules, mut more: watch::Receiver<bool>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    // A client that leaves is no fault of the service.
    if rules.is_denied(&head) {
        let _ = stream
            .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\nConnection: close\r\n\r\ndenied")
            .await;
        return;
    }
    let text = rules.says(&head);
    let first = format!("{}data: {text}\n\n", rules.head(&head));
    if stream.write_all(first.as_bytes()).await.is_err() || more.wait_for(|more| *more).await.is_err() {
        return;
    }
    if stream.write_all(format!("data: {text} more\n\n").as_bytes()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}
