//! What a run consists of: scenarios, the cases of each, and how their figures are told.

use clap::ValueEnum;

use crate::micro::Micro;
use crate::scenarios::Work;

/// A group of cases that show one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Scenario {
    /// Processor time per delivery at a fixed rate.
    Rate,
    /// Deliveries per second, as fast as it goes.
    Saturation,
    /// From sending to reading at light load.
    Latency,
    /// Memory per idle client.
    Memory,
    /// Clients that connect at once.
    Join,
    /// Clients that come back at once.
    Reconnect,
    /// Events recorded with no client.
    Ingest,
    /// Instructions per event.
    Micro,
}

impl Scenario {
    /// In the order in which they run.
    pub(crate) const ALL: [Self; 8] = [
        Self::Rate,
        Self::Saturation,
        Self::Latency,
        Self::Memory,
        Self::Join,
        Self::Reconnect,
        Self::Ingest,
        Self::Micro,
    ];

    /// The headline.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Rate => "Processor time per delivery at a fixed rate",
            Self::Saturation => "Deliveries per second at saturation",
            Self::Latency => "Latency at light load",
            Self::Memory => "Memory per idle client",
            Self::Join => "Clients that connect at once",
            Self::Reconnect => "Clients that come back at once",
            Self::Ingest => "Events recorded with no client",
            Self::Micro => "The pure core, by the clock and by instructions",
        }
    }

    /// A name for files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Saturation => "saturation",
            Self::Latency => "latency",
            Self::Memory => "memory",
            Self::Join => "join",
            Self::Reconnect => "reconnect",
            Self::Ingest => "ingest",
            Self::Micro => "micro",
        }
    }

    /// How it is measured, and what it leaves out.
    pub(crate) fn note(self) -> &'static str {
        match self {
            Self::Rate => {
                "All of the server's processes and threads, by the scheduler's count. On loopback the kernel's work of \
                 receiving is done in the sender's time: `system` holds it. User and system are told apart by clock \
                 ticks, to about 1 %."
            }
            Self::Saturation => {
                "A closed loop: the source sends on while the slowest client is fewer than 256 events behind (51 where there \
                 are 5 000 clients), each \
                 event by a write of its own. Where the load's core is the full one, the server could do more: that \
                 holds for the plain proxies, whose source does all the fan-out."
            }
            Self::Latency => {
                "10 clients, 20 events per second at random moments; from the source's write to the client's read."
            }
            Self::Memory => {
                "Process: the proportional set size of all its processes, less that of the same server without clients. \
                 Kernel: socket buffers and slab of the whole machine, so of both ends of each connection, and of the \
                 upstream connections. A plain proxy for 10 000 clients needs 20 000 open files, more than are allowed here."
            }
            Self::Join => {
                "All connect at the same moment, while the source sends 20 events per second. The wait for the next \
                 event is part of each time."
            }
            Self::Reconnect => {
                "All connections break at once, 20 events are sent, and all clients come back with `Last-Event-ID`. Each \
                 is checked to get each event that it missed, once."
            }
            Self::Ingest => "The session lingers; the source sends as fast as ssecar reads.",
            Self::Micro => {
                "Events of 200 bytes on one core. Instructions: callgrind's count for 40 000 events less that for 20 000."
            }
        }
    }

    /// The figures in its table. The first is the one that is compared and drawn.
    pub(crate) fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Rate => &[
                "CPU per delivery (µs)",
                "user (µs)",
                "system (µs)",
                "deliveries per second",
                "latency p50 (µs)",
            ],
            Self::Saturation => &[
                "deliveries per second",
                "CPU per delivery (µs)",
                "deliveries per read",
                "server's share of its core",
                "load's share of its core",
            ],
            Self::Latency => &["p99 (µs)", "p50 (µs)", "p99.9 (µs)"],
            Self::Memory => &[
                "process per client (KiB)",
                "kernel per client, both ends (KiB)",
                "process with no client (KiB)",
            ],
            Self::Join => &["all have an event (ms)", "half have an event (ms)", "requests to the source"],
            Self::Reconnect => {
                &["all are up to date (ms)", "half have an event (ms)", "requests to the source"]
            }
            Self::Ingest => &["events per second", "CPU per event (ns)", "GB/s"],
            Self::Micro => &["instructions per event", "nanoseconds per event", "GB/s"],
        }
    }

    /// Whether bars differ so much that only their logarithms can be seen side by side.
    pub(crate) fn is_logarithmic(self) -> bool {
        matches!(self, Self::Latency | Self::Join)
    }
}

/// What is done in one case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Server(Work),
    Core(Micro),
}

/// One case of a scenario.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) scenario: Scenario,
    pub(crate) name: String,
    pub(crate) task: Task,
    /// Shows only how a figure grows: shorter, and in fewer rounds.
    pub(crate) is_growth: bool,
}

/// The cases of a run.
pub(crate) fn cases(scenarios: &[Scenario], is_quick: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for &scenario in scenarios {
        for (is_growth, name, task) in cases_of(scenario) {
            if !(is_quick && is_growth) {
                cases.push(Case { scenario, name, task, is_growth });
            }
        }
    }
    cases
}

/// The first is the one that counts.
fn cases_of(scenario: Scenario) -> Vec<(bool, String, Task)> {
    let server = |is_growth, name: &str, work| (is_growth, name.to_owned(), Task::Server(work));
    match scenario {
        Scenario::Rate => vec![
            server(false, "1 000 clients × 50/s", Work::Rate { clients: 1_000, per_second: 50 }),
            server(true, "100 clients × 50/s", Work::Rate { clients: 100, per_second: 50 }),
            server(true, "500 clients × 10/s", Work::Rate { clients: 500, per_second: 10 }),
            server(true, "500 clients × 100/s", Work::Rate { clients: 500, per_second: 100 }),
        ],
        Scenario::Saturation => vec![
            server(false, "1 000 clients", Work::Saturation { clients: 1_000 }),
            server(true, "100 clients", Work::Saturation { clients: 100 }),
            server(true, "5 000 clients", Work::Saturation { clients: 5_000 }),
        ],
        Scenario::Latency => vec![server(false, "10 clients × 20/s", Work::Latency)],
        Scenario::Memory => vec![
            server(false, "10 000 clients, 1 session", Work::Memory { clients: 10_000, sessions: 1 }),
            server(true, "1 000 clients, 1 session", Work::Memory { clients: 1_000, sessions: 1 }),
            server(true, "10 000 clients, 1 000 sessions", Work::Memory { clients: 10_000, sessions: 1_000 }),
        ],
        Scenario::Join => vec![
            server(false, "5 000 clients", Work::Join { clients: 5_000 }),
            server(true, "500 clients", Work::Join { clients: 500 }),
        ],
        Scenario::Reconnect => vec![
            server(false, "5 000 clients", Work::Reconnect { clients: 5_000 }),
            server(true, "500 clients", Work::Reconnect { clients: 500 }),
        ],
        Scenario::Ingest => vec![server(false, "events of 200 bytes", Work::Ingest)],
        Scenario::Micro => {
            Micro::ALL.map(|micro| (false, micro.title().to_owned(), Task::Core(micro))).to_vec()
        }
    }
}
