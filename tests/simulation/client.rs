//! The simulated readers, and the one who looks after them whether anything is left.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ssecar::proto::decoder::{Decoder, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::Sim;
use turmoil::net::TcpStream;

use crate::world::{Line, PATH, PORT, PROXY, World, payload};

/// Silence, in spite of heartbeats each second, after which a reader comes again.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Before it comes again.
const PAUSE: Duration = Duration::from_millis(300);

/// Between two looks at what it is told to do.
const LOOK: Duration = Duration::from_millis(50);

/// Larger than any event here.
const EVENT_MAX: usize = 1 << 16;

pub(crate) fn start(sim: &mut Sim<'_>, world: &Arc<World>) {
    for index in 0..world.scenario.clients {
        let world = Arc::clone(world);
        sim.client(format!("client{index}"), async move {
            Reader { index, world: Arc::clone(&world), last_id: String::new(), newest: 0 }.run().await;
            world.done.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
    }
    let world = Arc::clone(world);
    sim.client("caretaker", async move {
        while world.done.load(Ordering::Relaxed) < world.scenario.clients {
            tokio::time::sleep(LOOK).await;
        }
        let registry = world.registry.lock().unwrap().take().expect("the proxy runs");
        registry.stop().await;
        while registry.clients() > 0 {
            // Each notices by its own read or write.
            tokio::time::sleep(LOOK).await;
        }
        assert!(registry.sessions().is_empty(), "a session is left");
        assert_eq!(registry.log_bytes(), 0, "bytes are left");
        Ok(())
    });
}

struct Reader {
    index: usize,
    world: Arc<World>,
    last_id: String,
    newest: u64,
}

impl Reader {
    async fn run(&mut self) {
        while !self.is_done() {
            let cuts = self.world.client_cuts[self.index].load(Ordering::Relaxed);
            let told = told_to_cut(Arc::clone(&self.world), self.index, cuts);
            tokio::select! {
                biased;
                // However it ended, the reader comes again.
                _ = self.read() => {}
                () = told => {}
            }
            self.note(Line::Ended);
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn is_done(&self) -> bool {
        self.newest >= self.world.goal.load(Ordering::Relaxed)
    }

    fn note(&self, line: Line) {
        self.world.note(self.index, turmoil::sim_elapsed().unwrap_or_default(), line);
    }

    async fn read(&mut self) -> std::io::Result<()> {
        let connecting = TcpStream::connect((PROXY, PORT));
        let Ok(stream) = tokio::time::timeout(SILENCE_MAX, connecting).await else { return Ok(()) };
        let mut stream = stream?;
        let last = match self.last_id.as_str() {
            "" => String::new(),
            id => format!("Last-Event-ID: {id}\r\n"),
        };
        let request = format!("GET {PATH} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n{last}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut input = Vec::new();
        let mut is_in_body = false;
        let mut decoder = Decoder::new(EVENT_MAX);
        while !self.is_done() {
            let reading = tokio::time::timeout(SILENCE_MAX, stream.read_buf(&mut input));
            match reading.await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0)) | Ok(Err(_)) | Err(_) => return Ok(()),
            }
            if !is_in_body {
                let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
                let head = String::from_utf8(input.drain(..end + 4).collect()).unwrap();
                if !head.starts_with("HTTP/1.1 200 ") {
                    return Ok(());
                }
                is_in_body = true;
                self.note(Line::Connected);
            }
            while let Some(chunk) = take_chunk(&mut input) {
                if chunk.is_empty() {
                    return Ok(());
                }
                self.take(&mut decoder, &chunk);
            }
        }
        Ok(())
    }

    fn take(&mut self, decoder: &mut Decoder, chunk: &[u8]) {
        let mut input = chunk;
        let mut lines = Vec::new();
        while let Some(frame) = decoder.next_frame(&mut input) {
            match frame {
                Frame::Event(event) if event.event_type == b"ssecar-gap" => {
                    let notice: serde_json::Value = serde_json::from_slice(event.data).unwrap();
                    lines.push(Line::Gap { reason: notice["reason"].as_str().unwrap().to_owned() });
                }
                Frame::Event(event) => {
                    let data = std::str::from_utf8(event.data).unwrap();
                    let number = data.split(' ').next().unwrap().parse().unwrap();
                    assert_eq!(
                        data,
                        payload(number, self.world.scenario.payload_max),
                        "bytes changed on the way"
                    );
                    let id = String::from_utf8(event.id.unwrap_or_default().to_vec()).unwrap();
                    self.newest = number;
                    self.last_id.clone_from(&id);
                    lines.push(Line::Event { number, id });
                }
                Frame::Id(id) => self.last_id = String::from_utf8(id.to_vec()).unwrap(),
                Frame::Comment(_) | Frame::Retry(_) => {}
                Frame::Skipped { .. } => panic!("no event is so large"),
            }
        }
        for line in lines {
            self.note(line);
        }
    }
}

async fn told_to_cut(world: Arc<World>, index: usize, cuts: u64) {
    while world.client_cuts[index].load(Ordering::Relaxed) == cuts {
        tokio::time::sleep(LOOK).await;
    }
}

/// The next chunk of a chunked body (RFC 9112, 7.1), if it is whole. The last one is empty.
fn take_chunk(input: &mut Vec<u8>) -> Option<Vec<u8>> {
    let line = input.windows(2).position(|window| window == b"\r\n")?;
    let size = usize::from_str_radix(std::str::from_utf8(&input[..line]).unwrap(), 16).unwrap();
    if input.len() < line + 2 + size + 2 {
        return None;
    }
    let chunk = input[line + 2..line + 2 + size].to_vec();
    input.drain(..line + 4 + size);
    Some(chunk)
}
