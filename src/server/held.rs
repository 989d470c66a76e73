//! The stream of a client that waits for the upstream's word whether it may join (spec 8.6): heartbeats until then.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::body::BoxError;
use super::delivery::Delivery;
use super::io::{Armed, ClientWatch};
use crate::proto::encoder;
use crate::session::Reader;

/// What the upstream's word comes to: the client's place, or nothing.
pub(super) type Admission = Pin<Box<dyn Future<Output = Option<Reader>> + Send>>;

/// A held client's body.
pub struct Held {
    stage: Stage,
    watch: ClientWatch,
}

enum Stage {
    Waiting { admission: Admission, heartbeat: Interval, _armed: Armed },
    Reading(Delivery),
    Ended,
}

impl Held {
    /// Until `admission` is decided, with a heartbeat each `heartbeat`, the first at once.
    pub(super) fn new(admission: Admission, heartbeat: Duration, watch: ClientWatch) -> Self {
        let mut heartbeat = interval_at(Instant::now(), heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { stage: Stage::Waiting { admission, heartbeat, _armed: watch.arm() }, watch }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            match &mut self.stage {
                Stage::Waiting { admission, heartbeat, .. } => match admission.as_mut().poll(cx) {
                    Poll::Ready(Some(reader)) => {
                        self.stage = Stage::Reading(Delivery::new(reader, &self.watch));
                    }
                    Poll::Ready(None) => self.stage = Stage::Ended,
                    Poll::Pending => {
                        return heartbeat
                            .poll_tick(cx)
                            .map(|_| Some(Ok(Frame::data(encoder::comment(b"").payload()))));
                    }
                },
                Stage::Reading(delivery) => return delivery.poll_frame(cx),
                Stage::Ended => return Poll::Ready(None),
            }
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}
