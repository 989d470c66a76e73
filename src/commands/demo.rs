//! `ssecar demo`: a flaky event source in a process of its own, the proxy before it, and a client
//! that counts. The source is killed and revived; nothing is lost.

use std::io;
use std::net::SocketAddr;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command as Process};
use tokio::sync::watch;

use super::demo_source::EVENT_INTERVAL;
use super::{failed, signals};
use crate::app::App;
use crate::config::{Command, DemoFlags};
use crate::proto::decoder::{Decoder, Frame};

/// How long the source lives, and is dead, in each round.
const ALIVE: Duration = Duration::from_secs(4);
const DEAD: Duration = Duration::from_secs(3);

/// How long the last round waits for what was missed.
const CATCH_UP: Duration = Duration::from_secs(20);

/// The largest event that the demo's client reads, in bytes.
const EVENT_BYTES_MAX: usize = 4096;

/// What the client has seen.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    first: u64,
    newest: u64,
    events: u64,
    lost: u64,
    twice: u64,
}

pub(super) async fn run(flags: DemoFlags) -> ExitCode {
    let rounds_asked = flags.rounds;
    match show(flags).await {
        Ok(seen) if seen.lost == 0 && seen.twice == 0 && seen.events > 0 => {
            println!(
                "\nThe source sent events {} to {}; the client got {}: none lost, none twice.",
                seen.first, seen.newest, seen.events
            );
            ExitCode::SUCCESS
        }
        Ok(seen) if seen.events == 0 && rounds_asked.is_none() => {
            println!("\nStopped before the first event.");
            ExitCode::SUCCESS
        }
        Ok(seen) => {
            failed(&format!("the demo failed: {} lost, {} twice of {}", seen.lost, seen.twice, seen.events))
        }
        Err(error) => failed(&format!("the demo can't go on: {error}")),
    }
}

async fn show(flags: DemoFlags) -> io::Result<Seen> {
    let source_address = free_address().await?;
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?.as_millis();
    let started = u64::try_from(millis).map_err(io::Error::other)?;
    let arguments = [
        "ssecar".to_owned(),
        format!("--upstream=http://{source_address}"),
        format!("--listen={}", flags.listen),
        format!("--admin-listen={}", flags.admin_listen),
    ];
    let Command::Run(config) = Command::from_args(arguments).map_err(io::Error::other)? else {
        return Err(io::Error::other("the demo's own flags ask for something else"));
    };
    let app = App::bind(*config).map_err(io::Error::other)?;
    let (address, admin) = (app.address()?, app.admin_address()?);
    println!("The source:  http://{source_address}   (killed and revived again and again)");
    println!("The proxy:   http://{address}/events   (try: curl -N http://{address}/events)");
    if let Some(admin) = admin {
        println!("Its state:   http://{admin}/\n");
    }
    let (first, second) = signals::listen()?;
    let (stop, mut stopped) = watch::channel(false);
    let mut stopped_too = stopped.clone();
    let ended = async move {
        let _ = stopped_too.wait_for(|stopped| *stopped).await;
    };
    let proxy = tokio::spawn(app.run(ended, second));
    let (seen, watched) = watch::channel(Seen::default());
    let mut source = spawn_source(source_address, started)?;
    let client = tokio::spawn(async move { read(address, &seen).await });

    let rounds = flags.rounds.unwrap_or(u32::MAX);
    let story = tell(&mut source, source_address, started, rounds, watched.clone());
    let result = tokio::select! {
        result = story => result,
        () = first => Ok(()),
        _ = stopped.changed() => Ok(()),
    };
    source.kill().await?;
    client.abort();
    let _ = stop.send(true);
    proxy.await.map_err(io::Error::other)?;
    result?;
    let seen = *watched.borrow();
    Ok(seen)
}

async fn tell(
    source: &mut Child,
    address: SocketAddr,
    started: u64,
    rounds: u32,
    mut seen: watch::Receiver<Seen>,
) -> io::Result<()> {
    for round in 1..=rounds {
        tokio::time::sleep(ALIVE).await;
        let before = *seen.borrow_and_update();
        println!("round {round}: {} events so far; the source is killed …", before.events);
        source.kill().await?;
        tokio::time::sleep(DEAD).await;
        println!("round {round}: … dead for {DEAD:?}; the client is still connected; the source is revived");
        *source = spawn_source(address, started)?;
        // It must see what happened while the source was dead, and something newer.
        let missed = u64::try_from(DEAD.as_millis() / EVENT_INTERVAL.as_millis()).unwrap_or(u64::MAX);
        let target = before.events.saturating_add(missed + 1);
        let caught_up = seen.wait_for(|seen| seen.events >= target);
        let now = match tokio::time::timeout(CATCH_UP, caught_up).await {
            Ok(Ok(now)) => *now,
            Ok(Err(_)) => return Err(io::Error::other("the client has ended")),
            Err(_) => return Err(io::Error::other(format!("nothing came for {CATCH_UP:?}"))),
        };
        println!("round {round}: {} events, {} lost, {} twice", now.events, now.lost, now.twice);
    }
    Ok(())
}

async fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0").await?.local_addr()
}

fn spawn_source(address: SocketAddr, started: u64) -> io::Result<Child> {
    Process::new(std::env::current_exe()?)
        .args(["demo-source", "--listen", &address.to_string(), "--started", &started.to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

/// One client, one connection: the proxy never lets it see that the source dies.
async fn read(address: SocketAddr, seen: &watch::Sender<Seen>) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /events HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut decoder = Decoder::new(EVENT_BYTES_MAX);
    let mut bytes = [0; EVENT_BYTES_MAX];
    loop {
        let read = stream.read(&mut bytes).await?;
        if read == 0 {
            return Ok(());
        }
        // The chunk borders of the response fall between events: each looks like an unknown field.
        let mut input = &bytes[..read];
        while let Some(frame) = decoder.next_frame(&mut input) {
            let Frame::Event(event) = frame else { continue };
            let Some(number) = number_of(event.data) else { continue };
            seen.send_modify(|seen| seen.count(number));
        }
    }
}

fn number_of(data: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(data).ok()?.get("number")?.as_u64()
}

impl Seen {
    fn count(&mut self, number: u64) {
        if self.events == 0 {
            self.first = number;
        } else if number <= self.newest {
            self.twice += 1;
        } else {
            self.lost += number - self.newest - 1;
        }
        self.newest = self.newest.max(number);
        self.events += 1;
    }
}
