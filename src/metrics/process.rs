//! What the system knows of this process, under the names that Prometheus' client libraries give it.
//!
//! Read from `/proc` when the numbers are asked for. What can't be read is left out, as those libraries do it.

use std::fs;
use std::time::SystemTime;

use super::text::Writer;

/// One look at this process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Process {
    cpu_seconds: f64,
    resident_bytes: u64,
    /// Seconds since 1970.
    started_seconds: f64,
    /// `None`: the kernel doesn't say in no time.
    open_descriptors: Option<u64>,
    /// `None`: as many as it likes.
    max_descriptors: Option<u64>,
}

impl Process {
    /// `started`: when it began, which costs more to look up than to remember. `None`: there is no `/proc` that can be
    /// read.
    #[must_use]
    pub fn look(started: SystemTime) -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The directory's size is how many there are, from Linux 6.2 on; before, 0. To count its entries would take
        // milliseconds of a worker's time when there are ten thousand.
        let open = fs::metadata("/proc/self/fd").ok().map(|directory| directory.len());
        let ticks = rustix::param::clock_ticks_per_second();
        let page = u64::try_from(rustix::param::page_size()).ok()?;
        Some(Self {
            open_descriptors: open.filter(|open| *open > 0),
            max_descriptors: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            ..Self::parse(&stat, started, ticks, page)?
        })
    }

    /// From the text of `/proc/self/stat`; `page` in bytes.
    fn parse(stat: &str, started: SystemTime, ticks_a_second: u64, page: u64) -> Option<Self> {
        // The program's name, in brackets, may hold anything. What follows it is counted from field 3 on (proc(5)).
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let seconds = |ticks: u64| ticks as f64 / ticks_a_second as f64;
        Some(Self {
            cpu_seconds: seconds(field(14)? + field(15)?),
            resident_bytes: field(24)? * page,
            started_seconds: started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            open_descriptors: None,
            max_descriptors: None,
        })
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.seconds_counter("process_cpu_seconds", "User and system processor time spent.", self.cpu_seconds);
        out.gauge("process_resident_memory_bytes", "Resident memory size.", self.resident_bytes);
        let started = self.started_seconds;
        out.gauge("process_start_time_seconds", "Start of the process, in seconds since 1970.", started);
        if let Some(open) = self.open_descriptors {
            out.gauge("process_open_fds", "Open file descriptors.", open);
        }
        if let Some(max) = self.max_descriptors {
            out.gauge("process_max_fds", "Most file descriptors that may be open.", max);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_fields_are_counted_behind_whatever_the_name_is() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 900 0 0 0 250 50 0 0 20 0 3 0 1000 9999 40 18446744073709551615";
        let started = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let process = Process::parse(stat, started, 100, 4096).unwrap();
        let expected = Process {
            cpu_seconds: 3.0,
            resident_bytes: 40 * 4096,
            started_seconds: 1.5,
            open_descriptors: None,
            max_descriptors: None,
        };
        assert_eq!(process, expected);
        for cut in ["", "7 (a", "7 (a) S 1 2 3"] {
            assert_eq!(Process::parse(cut, started, 100, 4096), None, "{cut}");
        }
    }

    #[test]
    fn this_process_is_seen() {
        let process = Process::look(SystemTime::UNIX_EPOCH).unwrap();
        assert!(process.resident_bytes > 1 << 20, "{process:?}");
        let told = fs::metadata("/proc/self/fd").unwrap().len();
        match process.open_descriptors {
            Some(open) => assert!(open >= 3, "{open}: input, output, errors"),
            None => assert_eq!(told, 0, "a kernel that does not say"),
        }
        assert!(process.max_descriptors.is_none_or(|max| max > 3), "{process:?}");
    }
}
