//! What servers cost: processor time and memory, as the kernel counts them.

use std::fs;

use anyhow::{Context, Result};

use crate::clock::now;

/// A tick of `/proc/PID/stat`: `USER_HZ` is 100 on every architecture that is measured here.
const TICK_NANOSECONDS: u64 = 10_000_000;
const PAGE_KIB: u64 = 4;

/// Processor time so far, of some processes with all their threads, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// By the scheduler's own count of each thread, exact to the last tick.
    pub(crate) total: u64,
    /// By ticks, user and kernel apart; the sum also has threads that have ended.
    pub(crate) user: u64,
    /// Work of the network on loopback is done by whoever sends, and counts here.
    pub(crate) system: u64,
    /// When this was read.
    pub(crate) at: u64,
}

impl Cpu {
    /// What these processes have used.
    pub(crate) fn of(processes: &[u32]) -> Result<Self> {
        let mut cpu = Self { at: now(), ..Self::default() };
        for process in processes {
            // One that ended in the meantime counts no more; none does within a window.
            let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
            let (user, system) = ticks(&stat).with_context(|| format!("strange: {stat}"))?;
            cpu.user += user * TICK_NANOSECONDS;
            cpu.system += system * TICK_NANOSECONDS;
            for thread in fs::read_dir(format!("/proc/{process}/task"))? {
                let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
                let first = text.split(' ').next().and_then(|time| time.parse::<u64>().ok());
                cpu.total += first.unwrap_or(0);
            }
        }
        Ok(cpu)
    }

    /// What was used since then.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            total: self.total.saturating_sub(before.total),
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
            at: self.at - before.at,
        }
    }

    /// The share of one core, where this is a difference.
    pub(crate) fn share(self) -> f64 {
        self.total as f64 / self.at.max(1) as f64
    }
}

/// `utime` and `stime` of a process: fields 14 and 15. The name before them may hold anything.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Memory in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Of the server's processes: the proportional set size.
    pub(crate) process: u64,
    /// Of the kernel, for all sockets of the machine, both ends: buffers and slab.
    pub(crate) kernel: u64,
}

impl Memory {
    /// What these processes and the kernel use now.
    pub(crate) fn of(processes: &[u32]) -> Result<Self> {
        let mut process = 0;
        for id in processes {
            let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
            process += field(&rollup, "Pss:").unwrap_or(0);
        }
        let sockets = fs::read_to_string("/proc/net/sockstat")?;
        let pages = buffer_pages(&sockets).context("/proc/net/sockstat has no TCP memory")?;
        let slab =
            field(&fs::read_to_string("/proc/meminfo")?, "Slab:").context("/proc/meminfo has no slab")?;
        Ok(Self { process, kernel: pages * PAGE_KIB + slab })
    }

    /// What was added since then.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            process: self.process.saturating_sub(before.process),
            kernel: self.kernel.saturating_sub(before.kernel),
        }
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn buffer_pages(sockets: &str) -> Option<u64> {
    let line = sockets.lines().find(|line| line.starts_with("TCP:"))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_is_seen_to_work() {
        let this = [std::process::id()];
        let before = Cpu::of(&this).unwrap();
        let mut number = 1_u64;
        while now() - before.at < 300 * crate::clock::MILLISECOND {
            number = std::hint::black_box(number.wrapping_mul(31) + 1);
        }
        let used = Cpu::of(&this).unwrap().since(before);
        assert!(used.total > 50 * crate::clock::MILLISECOND, "{used:?}");
        let ticked = used.user + used.system;
        assert!(
            ticked.abs_diff(used.total) < used.total / 2 + 3 * TICK_NANOSECONDS,
            "both counts agree: {used:?}"
        );
        assert!(used.share() > 0.1);
    }

    #[test]
    fn a_name_with_a_bracket_does_not_shift_the_fields() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 91 0 0 0 7 3 0 0 20 0 1 0 5";
        assert_eq!(ticks(stat), Some((7, 3)));
    }

    #[test]
    fn memory_is_read() {
        let memory = Memory::of(&[std::process::id()]).unwrap();
        assert!(memory.process > 100, "{memory:?}");
        assert!(memory.kernel > 1_000, "{memory:?}");
        assert_eq!(buffer_pages("sockets: used 14\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 173\n"), Some(173));
    }
}
