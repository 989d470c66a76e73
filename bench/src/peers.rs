//! The servers that are compared, and how each is started: with its best reasonable settings for one core.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::load::{Interrupt, Load};
use crate::process::{Server, files_max, free_address};
use crate::publisher::{Form, Publisher};
use crate::source::Answers;

/// One server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Peer {
    /// One `send` per event and client, nothing else: the floor.
    Raw,
    /// This project.
    Ssecar,
    /// A plain Node.js fan-out server.
    Node,
    /// nginx as a plain proxy.
    Nginx,
    /// HAProxy as a plain proxy.
    Haproxy,
    /// nginx with the module nchan.
    Nchan,
    /// Pushpin.
    Pushpin,
    /// No server: clients read from the source.
    Direct,
}

impl Peer {
    /// All, in the order of the tables.
    pub(crate) const ALL: [Self; 8] = [
        Self::Raw,
        Self::Ssecar,
        Self::Nchan,
        Self::Pushpin,
        Self::Node,
        Self::Nginx,
        Self::Haproxy,
        Self::Direct,
    ];

    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Ssecar => "ssecar",
            Self::Node => "Node.js",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Nchan => "nchan",
            Self::Pushpin => "Pushpin",
            Self::Direct => "no server",
        }
    }

    /// Its place in the tables.
    pub(crate) fn place(self) -> usize {
        Self::ALL.iter().position(|&peer| peer == self).unwrap_or(Self::ALL.len())
    }

    /// What it does, in a word or two.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Raw => "fan-out, the floor",
            Self::Ssecar | Self::Node => "fan-out",
            Self::Nginx | Self::Haproxy => "plain proxy",
            Self::Nchan | Self::Pushpin => "publish and subscribe",
            Self::Direct => "the source itself",
        }
    }

    /// Whether each client has its own connection to the source.
    pub(crate) fn is_plain_proxy(self) -> bool {
        matches!(self, Self::Nginx | Self::Haproxy)
    }

    /// Whether it can give a client that comes back what it missed.
    pub(crate) fn can_replay(self) -> bool {
        matches!(self, Self::Ssecar | Self::Node | Self::Nchan)
    }

    /// What it says about its version.
    pub(crate) fn version(self, programs: &Programs) -> Result<String> {
        let (program, argument) = match self {
            Self::Raw | Self::Direct => return Ok("part of this benchmark".to_owned()),
            Self::Ssecar => (programs.ssecar.clone(), "--version"),
            Self::Node => (PathBuf::from("node"), "--version"),
            Self::Nginx => (PathBuf::from("nginx"), "-v"),
            Self::Haproxy => (PathBuf::from("haproxy"), "-v"),
            Self::Nchan => return package_version("libnginx-mod-nchan"),
            Self::Pushpin => return package_version("pushpin"),
        };
        let output = Command::new(&program).arg(argument).output();
        let output = output.with_context(|| format!("{} --version", program.display()))?;
        let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().next().unwrap_or_default().trim_start_matches("nginx version: ");
        Ok(line.split(" - ").next().unwrap_or(line).trim().to_owned())
    }
}

fn package_version(package: &str) -> Result<String> {
    let output = Command::new("dpkg-query").args(["-W", "-f=${Package} ${Version}", package]).output()?;
    anyhow::ensure!(output.status.success(), "{package} is not installed");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where programs and their settings are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// ssecar.
    pub(crate) ssecar: PathBuf,
    /// This benchmark, which is the raw server as well.
    pub(crate) this: PathBuf,
    /// The folder with the peers' settings.
    pub(crate) peers: PathBuf,
}

/// A server that runs, with source and herd around it.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) load: Load,
    server: Option<Server>,
    /// Where ssecar serves its metrics, if it was asked to.
    pub(crate) admin: Option<SocketAddr>,
}

impl Stage {
    /// Starts a server; ssecar with its admin listener, if so.
    pub(crate) fn open(
        peer: Peer,
        programs: &Programs,
        interrupt: &Interrupt,
        has_admin: bool,
    ) -> Result<Self> {
        let answers = if peer == Peer::Pushpin { Answers::Hold } else { Answers::Stream };
        let mut load = Load::new(answers, interrupt.clone())?;
        let source = load.source.address()?;
        if peer == Peer::Direct {
            load.face(source, "/events")?;
            return Ok(Self { load, server: None, admin: None });
        }
        let listen = free_address()?;
        let admin = if has_admin { Some(free_address()?) } else { None };
        let folder = Folder::new()?;
        let command = folder.command(peer, programs, listen, source, admin)?;
        let mut server = Server::start(command, folder.keep())?;
        server.wait_for(listen, interrupt)?;
        load.face(listen, "/events")?;
        match peer {
            Peer::Nchan => load.publish_by(Publisher::connect(listen, Form::Data("/publish/events"))?)?,
            Peer::Pushpin => {
                let publish = pushpin_publish_address(listen);
                server.wait_for(publish, interrupt)?;
                load.wait_for_answer(listen)?;
                load.publish_by(Publisher::connect(publish, Form::Item("events"))?)?;
            }
            Peer::Raw | Peer::Ssecar | Peer::Node | Peer::Nginx | Peer::Haproxy | Peer::Direct => {}
        }
        Ok(Self { load, server: Some(server), admin })
    }

    /// The server's processes.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.server.as_ref().map(Server::processes).unwrap_or_default()
    }

    /// The last lines that the server wrote.
    pub(crate) fn output(&self) -> String {
        self.server.as_ref().map(Server::output).unwrap_or_default()
    }
}

/// What Pushpin needs in its folder.
const PUSHPIN_FILES: [(&str, &str); 4] = [
    ("pushpin.conf", "pushpin.conf"),
    ("pushpin.internal.conf", "internal.conf"),
    ("pushpin.routes", "routes"),
    ("pushpin.condure", "condure"),
];

/// Pushpin's ports are told apart by an offset to this one, on which it takes publishing by ZeroMQ.
const PUSHPIN_PUBLISH_PORT: u16 = 5_560;

fn pushpin_publish_address(listen: SocketAddr) -> SocketAddr {
    SocketAddr::new(listen.ip(), pushpin_offset(listen) + PUSHPIN_PUBLISH_PORT)
}

fn pushpin_offset(listen: SocketAddr) -> u16 {
    // Free ports lie above the offsets' reach of known services; the sum must stay a port.
    listen.port() % 20_000 + 10_000
}

/// A folder of a server's own; removed unless it is kept.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    is_kept: bool,
}

impl Folder {
    fn new() -> Result<Self> {
        let name = format!("ssecar-bench-{}-{}", std::process::id(), crate::clock::now());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Self { path, is_kept: false })
    }

    fn keep(mut self) -> PathBuf {
        self.is_kept = true;
        self.path.clone()
    }

    fn command(
        &self,
        peer: Peer,
        programs: &Programs,
        listen: SocketAddr,
        source: SocketAddr,
        admin: Option<SocketAddr>,
    ) -> Result<Command> {
        let port = listen.port().to_string();
        Ok(match peer {
            Peer::Raw | Peer::Direct => {
                let mut command = Command::new(&programs.this);
                command.args(["raw", "--listen", &listen.to_string(), "--upstream", &source.to_string()]);
                command
            }
            Peer::Ssecar => {
                let mut command = Command::new(&programs.ssecar);
                let admin = admin.map_or_else(|| "off".to_owned(), |admin| admin.to_string());
                command.args(["--upstream", &format!("http://{source}"), "--listen", &listen.to_string()]);
                command.args(["--admin-listen", &admin]);
                command
            }
            Peer::Node => {
                let mut command = Command::new("node");
                command
                    .arg(programs.peers.join("node-fanout.mjs"))
                    .args([&port, &format!("http://{source}")]);
                command
            }
            Peer::Nginx | Peer::Nchan => {
                let template = if peer == Peer::Nginx { "nginx.conf" } else { "nchan.conf" };
                let settings = self.settings(&programs.peers.join(template), "nginx.conf", listen, source)?;
                let mut command = Command::new("nginx");
                command.arg("-p").arg(&self.path).arg("-c").arg(settings);
                if rustix::process::geteuid().is_root() {
                    command.args(["-g", "user root;"]);
                }
                command
            }
            Peer::Haproxy => {
                let settings =
                    self.settings(&programs.peers.join("haproxy.cfg"), "haproxy.cfg", listen, source)?;
                let mut command = Command::new("haproxy");
                command.arg("-f").arg(settings);
                command
            }
            Peer::Pushpin => {
                for (template, name) in PUSHPIN_FILES {
                    self.settings(&programs.peers.join(template), name, listen, source)?;
                }
                let condure = self.path.join("condure");
                std::fs::set_permissions(&condure, std::fs::Permissions::from_mode(0o755))?;
                let settings = self.path.join("pushpin.conf");
                let mut command = Command::new("pushpin");
                command.arg("--config").arg(settings);
                command
            }
        })
    }

    /// Fills in a template.
    fn settings(
        &self,
        template: &Path,
        name: &str,
        listen: SocketAddr,
        source: SocketAddr,
    ) -> Result<PathBuf> {
        let text = std::fs::read_to_string(template).with_context(|| template.display().to_string())?;
        let text = text
            .replace("@PORT@", &listen.port().to_string())
            .replace("@UPSTREAM@", &source.to_string())
            .replace("@FILES@", &files_max().to_string())
            .replace("@CLIENTS@", &(files_max() / 2 - 100).to_string())
            .replace("@OFFSET@", &pushpin_offset(listen).to_string())
            .replace("@FOLDER@", &self.path.display().to_string());
        let path = self.path.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            eprintln!("{} was not removed: {error}", self.path.display());
        }
    }
}
