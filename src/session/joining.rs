//! A client between having its place and having its response head.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::head::Head;
use super::reader::Reader;
use super::registry::Registry;
use super::shared::Phase;
use crate::proto::log::EndReason;
use crate::upstream::subscription::SubscriptionRequest;

/// A client that has its place in the log, and waits for the response head.
#[derive(Debug)]
pub struct Joining {
    pub(super) reader: Reader,
    /// Where a first answer that is no event stream comes to, for the client that opened the session.
    pub(super) handed_over: Option<oneshot::Receiver<Response<Incoming>>>,
}

/// What became of waiting for the head.
#[derive(Debug)]
pub enum Welcome {
    /// Read.
    Open {
        /// The client's place.
        reader: Reader,
        /// The response head.
        head: Arc<Head>,
        /// Whether its own request fetched the head.
        is_opener: bool,
    },
    /// The wait for a head is over; the upstream may still come (spec 8.6).
    Held(Reader),
    /// The upstream is away, and the client should not wait.
    Away {
        /// For `Retry-After`.
        wait: Duration,
    },
    /// The upstream's answer is no event stream: here it is, for the client that asked; the others
    /// ask on their own (spec 4.4).
    NotShared(Option<Response<Incoming>>),
    /// `Vary` says that this session is for others.
    OtherVariant,
    /// The session ended before there was a head.
    Ended(EndReason),
}

impl Joining {
    /// Waits for the response head, `hold` at most. `subscription` is what was joined with.
    pub async fn welcome(
        mut self,
        registry: &Registry,
        subscription: &SubscriptionRequest,
        hold: Duration,
        rejects: bool,
    ) -> Welcome {
        let session = Arc::clone(self.reader.session());
        let settled = session.phase.wait_for(|phase| match phase {
            Phase::Opening => false,
            Phase::Away { .. } => rejects,
            Phase::Open(_) | Phase::Ended(_) => true,
        });
        let Ok(phase) = tokio::time::timeout(hold, settled).await else {
            return Welcome::Held(self.reader);
        };
        match phase {
            Phase::Opening => Welcome::Held(self.reader),
            Phase::Away { wait } => Welcome::Away { wait },
            Phase::Open(head) => {
                let is_opener = self.handed_over.is_some();
                let is_mine = is_opener
                    || session
                        .variant
                        .get()
                        .is_none_or(|variant| registry.inner.matches_variant(variant, subscription));
                if is_mine {
                    Welcome::Open { reader: self.reader, head, is_opener }
                } else {
                    Welcome::OtherVariant
                }
            }
            Phase::Ended(EndReason::Refused(_)) => {
                let answer = self.handed_over.as_mut().and_then(|answer| answer.try_recv().ok());
                Welcome::NotShared(answer)
            }
            Phase::Ended(reason) => Welcome::Ended(reason),
        }
    }
}
