//! The herd: thousands of clients in one loop. Each checks that nothing is missing and nothing comes twice.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use crate::clock::{SECOND, now};
use crate::event::Stamp;
use crate::parser::{Parser, Sink};
use crate::poll::{Owner, Poll};

/// What is read at once; far more than a socket usually holds.
const READ_BYTES: usize = 256 * 1024;
/// The longest latency that is told apart.
const LATENCY_MAX: u64 = 120 * SECOND;
/// A client that has seen nothing yet, or is closed.
const NOTHING: u64 = u64::MAX;

/// What the herd counts. It counts from one call of [`Herd::reset`] to the next.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Events that came.
    pub(crate) deliveries: u64,
    /// Bytes that came, with all framing.
    pub(crate) bytes: u64,
    /// Calls that read something.
    pub(crate) reads: u64,
    /// Events that a client should have got between two that it got.
    pub(crate) lost: u64,
    /// Events that came twice.
    pub(crate) repeated: u64,
    /// Notices of missing events.
    pub(crate) gaps: u64,
    /// Clients whose connection ended or could not be read.
    pub(crate) closed: u64,
    /// What was wrong with the first of them.
    pub(crate) first_error: Option<String>,
    /// From sending to reading, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Tally {
    fn new() -> Result<Self> {
        Ok(Self {
            deliveries: 0,
            bytes: 0,
            reads: 0,
            lost: 0,
            repeated: 0,
            gaps: 0,
            closed: 0,
            first_error: None,
            latency: Histogram::new_with_bounds(1_000, LATENCY_MAX, 3)?,
        })
    }

    /// Whether each client got each event once.
    pub(crate) fn is_complete(&self) -> bool {
        self.lost == 0 && self.repeated == 0 && self.gaps == 0 && self.closed == 0
    }
}

/// What a client is to ask for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The path, for all clients of one session alike.
    pub(crate) path: String,
}

#[derive(Debug)]
struct Client {
    socket: TcpStream,
    request: Request,
    parser: Parser,
    is_asked: bool,
    connected_at: u64,
    /// When the first event of this connection came.
    first_event_at: Option<u64>,
}

/// The clients.
#[derive(Debug)]
pub(crate) struct Herd {
    server: SocketAddr,
    clients: Vec<Option<Client>>,
    /// The last event that each client saw. Apart from the clients, so that the slowest is found quickly.
    seen: Vec<u64>,
    ready: usize,
    with_event: usize,
    tally: Tally,
    buffer: Vec<u8>,
}

impl Herd {
    /// No clients yet.
    pub(crate) fn new(server: SocketAddr) -> Result<Self> {
        Ok(Self {
            server,
            clients: Vec::new(),
            seen: Vec::new(),
            ready: 0,
            with_event: 0,
            tally: Tally::new()?,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Begins to connect one more client.
    pub(crate) fn add(&mut self, request: Request, poll: &Poll) -> Result<()> {
        let client = self.connect(self.clients.len(), request, Vec::new(), poll)?;
        self.clients.push(Some(client));
        self.seen.push(NOTHING);
        Ok(())
    }

    fn connect(&self, index: usize, request: Request, last_id: Vec<u8>, poll: &Poll) -> Result<Client> {
        let family = if self.server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None).context("a client's socket")?;
        // Thousands of closed connections would else hold their ports for a minute.
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        let connected_at = now();
        match connect(&socket, &self.server) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error).context("connecting a client"),
        }
        poll.add(&socket, Owner::Client(index))?;
        Ok(Client {
            socket: TcpStream::from(socket),
            request,
            parser: Parser::new(last_id),
            is_asked: false,
            connected_at,
            first_event_at: None,
        })
    }

    /// Clients, connected or not.
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Clients that have their response head.
    pub(crate) fn ready(&self) -> usize {
        self.ready
    }

    /// Clients that have got an event over their present connection.
    pub(crate) fn with_event(&self) -> usize {
        self.with_event
    }

    /// What was counted.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Counts from nothing.
    pub(crate) fn reset(&mut self) -> Result<()> {
        self.tally = Tally::new()?;
        Ok(())
    }

    /// The last event that all clients have seen; `None` while one has seen none.
    pub(crate) fn seen_by_all(&self) -> Option<u64> {
        let slowest = self.seen.iter().map(|seen| seen.wrapping_add(1)).min()?;
        slowest.checked_sub(1)
    }

    /// From connecting to the first event, for each client that has one, in nanoseconds.
    pub(crate) fn join_times(&self) -> Result<Histogram<u64>> {
        let mut times = Histogram::new_with_bounds(1_000, LATENCY_MAX, 3)?;
        for client in self.clients.iter().flatten() {
            if let Some(first) = client.first_event_at {
                times.saturating_record(first - client.connected_at);
            }
        }
        Ok(times)
    }

    /// Drops all connections at once, as a network that fails does.
    pub(crate) fn drop_connections(&mut self) -> Vec<(Request, Vec<u8>)> {
        self.ready = 0;
        self.with_event = 0;
        let gone = self.clients.iter_mut().map(Option::take);
        gone.flatten().map(|client| (client.request, client.parser.last_id().to_vec())).collect()
    }

    /// Connects dropped clients again, each from its last event.
    pub(crate) fn come_back(&mut self, gone: Vec<(Request, Vec<u8>)>, poll: &Poll) -> Result<()> {
        for (index, (request, last_id)) in gone.into_iter().enumerate() {
            let client = self.connect(index, request, last_id, poll)?;
            self.clients[index] = Some(client);
        }
        Ok(())
    }

    /// Something happened to a client's socket.
    pub(crate) fn handle(&mut self, index: usize, is_readable: bool) {
        let Some(client) = self.clients.get_mut(index).and_then(Option::as_mut) else { return };
        let had_head = client.parser.has_head();
        let had_event = client.first_event_at.is_some();
        let outcome = ask(client, &self.server).and_then(|()| {
            if is_readable {
                read(client, &mut self.buffer, &mut self.seen[index], &mut self.tally)
            } else {
                Ok(())
            }
        });
        self.ready += usize::from(client.parser.has_head() && !had_head);
        self.with_event += usize::from(client.first_event_at.is_some() && !had_event);
        if let Err(error) = outcome {
            self.tally.closed += 1;
            self.tally.first_error.get_or_insert_with(|| format!("{error:#}"));
            self.clients[index] = None;
        }
    }
}

/// Sends the request, once.
fn ask(client: &mut Client, server: &SocketAddr) -> Result<()> {
    if client.is_asked {
        return Ok(());
    }
    let Request { path } = &client.request;
    let mut head = format!(
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nAccept: text/event-stream\r\nCache-Control: no-cache\r\n"
    );
    if !client.parser.last_id().is_empty() {
        head.push_str(&format!("Last-Event-ID: {}\r\n", String::from_utf8_lossy(client.parser.last_id())));
    }
    head.push_str("\r\n");
    match (&client.socket).write(head.as_bytes()) {
        Ok(written) if written == head.len() => client.is_asked = true,
        Ok(_) => anyhow::bail!("a fresh socket took only a part of a request"),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {}
        Err(error) => return Err(error).context("asking"),
    }
    Ok(())
}

/// Reads what there is.
fn read(client: &mut Client, buffer: &mut [u8], seen: &mut u64, tally: &mut Tally) -> Result<()> {
    loop {
        let length = match (&client.socket).read(buffer) {
            Ok(0) => anyhow::bail!("the server closed the connection"),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("reading"),
        };
        tally.bytes += length as u64;
        tally.reads += 1;
        let mut arrival = Arrival { at: now(), seen, tally, events: 0 };
        client.parser.feed(&buffer[..length], &mut arrival)?;
        if arrival.events > 0 {
            client.first_event_at.get_or_insert(arrival.at);
        }
        anyhow::ensure!(!client.parser.has_ended(), "the server ended the stream");
        // Less than there is room for: the socket is empty, and will tell when it isn't any more.
        if length < buffer.len() {
            return Ok(());
        }
    }
}

/// Takes the events of one read.
struct Arrival<'a> {
    at: u64,
    seen: &'a mut u64,
    tally: &'a mut Tally,
    events: u64,
}

impl Sink for Arrival<'_> {
    fn event(&mut self, stamp: Stamp) {
        self.events += 1;
        self.tally.deliveries += 1;
        self.tally.latency.saturating_record(self.at.saturating_sub(stamp.sent_at));
        if *self.seen != NOTHING {
            if stamp.sequence <= *self.seen {
                self.tally.repeated += 1;
                return;
            }
            self.tally.lost += stamp.sequence - *self.seen - 1;
        }
        *self.seen = stamp.sequence;
    }

    fn gap(&mut self) {
        self.tally.gaps += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrive(seen: &mut u64, tally: &mut Tally, sequences: &[u64]) {
        let mut arrival = Arrival { at: 5_000, seen, tally, events: 0 };
        for &sequence in sequences {
            arrival.event(Stamp { sequence, sent_at: 1_000 });
        }
    }

    #[test]
    fn what_is_missing_and_what_comes_twice_is_counted() {
        let (mut seen, mut tally) = (NOTHING, Tally::new().unwrap());
        arrive(&mut seen, &mut tally, &[5, 6, 7]);
        assert!(tally.is_complete(), "the first event may be any");
        arrive(&mut seen, &mut tally, &[10]);
        assert_eq!((tally.lost, tally.repeated), (2, 0), "8 and 9 are missing");
        arrive(&mut seen, &mut tally, &[10, 9, 11]);
        assert_eq!((tally.lost, tally.repeated, seen), (2, 2, 11));
        assert!(!tally.is_complete());
        assert_eq!(tally.deliveries, 7);
        assert!(tally.latency.equivalent(tally.latency.max(), 4_000), "sent at 1 000, read at 5 000");
    }

    #[test]
    fn the_slowest_client_decides_what_all_have_seen() {
        let mut herd = Herd::new(SocketAddr::from(([127, 0, 0, 1], 1))).unwrap();
        assert_eq!(herd.seen_by_all(), None, "nobody is here");
        herd.seen = vec![7, NOTHING, 9];
        assert_eq!(herd.seen_by_all(), None, "one has seen nothing");
        herd.seen[1] = 3;
        assert_eq!(herd.seen_by_all(), Some(3));
    }
}
