//! The simulated service.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use turmoil::Sim;
use turmoil::net::{TcpListener, TcpStream};

use crate::world::{Event, PORT, UPSTREAM, World, payload};

/// Between two looks for something to send.
const LOOK: Duration = Duration::from_millis(10);

/// Between two comments of its own, so that silence means that it is gone.
const COMMENT_EVERY: Duration = Duration::from_secs(1);

pub(crate) fn start(sim: &mut Sim<'_>, world: &Arc<World>) {
    let world = Arc::clone(world);
    sim.host(UPSTREAM, move || {
        let world = Arc::clone(&world);
        async move {
            let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
            loop {
                let (stream, _) = listener.accept().await?;
                let world = Arc::clone(&world);
                tokio::spawn(async move {
                    // A reader that leaves is no fault of the service.
                    let _ = serve(stream, &world).await;
                });
            }
        }
    });
}

async fn serve(mut stream: TcpStream, world: &World) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let asked: Option<u64> = head
        .lines()
        .find_map(|line| line.strip_prefix("last-event-id: "))
        .map(|id| id.trim().parse().expect("an id of ours comes back as it was"));
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await?;
    let now = || turmoil::sim_elapsed().unwrap_or_default();
    world.tell(now(), &format!("upstream: serves from {asked:?}"));
    let cuts = world.cuts.load(Ordering::Relaxed);
    let mut next = match asked.filter(|_| world.scenario.has_ids) {
        // An id that it does not know any more: all that it has.
        Some(id) if id > world.memory_len() => 0,
        Some(id) => id.saturating_sub(world.scenario.repeats),
        None => world.memory_len(),
    };
    let mut commented = Instant::now();
    loop {
        let is_cut = world.cuts.load(Ordering::Relaxed) != cuts;
        if !world.is_stalled.load(Ordering::Relaxed) {
            for event in world.remembered(next) {
                let text = text(world, event);
                if is_cut {
                    return stream.write_all(&text.as_bytes()[..text.len() / 2]).await;
                }
                stream.write_all(text.as_bytes()).await?;
                world.tell(now(), &format!("upstream: sent {}", event.number));
                next += 1;
            }
            if commented.elapsed() >= COMMENT_EVERY {
                stream.write_all(b":\n\n").await?;
                commented = Instant::now();
            }
        }
        if is_cut {
            return stream.write_all(b"data: cut in the mid").await;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn text(world: &World, event: Event) -> String {
    let data = payload(event.number, world.scenario.payload_max);
    if world.scenario.has_ids {
        format!("id: {}\ndata: {data}\n\n", world.id_of(event))
    } else {
        format!("data: {data}\n\n")
    }
}
