//! The connected clients whose credentials a session may subscribe with, where the upstream lets each of them in
//! (`share=authorized`, spec 8.7).

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::upstream::subscription::SubscriptionRequest;

/// So many of a session's clients are known by their requests; of more, the newest.
const VOUCHERS_MAX: usize = 64;

/// Requests that the upstream has said yes to. The clients own them: who leaves takes its credentials away.
#[derive(Debug, Default)]
pub(super) struct Vouchers(Mutex<VecDeque<Weak<SubscriptionRequest>>>);

impl Vouchers {
    pub(super) fn add(&self, request: &Arc<SubscriptionRequest>) {
        let mut all = self.0.lock();
        if all.len() == VOUCHERS_MAX {
            all.retain(|request| request.strong_count() > 0);
        }
        if all.len() == VOUCHERS_MAX {
            all.pop_front();
        }
        all.push_back(Arc::downgrade(request));
    }

    /// Those of connected clients, the newest last.
    pub(super) fn connected(&self) -> Vec<Arc<SubscriptionRequest>> {
        self.0.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn who_leaves_takes_its_credentials_away_and_there_are_never_too_many() {
        let vouchers = Vouchers::default();
        let request = |number: usize| {
            let uri = format!("/{number}").parse().unwrap();
            Arc::new(SubscriptionRequest::new(uri, HeaderMap::new()))
        };
        let mut clients: Vec<_> = (0..VOUCHERS_MAX).map(request).collect();
        clients.iter().for_each(|client| vouchers.add(client));
        clients.remove(1);
        assert_eq!(vouchers.connected().len(), VOUCHERS_MAX - 1);
        for number in 0..2 {
            let client = request(1000 + number);
            vouchers.add(&client);
            clients.push(client);
        }
        let known = vouchers.connected();
        assert_eq!(known.len(), VOUCHERS_MAX);
        assert_eq!(known.first().unwrap().target(), "/2", "the oldest gave way");
        assert_eq!(known.last().unwrap().target(), "/1001");
    }
}
