//! The raw server: the floor for a program that sends each event on its own. One loop, one `send` per event and client,
//! nothing else: no ids, no replay, no heartbeats, no limits.
//!
//! The log is shared: a client whose socket is full keeps its place in it and goes on from there, still with one `send`
//! per event.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result};
use memchr::memmem;

use crate::clock::SECOND;
use crate::poll::{Owner, Poll, Ready};

/// Events kept for the slowest client.
const LOG_EVENTS_MAX: usize = 65_536;
const REQUEST_BYTES_MAX: usize = 8 * 1024;
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
    Transfer-Encoding: chunked\r\n\r\n";

/// One path: its subscription, its log, its clients.
#[derive(Debug)]
struct Session {
    upstream: TcpStream,
    /// What came and is no whole event yet.
    pending: Vec<u8>,
    is_head_read: bool,
    /// Prepared events, and the place of the first.
    log: VecDeque<Box<[u8]>>,
    start: u64,
    clients: Vec<usize>,
}

#[derive(Debug)]
struct Client {
    socket: TcpStream,
    /// Before the request is complete: none.
    session: Option<usize>,
    next: u64,
    /// Bytes of the next event that are sent already.
    part: usize,
    is_full: bool,
}

#[derive(Debug)]
struct Raw {
    poll: Poll,
    listener: TcpListener,
    upstream: SocketAddr,
    names: HashMap<String, usize>,
    sessions: Vec<Session>,
    clients: Vec<Option<Client>>,
    /// Places in `clients` that can be used again.
    free: Vec<usize>,
}

/// Serves until the process is ended.
pub(crate) fn serve(listen: SocketAddr, upstream: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).context("the port of the raw server")?;
    rustix::net::listen(&listener, 4_096)?;
    listener.set_nonblocking(true)?;
    let poll = Poll::new()?;
    poll.add(&listener, Owner::Listener)?;
    let mut raw = Raw {
        poll,
        listener,
        upstream,
        names: HashMap::new(),
        sessions: Vec::new(),
        clients: Vec::new(),
        free: Vec::new(),
    };
    let mut ready = Vec::new();
    loop {
        raw.poll.wait(3_600 * SECOND, &mut ready)?;
        for ready in ready.drain(..) {
            match ready.owner {
                Owner::Listener => raw.accept()?,
                Owner::Server(index) => raw.serve(index, ready)?,
                Owner::Client(index) => raw.receive(index)?,
                Owner::Publisher(_) => {}
            }
        }
    }
}

impl Raw {
    fn accept(&mut self) -> Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or(self.clients.len());
            self.poll.add(&socket, Owner::Server(index))?;
            let client = Client { socket, session: None, next: 0, part: 0, is_full: false };
            if index == self.clients.len() {
                self.clients.push(Some(client));
            } else {
                self.clients[index] = Some(client);
            }
        }
    }

    /// Something happened to a client.
    fn serve(&mut self, index: usize, ready: Ready) -> Result<()> {
        if ready.is_readable && !self.read_request(index)? {
            self.close(index);
        }
        let Some(client) = self.clients[index].as_mut() else { return Ok(()) };
        if ready.is_writable && client.is_full {
            client.is_full = false;
            self.deliver(index);
        }
        Ok(())
    }

    /// Whether the client is still there. A request comes in one piece: this is no server for strangers.
    fn read_request(&mut self, index: usize) -> Result<bool> {
        let mut buffer = [0; REQUEST_BYTES_MAX];
        loop {
            let Some(client) = &self.clients[index] else { return Ok(true) };
            let length = match (&client.socket).read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(length) => length,
                Err(error) => return Ok(error.kind() == ErrorKind::WouldBlock),
            };
            let head = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let Some(path) = head.split(' ').nth(1).filter(|_| head.ends_with("\r\n\r\n")) else {
                return Ok(false);
            };
            let session = self.session(path)?;
            let Some(client) = &mut self.clients[index] else { return Ok(true) };
            if (&client.socket).write_all(HEAD).is_err() {
                return Ok(false);
            }
            let log = &mut self.sessions[session];
            client.session = Some(session);
            client.next = log.start + log.log.len() as u64;
            log.clients.push(index);
        }
    }

    /// The session of this path; subscribes to it if it is new.
    fn session(&mut self, path: &str) -> Result<usize> {
        if let Some(&index) = self.names.get(path) {
            return Ok(index);
        }
        let index = self.sessions.len();
        let upstream = TcpStream::connect(self.upstream).context("the source")?;
        (&upstream).write_all(format!("GET {path} HTTP/1.1\r\nHost: source\r\n\r\n").as_bytes())?;
        upstream.set_nonblocking(true)?;
        self.poll.add(&upstream, Owner::Client(index))?;
        self.names.insert(path.to_owned(), index);
        self.sessions.push(Session {
            upstream,
            pending: Vec::new(),
            is_head_read: false,
            log: VecDeque::new(),
            start: 0,
            clients: Vec::new(),
        });
        Ok(index)
    }

    /// Something came from the source.
    fn receive(&mut self, index: usize) -> Result<()> {
        let mut buffer = [0; 64 * 1024];
        loop {
            let session = &mut self.sessions[index];
            match (&session.upstream).read(&mut buffer) {
                Ok(0) => anyhow::bail!("the source closed the stream"),
                Ok(length) => session.pending.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            if !session.is_head_read {
                let Some(end) = memmem::find(&session.pending, b"\r\n\r\n") else { continue };
                session.pending.drain(..end + 4);
                session.is_head_read = true;
            }
            // The source sends each event as one chunk, and so do we: it is passed on as it came.
            let mut taken = 0;
            while let Some(end) = memmem::find(&session.pending[taken..], b"\n\n\r\n") {
                let length = end + b"\n\n\r\n".len();
                session.log.push_back(session.pending[taken..taken + length].into());
                taken += length;
            }
            session.pending.drain(..taken);
            self.distribute(index);
        }
    }

    /// Sends all clients that are up to date what is new: event by event, each to all.
    fn distribute(&mut self, index: usize) {
        let end = self.sessions[index].start + self.sessions[index].log.len() as u64;
        let clients = std::mem::take(&mut self.sessions[index].clients);
        let mut from = end;
        for &client in &clients {
            if let Some(client) = self.clients[client].as_ref().filter(|client| !client.is_full) {
                from = from.min(client.next);
            }
        }
        for next in from..end {
            let log = &self.sessions[index];
            let event = &log.log[(next - log.start) as usize];
            for &client in &clients {
                if let Some(client) = &mut self.clients[client]
                    && !client.is_full
                    && client.next == next
                {
                    send(client, event);
                }
            }
        }
        self.sessions[index].clients = clients;
        self.forget(index);
    }

    /// Sends a client that was behind what waits for it.
    fn deliver(&mut self, index: usize) {
        let Some(client) = &mut self.clients[index] else { return };
        let Some(session) = client.session else { return };
        let session = &self.sessions[session];
        while !client.is_full
            && let Some(event) =
                client.next.checked_sub(session.start).and_then(|at| session.log.get(at as usize))
        {
            send(client, event);
        }
    }

    /// Drops events that all clients have; and clients that are too far behind.
    fn forget(&mut self, index: usize) {
        let session = &mut self.sessions[index];
        let end = session.start + session.log.len() as u64;
        let slowest = session.clients.iter().filter_map(|&client| self.clients[client].as_ref());
        let needed = slowest.map(|client| client.next).min().unwrap_or(end);
        session.log.drain(..(needed - session.start) as usize);
        session.start = needed;
        if session.log.len() > LOG_EVENTS_MAX {
            let behind: Vec<usize> = session
                .clients
                .iter()
                .copied()
                .filter(|&client| self.clients[client].as_ref().is_some_and(|client| client.next == needed))
                .collect();
            behind.into_iter().for_each(|client| self.close(client));
        }
    }

    fn close(&mut self, index: usize) {
        let Some(client) = self.clients[index].take() else { return };
        self.free.push(index);
        if let Some(session) = client.session {
            self.sessions[session].clients.retain(|&other| other != index);
        }
    }
}

/// One event, one `send`; of an event of which the socket took only a part, the rest.
fn send(client: &mut Client, event: &[u8]) {
    match (&client.socket).write(&event[client.part..]) {
        Ok(length) if client.part + length == event.len() => {
            client.next += 1;
            client.part = 0;
        }
        Ok(length) => {
            client.part += length;
            client.is_full = true;
        }
        Err(_) => client.is_full = true, // Full, or gone, which will be told by the poll.
    }
}
