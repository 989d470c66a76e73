//! What the system knows of this process, under the names that Prometheus' client libraries give it.
//!
//! Read from `/proc` when the numbers are asked for. What can't be read is left out, as those libraries do it.

use std::fs;

use super::text::Writer;

/// One look at this process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Process {
    cpu_seconds: f64,
    resident_bytes: u64,
    /// Seconds since 1970.
    started_seconds: Option<f64>,
    descriptors: Option<Descriptors>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Descriptors {
    open: usize,
    /// `None`: as many as it likes.
    max: Option<u64>,
}

impl Process {
    /// `None`: there is no `/proc` that can be read.
    #[must_use]
    pub fn look() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let booted = fs::read_to_string("/proc/stat").ok();
        let booted = booted.as_deref().and_then(|text| {
            text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok())
        });
        let open = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        let descriptors = open.map(|open| Descriptors {
            // The look itself took one.
            open: open.saturating_sub(1),
            max: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        });
        let ticks = rustix::param::clock_ticks_per_second();
        let page = u64::try_from(rustix::param::page_size()).ok()?;
        Some(Self { descriptors, ..Self::parse(&stat, booted, ticks, page)? })
    }

    /// From the text of `/proc/self/stat`; `booted` in seconds since 1970, `page` in bytes.
    fn parse(stat: &str, booted: Option<u64>, ticks_a_second: u64, page: u64) -> Option<Self> {
        // The program's name, in brackets, may hold anything. What follows it is counted from field 3 on (proc(5)).
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let seconds = |ticks: u64| ticks as f64 / ticks_a_second as f64;
        let since_boot = seconds(field(22)?);
        Some(Self {
            cpu_seconds: seconds(field(14)? + field(15)?),
            resident_bytes: field(24)? * page,
            started_seconds: booted.map(|booted| booted as f64 + since_boot),
            descriptors: None,
        })
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.seconds_counter("process_cpu_seconds", "User and system processor time spent.", self.cpu_seconds);
        out.gauge("process_resident_memory_bytes", "Resident memory size.", self.resident_bytes);
        if let Some(started) = self.started_seconds {
            out.gauge("process_start_time_seconds", "Start of the process, in seconds since 1970.", started);
        }
        if let Some(Descriptors { open, max }) = self.descriptors {
            out.gauge("process_open_fds", "Open file descriptors.", open);
            if let Some(max) = max {
                out.gauge("process_max_fds", "Most file descriptors that may be open.", max);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_counted_behind_whatever_the_name_is() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 900 0 0 0 250 50 0 0 20 0 3 0 1000 9999 40 18446744073709551615";
        let process = Process::parse(stat, Some(1_000_000), 100, 4096).unwrap();
        let expected = Process {
            cpu_seconds: 3.0,
            resident_bytes: 40 * 4096,
            started_seconds: Some(1_000_010.0),
            descriptors: None,
        };
        assert_eq!(process, expected);
        for cut in ["", "7 (a", "7 (a) S 1 2 3"] {
            assert_eq!(Process::parse(cut, None, 100, 4096), None, "{cut}");
        }
    }

    #[test]
    fn this_process_is_seen() {
        let process = Process::look().unwrap();
        assert!(process.resident_bytes > 1 << 20, "{process:?}");
        let open = process.descriptors.unwrap().open;
        let _one_more = fs::File::open("/dev/null").unwrap();
        assert!(open >= 3, "{open}: input, output, errors");
        assert!(process.started_seconds > Some(1.7e9), "{process:?}");
    }
}
