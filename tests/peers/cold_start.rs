//! A thousand clients open one cold session at once: the service sees one subscription (spec 4.4).

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::{Nginx, PATIENCE, Ssecar, curl, until};

const CLIENTS: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_at_once_are_one_subscription() {
    let nginx = Nginx::start().await;
    let ssecar = Ssecar::start(nginx.port, &[]).await;
    let port = ssecar.port;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(async move {
            let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let request =
                b"GET /v1/sessions/7/events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n";
            client.write_all(request).await.unwrap();
            let mut text = Vec::new();
            while !text.windows(12).any(|window| window == b"data: hello\n") {
                assert!(client.read_buf(&mut text).await.unwrap() > 0, "closed early");
            }
            assert!(text.starts_with(b"HTTP/1.1 200 OK\r\n"));
            client
        });
    }
    until("all clients to be there", || async { ssecar.state().await["clients"] == CLIENTS }).await;
    until("the subscription", || async { nginx.readers().await > 0 }).await;
    curl(&["--data", "hello", &format!("http://127.0.0.1:{}/publish/7", nginx.port)]).await;
    let all = tokio::time::timeout(PATIENCE, clients.join_all()).await.expect("every client gets the event");
    assert_eq!(nginx.readers().await, 1);
    drop(all);
    drop(ssecar);
    until("the subscription's end", || async { nginx.readers().await == 0 }).await;
    assert_eq!(nginx.subscriptions(), 1, "its access log has one line");
    println!("{CLIENTS} clients at once: the service saw {} subscription", nginx.subscriptions());
}
