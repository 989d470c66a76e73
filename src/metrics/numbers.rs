//! Numbers that many threads change at once.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::labels::Label;

/// Only grows. On a cache line of its own, since those that are counted together are not counted by
/// the same threads.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Counter(AtomicU64);

impl Counter {
    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// All so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many there are now of something that enters and leaves.
#[derive(Debug, Default)]
pub struct Gauge(Arc<AtomicUsize>);

/// One that is there; it leaves when dropped.
#[derive(Debug)]
pub struct Entered(Arc<AtomicUsize>);

impl Gauge {
    /// One more, for as long as the guard lives.
    #[must_use]
    pub fn enter(&self) -> Entered {
        self.0.fetch_add(1, Ordering::Relaxed);
        Entered(Arc::clone(&self.0))
    }

    /// How many now.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One counter for each value of a label.
#[derive(Debug)]
pub struct Family<L> {
    counters: Box<[Counter]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> Default for Family<L> {
    fn default() -> Self {
        Self { counters: L::ALL.iter().map(|_| Counter::default()).collect(), label: PhantomData }
    }
}

impl<L: Label> Family<L> {
    /// So many more of this value.
    pub fn add(&self, label: L, count: u64) {
        // A value that is not listed is a mistake in the list, which a test of the labels would show.
        if let Some(index) = L::ALL.iter().position(|known| known.as_str() == label.as_str()) {
            self.counters[index].add(count);
        }
    }

    /// Each value and its count.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        L::ALL.iter().zip(&self.counters).map(|(label, counter)| (label.as_str(), counter.get()))
    }

    /// Of one value.
    #[must_use]
    pub fn get(&self, label: L) -> u64 {
        self.all().find(|(known, _)| *known == label.as_str()).map_or(0, |(_, count)| count)
    }

    /// Of all values.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counters.iter().map(Counter::get).sum()
    }
}

/// How long something took, in classes.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [Duration],
    /// One for each bound, and one for what is longer than all.
    counts: Box<[Counter]>,
    sum_nanos: Counter,
}

impl Histogram {
    /// `bounds` ascend, and belong to the class that they end.
    #[must_use]
    pub fn new(bounds: &'static [Duration]) -> Self {
        let counts = (0..=bounds.len()).map(|_| Counter::default()).collect();
        Self { bounds, counts, sum_nanos: Counter::default() }
    }

    /// It took so long once.
    pub fn observe(&self, took: Duration) {
        self.observe_many(took, 1);
    }

    /// It took about so long so many times.
    pub fn observe_many(&self, took: Duration, times: u64) {
        let class = self.bounds.partition_point(|bound| *bound < took);
        self.counts[class].add(times);
        self.sum_nanos.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).saturating_mul(times));
    }

    /// Each bound with how many took at most so long, then all.
    pub(super) fn cumulative(&self) -> (Vec<(Duration, u64)>, u64) {
        let mut total = 0;
        let classes = self.bounds.iter().zip(&self.counts).map(|(bound, count)| {
            total += count.get();
            (*bound, total)
        });
        let classes = classes.collect();
        (classes, total + self.counts[self.bounds.len()].get())
    }

    /// How many fell into each class so far; what is longer than all bounds comes last.
    #[must_use]
    pub fn counts(&self) -> Box<[u64]> {
        self.counts.iter().map(Counter::get).collect()
    }

    /// The time in which `share` (0 to 1) of all that was observed between two looks at [`Self::counts`] was done,
    /// straight between the bounds of its class, as Prometheus' `histogram_quantile` has it. What is longer than all
    /// bounds counts as the last one. `None`: nothing was observed.
    #[must_use]
    pub fn quantile(&self, before: &[u64], after: &[u64], share: f64) -> Option<Duration> {
        let classes: Vec<u64> =
            after.iter().zip(before).map(|(after, before)| after.saturating_sub(*before)).collect();
        let total: u64 = classes.iter().sum();
        if total == 0 {
            return None;
        }
        let rank = share * total as f64;
        let (mut below, mut lower) = (0, Duration::ZERO);
        for (&upper, &count) in self.bounds.iter().zip(&classes) {
            if count > 0 && (below + count) as f64 >= rank {
                return Some(lower + (upper - lower).mul_f64((rank - below as f64).max(0.0) / count as f64));
            }
            (below, lower) = (below + count, upper);
        }
        Some(lower)
    }

    /// All together.
    pub(super) fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_class_that_it_ends() {
        const BOUNDS: &[Duration] = &[Duration::from_millis(1), Duration::from_millis(10)];
        let histogram = Histogram::new(BOUNDS);
        for micros in [1_000, 1_001, 10_000, 10_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        assert_eq!(histogram.cumulative(), (vec![(BOUNDS[0], 1), (BOUNDS[1], 3)], 4));
        assert_eq!(histogram.sum(), Duration::from_micros(22_002));
    }

    #[test]
    fn a_quantile_is_that_of_what_came_between_two_looks() {
        const BOUNDS: &[Duration] = &[Duration::from_millis(10), Duration::from_millis(20)];
        let histogram = Histogram::new(BOUNDS);
        histogram.observe(Duration::from_secs(9));
        let before = histogram.counts();
        assert_eq!(histogram.quantile(&before, &histogram.counts(), 0.5), None);
        for millis in [1, 2, 11, 12] {
            histogram.observe(Duration::from_millis(millis));
        }
        let after = histogram.counts();
        for (share, millis) in [(0.25, 5), (0.5, 10), (0.75, 15), (1.0, 20)] {
            let expected = Some(Duration::from_millis(millis));
            assert_eq!(histogram.quantile(&before, &after, share), expected, "{share}");
        }
        assert_eq!(histogram.quantile(&[0; 3], &after, 1.0), Some(BOUNDS[1]), "longer than all bounds");
    }

    #[test]
    fn a_gauge_counts_those_who_are_there() {
        let gauge = Gauge::default();
        let (first, second) = (gauge.enter(), gauge.enter());
        assert_eq!(gauge.get(), 2);
        drop(first);
        assert_eq!(gauge.get(), 1);
        drop(second);
        assert_eq!(gauge.get(), 0);
    }
}
