//! Publishing events to servers that do not subscribe, over one connection, so that their order is that of the events:
//! by pipelined HTTP requests, or by ZeroMQ.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::event::Stamp;
use crate::poll::{Owner, Poll, Ready};

/// Requests that wait to be sent; far more than any window.
const PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a server wants to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// HTTP: the data of the event, posted to this path; the server makes an event of it.
    Data(&'static str),
    /// ZeroMQ: the whole event, as an item for a channel of this name (GRIP).
    Item(&'static str),
}

/// A connection over which events are published.
#[derive(Debug)]
pub(crate) struct Publisher {
    form: Form,
    server: SocketAddr,
    socket: TcpStream,
    pending: Vec<u8>,
    /// What of an event is written before its length is known.
    body: Vec<u8>,
    is_full: bool,
}

/// The longest wait for an answer to a greeting.
const GREETING_PATIENCE: Duration = Duration::from_secs(5);
/// ZMTP 3.0: the greeting of a peer that wants no security, and the command by which it says that it is a PUSH socket.
const GREETING_BYTES: usize = 64;
const READY: &[u8] = b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PUSH";
/// A message of one frame with a length of eight bytes.
const LONG_FRAME: u8 = 2;

impl Publisher {
    /// Connects to the server's publishing port.
    pub(crate) fn connect(server: SocketAddr, form: Form) -> Result<Self> {
        let socket = TcpStream::connect(server).context("the publishing port")?;
        socket.set_nodelay(true)?;
        if let Form::Item(_) = form {
            greet(&socket).context("greeting by ZMTP")?;
        }
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
        match self.form {
            Form::Data(path) => {
                stamp.write_data(&mut self.body);
                let head = format!(
                    "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
                    self.server,
                    self.body.len()
                );
                self.pending.extend_from_slice(head.as_bytes());
            }
            Form::Item(channel) => {
                let mut event = Vec::new();
                stamp.write_event(&mut event);
                let event = String::from_utf8_lossy(&event).into_owned();
                let item =
                    serde_json::json!({"channel": channel, "formats": {"http-stream": {"content": event}}});
                self.body.push(b'J');
                self.body.extend_from_slice(item.to_string().as_bytes());
                self.pending.push(LONG_FRAME);
                self.pending.extend_from_slice(&(self.body.len() as u64).to_be_bytes());
            }
        }
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

/// Shakes hands: both greet, both say what socket they are.
fn greet(mut socket: &TcpStream) -> Result<()> {
    socket.set_read_timeout(Some(GREETING_PATIENCE))?;
    let mut greeting = [0; GREETING_BYTES];
    greeting[0] = 0xFF;
    greeting[9] = 0x7F;
    greeting[10] = 3;
    greeting[12..16].copy_from_slice(b"NULL");
    socket.write_all(&greeting)?;
    socket.read_exact(&mut greeting)?;
    anyhow::ensure!(greeting[10] >= 3 && greeting[12..].starts_with(b"NULL\0"), "no ZMTP 3 without security");
    socket.write_all(READY)?;
    let mut head = [0; 2];
    socket.read_exact(&mut head)?;
    let mut command = vec![0; usize::from(head[1])];
    socket.read_exact(&mut command)?;
    anyhow::ensure!(head[0] == 4 && command.starts_with(b"\x05READY"), "another command than READY");
    Ok(())
}
