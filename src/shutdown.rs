//! The signal to stop, in two stages: finish what runs until a deadline, then end now (spec 11).
//!
//! One [`ShutdownTrigger`] belongs to whoever hears the signals of the system; everything that runs holds a
//! [`Shutdown`]. The signal only ever moves forward. It ends nothing by itself: each task listens and ends.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How far stopping has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nobody asked to stop.
    Running,
    /// Begin nothing new, finish what runs; what still runs at `deadline` is ended.
    Draining {
        /// From here on it is as if [`Phase::Now`] had been announced.
        deadline: Instant,
    },
    /// End at once.
    Now,
}

/// Announces the stages. When it is dropped, whoever listens is told [`Phase::Now`]: nobody would be left to tell
/// them later.
#[derive(Debug)]
pub struct ShutdownTrigger {
    phase: watch::Sender<Phase>,
}

impl ShutdownTrigger {
    /// Starts draining, for at most `limit`. Does nothing when stopping had already begun: a repeated call must not
    /// move the deadline.
    pub fn drain(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        self.phase.send_if_modified(|phase| match phase {
            Phase::Running => {
                *phase = Phase::Draining { deadline };
                true
            }
            Phase::Draining { .. } | Phase::Now => false,
        });
    }

    /// Ends everything at once (a second signal).
    pub fn now(&self) {
        self.phase.send_replace(Phase::Now);
    }
}

/// What a task listens to. Cheap to clone; each clone hears everything.
#[derive(Debug, Clone)]
pub struct Shutdown {
    phase: watch::Receiver<Phase>,
}

impl Shutdown {
    /// A signal in the phase [`Phase::Running`], and what moves it on.
    pub fn new() -> (ShutdownTrigger, Self) {
        let (sender, receiver) = watch::channel(Phase::Running);
        (ShutdownTrigger { phase: sender }, Self { phase: receiver })
    }

    /// How far stopping has come.
    pub fn phase(&self) -> Phase {
        if self.phase.has_changed().is_err() { Phase::Now } else { *self.phase.borrow() }
    }

    /// Waits until stopping begins; answers the moment by which everything has to be over.
    pub async fn draining(&self) -> Instant {
        let mut phase = self.phase.clone();
        match phase.wait_for(|phase| *phase != Phase::Running).await.map(|phase| *phase) {
            Ok(Phase::Draining { deadline }) => deadline,
            Ok(Phase::Running | Phase::Now) | Err(_) => Instant::now(),
        }
    }

    /// Waits until everything has to be over: told so, or the deadline of draining passed.
    pub async fn now(&self) {
        let deadline = self.draining().await;
        let mut phase = self.phase.clone();
        tokio::select! {
            _ = phase.wait_for(|phase| *phase == Phase::Now) => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn stopping_drains_until_its_deadline_and_then_is_now() {
        let (trigger, shutdown) = Shutdown::new();
        assert_eq!(shutdown.phase(), Phase::Running);
        assert!(shutdown.draining().now_or_never().is_none(), "nobody asked yet");

        let start = Instant::now();
        trigger.drain(LIMIT);
        assert_eq!(shutdown.draining().await, start + LIMIT);
        assert_eq!(shutdown.phase(), Phase::Draining { deadline: start + LIMIT });
        shutdown.now().await;
        // The timer wheel counts in milliseconds, rounded up.
        assert!((LIMIT..LIMIT + Duration::from_millis(2)).contains(&start.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_drain_does_not_move_the_deadline_and_now_cannot_be_taken_back() {
        let (trigger, shutdown) = Shutdown::new();
        trigger.drain(LIMIT);
        let deadline = shutdown.draining().await;
        trigger.drain(LIMIT * 2);
        assert_eq!(shutdown.draining().await, deadline);

        trigger.now();
        assert!(shutdown.now().now_or_never().is_some(), "no wait for the deadline");
        trigger.drain(LIMIT);
        assert_eq!(shutdown.phase(), Phase::Now);
    }

    #[tokio::test]
    async fn a_dropped_trigger_ends_everything() {
        let (trigger, shutdown) = Shutdown::new();
        drop(trigger);
        assert_eq!(shutdown.phase(), Phase::Now);
        assert!(shutdown.now().now_or_never().is_some());
    }
}
