//! Publishing events to servers that do not subscribe: by HTTP requests, pipelined over one connection, so that their
//! order is that of the events.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result};

use crate::event::Stamp;
use crate::poll::{Owner, Poll, Ready};

/// Requests that wait to be sent; far more than any window.
const PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a server wants to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The data of the event, posted to this path: the server makes an event of it.
    Data(&'static str),
    /// The whole event, as an item for a channel of this name (GRIP).
    Item(&'static str),
}

/// A connection over which events are published.
#[derive(Debug)]
pub(crate) struct Publisher {
    form: Form,
    server: SocketAddr,
    socket: TcpStream,
    pending: Vec<u8>,
    /// What of an event is written before its request's length is known.
    body: Vec<u8>,
    is_full: bool,
}

impl Publisher {
    /// Connects to the server's publishing port.
    pub(crate) fn connect(server: SocketAddr, form: Form) -> Result<Self> {
        let socket = TcpStream::connect(server).context("the publishing port")?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self { form, server, socket, pending: Vec::new(), body: Vec::new(), is_full: false })
    }

    /// Watches the connection.
    pub(crate) fn watch(&self, poll: &Poll) -> Result<()> {
        poll.add(&self.socket, Owner::Publisher(0))
    }

    /// Adds an event to what is sent next.
    pub(crate) fn publish(&mut self, stamp: Stamp) {
        self.body.clear();
        let (path, kind) = match self.form {
            Form::Data(path) => {
                stamp.write_data(&mut self.body);
                (path, "text/plain")
            }
            Form::Item(channel) => {
                let mut event = Vec::new();
                stamp.write_event(&mut event);
                let item = serde_json::json!({"items": [{"channel": channel, "formats":
                    {"http-stream": {"content": String::from_utf8_lossy(&event)}}}]});
                self.body.extend_from_slice(item.to_string().as_bytes());
                ("/publish/", "application/json")
            }
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            self.server,
            self.body.len()
        );
        self.pending.extend_from_slice(head.as_bytes());
        self.pending.extend_from_slice(&self.body);
    }

    /// Sends what is pending, until the socket is full.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let mut sent = 0;
        while !self.is_full && sent < self.pending.len() {
            match (&self.socket).write(&self.pending[sent..]) {
                Ok(length) => sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_full = true,
                Err(error) => return Err(error).context("publishing"),
            }
        }
        self.pending.drain(..sent);
        anyhow::ensure!(
            self.pending.len() <= PENDING_BYTES_MAX,
            "the server does not take what is published"
        );
        Ok(())
    }

    /// Something happened to the connection.
    pub(crate) fn handle(&mut self, ready: Ready) -> Result<()> {
        if ready.is_readable {
            self.read_answers()?;
        }
        if ready.is_writable {
            self.is_full = false;
            self.flush()?;
        }
        Ok(())
    }

    /// Answers say nothing that the herd does not find out; a failure stops the run.
    fn read_answers(&mut self) -> Result<()> {
        let mut buffer = [0; 64 * 1024];
        loop {
            match (&self.socket).read(&mut buffer) {
                Ok(0) => anyhow::bail!("the server closed the publishing connection"),
                Ok(length) => {
                    let text = String::from_utf8_lossy(&buffer[..length]);
                    for line in text.lines().filter(|line| line.starts_with("HTTP/1.1 ")) {
                        anyhow::ensure!(line.starts_with("HTTP/1.1 2"), "publishing was answered {line:?}");
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("answers to publishing"),
            }
        }
    }
}
