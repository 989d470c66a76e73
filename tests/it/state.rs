//! Rings that outlive the process (`--state-dir`): restarts, crashes, and what is told.

use std::path::PathBuf;

use crate::support::{Client, Exchange, Proxy, Upstream};

const PATH: &str = "/v1/sessions/1/events";

/// A directory for one test, gone with it.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("state-{name}"));
        let _ = std::fs::remove_dir_all(&dir);
        Self(dir)
    }

    fn flag(&self) -> String {
        format!("--state-dir={}", self.0.display())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn started(
    upstream: &Upstream,
    dir: &Dir,
    text: &str,
    events: usize,
) -> (Proxy, Client, Exchange, Vec<String>) {
    let proxy = Proxy::start(upstream, &[&dir.flag(), "--drain=100ms"]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    stream.send(text).await;
    let mut ids = Vec::new();
    for _ in 0..events {
        ids.push(client.next().await.unwrap().id);
    }
    (proxy, client, stream, ids)
}

async fn stopped(mut proxy: Proxy) {
    proxy.drain();
    proxy.ended().await;
}

#[tokio::test]
async fn after_a_restart_a_client_goes_on_with_its_old_id_and_the_same_numbering() {
    let (upstream, dir) = (Upstream::start().await, Dir::new("clean"));
    let text = "id: u1\ndata: 1\n\nid: u2\ndata: 2\n\nid: u3\ndata: 3\n\n";
    let (proxy, _client, _stream, ids) = started(&upstream, &dir, text, 3).await;
    stopped(proxy).await;

    let proxy = Proxy::start(&upstream, &[&dir.flag()]).await;
    let mut back = proxy.ask(PATH, &[("Last-Event-ID", &ids[0])]).await;
    let mut stream = upstream.accept().await;
    assert_eq!(
        stream.header("last-event-id"),
        Some("u3"),
        "the upstream is asked from the newest that was kept"
    );
    stream.begin_stream("").await;
    // An upstream that repeats what was asked not to be repeated is understood.
    stream.send("id: u2\ndata: 2\n\nid: u3\ndata: 3\n\nid: u4\ndata: 4\n\n").await;
    assert_eq!(back.take(2).await, ["2", "3"]);
    let next = back.next().await.unwrap();
    let epoch = ids[0].split('.').next().unwrap();
    assert_eq!((next.data.as_str(), next.id), ("4", format!("{epoch}.4.u4")));
}

#[tokio::test]
async fn where_the_upstream_gives_no_ids_the_time_between_is_told_as_a_gap() {
    let (upstream, dir) = (Upstream::start().await, Dir::new("no-ids"));
    let (proxy, _client, _stream, ids) = started(&upstream, &dir, "data: 1\n\ndata: 2\n\n", 2).await;
    stopped(proxy).await;

    let proxy = Proxy::start(&upstream, &[&dir.flag()]).await;
    let mut back = proxy.ask(PATH, &[("Last-Event-ID", &ids[0])]).await;
    let mut stream = upstream.stream().await;
    stream.send("data: 3\n\n").await;
    assert_eq!(back.take(3).await, ["2", "gap:upstream-interrupted", "3"]);
}

#[tokio::test]
async fn clients_with_other_credentials_find_nothing_of_it() {
    let (upstream, dir) = (Upstream::start().await, Dir::new("credentials"));
    let (proxy, _client, _stream, ids) = started(&upstream, &dir, "data: secret\n\n", 1).await;
    stopped(proxy).await;
    let proxy = Proxy::start(&upstream, &[&dir.flag(), "--late-join=ring"]).await;
    let mut other = proxy.ask(PATH, &[("Authorization", "Bearer other"), ("Last-Event-ID", &ids[0])]).await;
    upstream.stream().await.send("data: own\n\n").await;
    assert_eq!(other.data().await, "gap:other-epoch");
    assert_eq!(other.data().await, "own");
}

#[tokio::test]
async fn what_vary_tells_apart_is_not_kept() {
    let (upstream, dir) = (Upstream::start().await, Dir::new("vary"));
    let proxy = Proxy::start(&upstream, &[&dir.flag(), "--drain=100ms"]).await;
    let mut client = proxy.ask(PATH, &[("Accept-Language", "de")]).await;
    let mut stream = upstream.accept().await;
    stream.begin_stream("Vary: Accept-Language\r\n").await;
    stream.send("data: eins\n\n").await;
    let id = client.next().await.unwrap().id;
    stopped(proxy).await;
    let proxy = Proxy::start(&upstream, &[&dir.flag()]).await;
    let mut other = proxy.ask(PATH, &[("Accept-Language", "en"), ("Last-Event-ID", &id)]).await;
    upstream.stream().await.send("data: one\n\n").await;
    assert_eq!(other.take(2).await, ["gap:other-epoch", "one"]);
}

#[tokio::test]
async fn one_process_at_a_time_uses_it() {
    let (upstream, dir) = (Upstream::start().await, Dir::new("in-use"));
    let _proxy = Proxy::start(&upstream, &[&dir.flag()]).await;
    let second = tokio::process::Command::new(env!("CARGO_BIN_EXE_ssecar"))
        .args([&upstream.flag(), &dir.flag(), "--listen=127.0.0.1:0", "--admin-listen=off"])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(2), "{said}");
    assert!(said.contains("--state-dir") && said.contains("another process uses it"), "{said}");
}

mod kills {
    //! The real program, killed at any moment while events flow.

    use std::process::Stdio;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::process::{Child, Command};
    use tokio::sync::watch;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::support::soon;

    /// How often it is killed.
    const KILLS: u32 = 12;

    struct Killed {
        child: Child,
        address: std::net::SocketAddr,
    }

    impl Killed {
        async fn start(upstream_flag: &str, dir: &Dir, port: u16) -> Self {
            let listen = format!("--listen=127.0.0.1:{port}");
            let child = Command::new(env!("CARGO_BIN_EXE_ssecar"))
                .args([upstream_flag, &dir.flag(), &listen, "--admin-listen=off", "--log-filter=error"])
                .arg("--backoff-initial=20ms")
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let address = ([127, 0, 0, 1], port).into();
            soon("the program", async {
                while tokio::net::TcpStream::connect(address).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
            Self { child, address }
        }
    }

    /// What a client saw over all its connections: numbers, and gaps as 0.
    #[derive(Default)]
    struct Seen {
        numbers: Vec<u64>,
        last_id: String,
    }

    async fn read_on(address: std::net::SocketAddr, seen: &mut Seen) -> Client {
        let mut headers = vec![("Accept", "text/event-stream")];
        let id = seen.last_id.clone();
        if !id.is_empty() {
            headers.push(("Last-Event-ID", &id));
        }
        Client::get(address, PATH, &headers).await
    }

    async fn read(client: &mut Client, seen: &mut Seen) -> Option<u64> {
        let event = client.next().await?;
        if event.kind == "ssecar-gap" {
            seen.numbers.push(0);
            return Some(0);
        }
        if !event.id.is_empty() {
            seen.last_id = event.id;
        }
        let number = event.data.parse().unwrap();
        seen.numbers.push(number);
        Some(number)
    }

    /// Nothing twice, nothing missing without a gap.
    fn judge(seen: &[u64]) {
        let (mut last, mut is_gap) = (0, true);
        for &number in seen {
            if number == 0 {
                is_gap = true;
                continue;
            }
            assert!(number > last, "{number} came again: {seen:?}");
            assert!(is_gap || number == last + 1, "{} to {} are missing: {seen:?}", last + 1, number - 1);
            (last, is_gap) = (number, false);
        }
    }

    /// A service that keeps all it ever sent, and replays it to whoever says where it was.
    struct Service {
        published: watch::Sender<u64>,
        serving: JoinHandle<()>,
    }

    impl Service {
        fn start(upstream: Upstream, has_ids: bool) -> Self {
            let published = watch::Sender::new(0);
            let numbers = published.clone();
            let serving = tokio::spawn(async move {
                loop {
                    let exchange = upstream.try_accept().await;
                    tokio::spawn(serve(exchange, numbers.subscribe(), has_ids));
                }
            });
            Self { published, serving }
        }

        fn publish(&self) -> u64 {
            self.published.send_modify(|number| *number += 1);
            *self.published.borrow()
        }
    }

    impl Drop for Service {
        fn drop(&mut self) {
            self.serving.abort();
        }
    }

    async fn serve(mut exchange: Exchange, mut published: watch::Receiver<u64>, has_ids: bool) {
        exchange.begin_stream("").await;
        let resumed =
            exchange.header("last-event-id").map(|id| id.strip_prefix('u').unwrap().parse().unwrap());
        let mut sent: u64 = resumed.unwrap_or_else(|| *published.borrow_and_update());
        loop {
            let newest = *published.borrow_and_update();
            for number in sent + 1..=newest {
                let id = if has_ids { format!("id: u{number}\n") } else { String::new() };
                let text = format!("{id}data: {number}\n\n");
                if exchange.stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            sent = newest;
            if published.changed().await.is_err() {
                return;
            }
        }
    }

    async fn campaign(name: &str, has_ids: bool) {
        let (upstream, dir) = (Upstream::start().await, Dir::new(name));
        let flag = upstream.flag();
        let service = Service::start(upstream, has_ids);
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (mut seen, mut number) = (Seen::default(), 0);
        for kill in 0..KILLS {
            let mut program = Killed::start(&flag, &dir, port).await;
            let mut client = read_on(program.address, &mut seen).await;
            client.head().await;
            // Some kills come before anything was written, some in the middle of it, some after.
            for _ in 0..5 + kill * 7 {
                number = service.publish();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            while read(&mut client, &mut seen).await.expect("the stream goes on") < number {}
            program.child.start_kill().unwrap();
            program.child.wait().await.unwrap();
        }
        judge(&seen.numbers);
        let gaps = seen.numbers.iter().filter(|number| **number == 0).count();
        println!("{KILLS} kills, {number} events, {gaps} gap notices, nothing twice, nothing lost untold");
        assert!(!has_ids || gaps == 0, "with ids nothing need be missing: {gaps} gaps");
    }

    #[tokio::test]
    async fn killed_at_any_moment_nothing_comes_twice_and_what_is_lost_is_told() {
        campaign("kills-no-ids", false).await;
    }

    #[tokio::test]
    async fn killed_at_any_moment_nothing_is_lost_where_the_upstream_can_replay() {
        campaign("kills-ids", true).await;
    }
}
