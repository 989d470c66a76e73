//! The source of events: the service behind the server under test. Every path is a stream of its own.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result};
use memchr::memmem;

use crate::clock::now;
use crate::event::{CHUNK_BYTES, Stamp};
use crate::poll::{Owner, Poll, Ready};

/// Bytes of one session that wait for its slowest subscriber. Windows and rates stay far below it.
const LOG_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Sent bytes are forgotten when so many have gathered.
const LOG_TRIM_BYTES: usize = 1024 * 1024;
const REQUEST_BYTES_MAX: usize = 16 * 1024;
const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
    Transfer-Encoding: chunked\r\n\r\n";

/// How the source answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// With the stream.
    Stream,
    /// With an order to hold the client on the channel of this name, to which events will be published (GRIP).
    Hold,
}

/// How events that wait are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    /// Each on its own, as a service does that sends each when it happens.
    Apart,
    /// As many as the socket takes: where only the reading end is measured.
    Together,
}

/// One path's events that some subscriber still needs, as bytes on the wire.
#[derive(Debug, Default)]
struct Session {
    bytes: Vec<u8>,
    /// The place of the first of them.
    start: u64,
    sequence: u64,
    subscribers: Vec<usize>,
}

impl Session {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    request: Vec<u8>,
    /// The stream that it reads, and the place up to which it was sent.
    subscription: Option<(usize, u64)>,
    is_full: bool,
}

/// The source.
#[derive(Debug)]
pub(crate) struct Source {
    listener: TcpListener,
    answers: Answers,
    connections: Vec<Option<Connection>>,
    names: HashMap<String, usize>,
    sessions: Vec<Session>,
    subscriptions: u64,
    writes: Writes,
}

impl Source {
    /// Listens on a free port of the loopback.
    pub(crate) fn listen(answers: Answers, poll: &Poll) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("the source's port")?;
        rustix::net::listen(&listener, 4_096)?;
        listener.set_nonblocking(true)?;
        poll.add(&listener, Owner::Listener)?;
        Ok(Self {
            listener,
            answers,
            connections: Vec::new(),
            names: HashMap::new(),
            sessions: Vec::new(),
            subscriptions: 0,
            writes: Writes::Apart,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Changes how events are written.
    pub(crate) fn write(&mut self, writes: Writes) {
        self.writes = writes;
    }

    /// Subscriptions that were asked for so far.
    pub(crate) fn subscriptions(&self) -> u64 {
        self.subscriptions
    }

    /// Subscriptions that are there.
    pub(crate) fn subscribers(&self) -> usize {
        self.sessions.iter().map(|session| session.subscribers.len()).sum()
    }

    /// Whether some subscriber has not taken all that was sent.
    pub(crate) fn is_held_up(&self) -> bool {
        self.connections.iter().flatten().any(|connection| connection.is_full)
    }

    /// The last event's number in this session.
    pub(crate) fn sequence(&mut self, path: &str) -> u64 {
        let session = self.session(path);
        self.sessions[session].sequence
    }

    /// The next event of this session, for those who publish it in another way.
    pub(crate) fn next_stamp(&mut self, path: &str) -> Stamp {
        let session = self.session(path);
        self.sessions[session].sequence += 1;
        Stamp { sequence: self.sessions[session].sequence, sent_at: now() }
    }

    /// Sends so many events to all subscribers of this session.
    pub(crate) fn send(&mut self, path: &str, count: u64) -> Result<()> {
        let index = self.session(path);
        let session = &mut self.sessions[index];
        let sent_at = now();
        for _ in 0..count {
            session.sequence += 1;
            Stamp { sequence: session.sequence, sent_at }.write_chunk(&mut session.bytes);
        }
        for at in 0..self.sessions[index].subscribers.len() {
            let connection = self.sessions[index].subscribers[at];
            self.flush(connection);
        }
        self.trim(index)
    }

    fn session(&mut self, path: &str) -> usize {
        if let Some(&index) = self.names.get(path) {
            return index;
        }
        self.names.insert(path.to_owned(), self.sessions.len());
        self.sessions.push(Session::default());
        self.sessions.len() - 1
    }

    /// Forgets what all subscribers have.
    fn trim(&mut self, index: usize) -> Result<()> {
        let session = &mut self.sessions[index];
        if session.bytes.len() < LOG_TRIM_BYTES && !session.subscribers.is_empty() {
            return Ok(());
        }
        let places = session.subscribers.iter().filter_map(|&connection| {
            let connection = self.connections.get(connection)?.as_ref()?;
            connection.subscription.map(|(_, place)| place)
        });
        let needed = places.min().unwrap_or_else(|| session.end());
        session.bytes.drain(..(needed - session.start) as usize);
        session.start = needed;
        anyhow::ensure!(session.bytes.len() <= LOG_BYTES_MAX, "a subscriber does not read");
        Ok(())
    }

    /// Takes new connections.
    pub(crate) fn accept(&mut self, poll: &Poll) -> Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("the source's listener"),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            poll.add(&socket, Owner::Server(self.connections.len()))?;
            let connection = Connection { socket, request: Vec::new(), subscription: None, is_full: false };
            self.connections.push(Some(connection));
        }
    }

    /// Something happened to a connection.
    pub(crate) fn handle(&mut self, index: usize, ready: Ready) {
        if ready.is_readable && self.read(index).is_err() {
            self.close(index);
        }
        if ready.is_writable {
            let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { return };
            connection.is_full = false;
            self.flush(index);
        }
    }

    fn read(&mut self, index: usize) -> Result<()> {
        let mut buffer = [0; REQUEST_BYTES_MAX];
        loop {
            let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else {
                return Ok(());
            };
            match (&connection.socket).read(&mut buffer) {
                Ok(0) => anyhow::bail!("closed"),
                Ok(length) => connection.request.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            anyhow::ensure!(connection.request.len() <= REQUEST_BYTES_MAX, "a head without end");
            if let Some(end) = memmem::find(&connection.request, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&connection.request[..end]).into_owned();
                connection.request.drain(..end + 4);
                self.answer(index, &head)?;
            }
        }
    }

    fn answer(&mut self, index: usize, head: &str) -> Result<()> {
        let path = head.split(' ').nth(1).context("no request line")?.to_owned();
        let session = self.session(&path);
        let Some(connection) = self.connections[index].as_mut() else { return Ok(()) };
        self.subscriptions += 1;
        match self.answers {
            Answers::Stream => {
                (&connection.socket).write_all(STREAM_HEAD)?;
                connection.subscription = Some((session, self.sessions[session].end()));
                self.sessions[session].subscribers.push(index);
            }
            Answers::Hold => {
                let channel = path.trim_start_matches('/');
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 0\r\n\
                     Grip-Hold: stream\r\nGrip-Channel: {channel}\r\n\r\n"
                );
                (&connection.socket).write_all(answer.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Sends a subscriber what waits for it, until its socket is full.
    fn flush(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { return };
        let Some((session, place)) = &mut connection.subscription else { return };
        let session = &self.sessions[*session];
        while !connection.is_full && *place < session.end() {
            let waiting = &session.bytes[(*place - session.start) as usize..];
            let piece = match self.writes {
                Writes::Together => waiting,
                // All chunks are of one size; of the first, a part may have been sent.
                Writes::Apart => &waiting[..CHUNK_BYTES - (*place % CHUNK_BYTES as u64) as usize],
            };
            match (&connection.socket).write(piece) {
                Ok(length) => *place += length as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => connection.is_full = true,
                Err(_) => return self.close(index), // Counted by the herd: its client loses its stream.
            }
        }
    }

    fn close(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::take) else { return };
        if let Some((session, _)) = connection.subscription {
            self.sessions[session].subscribers.retain(|&subscriber| subscriber != index);
        }
    }
}
