//! How many clients there may be, and how many of one address (spec 9.1).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// The part of an IPv6 address that one customer of a provider commonly has to itself, in bits.
const IPV6_PREFIX: u32 = 64;

/// The most clients there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// Of all sessions.
    pub all: usize,
    /// Of one address; `None`: as many as there may be at all.
    pub per_ip: Option<usize>,
}

/// All clients of all sessions, counted. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Clients(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    all: AtomicUsize,
    max: usize,
    /// Holds no more addresses than there are clients.
    per_ip: Option<PerIp>,
}

#[derive(Debug)]
struct PerIp {
    counts: Mutex<HashMap<IpAddr, usize>>,
    max: usize,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// For anybody.
    All,
    /// For this address.
    Ip,
}

/// The right to be a client; given back when dropped.
#[derive(Debug)]
pub struct ClientPermit {
    counts: Arc<Counts>,
    ip: Option<IpAddr>,
}

impl Clients {
    pub(super) fn new(limits: ClientLimits) -> Self {
        let per_ip = limits.per_ip.map(|max| PerIp { counts: Mutex::default(), max });
        Self(Arc::new(Counts { all: AtomicUsize::new(0), max: limits.all, per_ip }))
    }

    pub(super) fn count(&self) -> usize {
        self.0.all.load(Ordering::Relaxed)
    }

    pub(super) fn max(&self) -> usize {
        self.0.max
    }

    /// One more.
    ///
    /// # Errors
    /// [`Full`]: there are as many as may be.
    pub(super) fn permit(&self, ip: IpAddr) -> Result<ClientPermit, Full> {
        let counts = &self.0;
        let is_free = |count| (count < counts.max).then_some(count + 1);
        let all = counts.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_free);
        all.map_err(|_| Full::All)?;
        // From here on dropped where the address has no room.
        let mut permit = ClientPermit { counts: Arc::clone(counts), ip: None };
        if let Some(per_ip) = &counts.per_ip {
            let ip = one_customer(ip);
            let mut of_ip = per_ip.counts.lock();
            let count = of_ip.entry(ip).or_default();
            if *count >= per_ip.max {
                return Err(Full::Ip);
            }
            *count += 1;
            permit.ip = Some(ip);
        }
        Ok(permit)
    }
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        self.counts.all.fetch_sub(1, Ordering::Relaxed);
        if let (Some(per_ip), Some(ip)) = (&self.counts.per_ip, self.ip) {
            let mut of_ip = per_ip.counts.lock();
            if let Some(count) = of_ip.get_mut(&ip) {
                *count -= 1;
                if *count == 0 {
                    of_ip.remove(&ip);
                }
            }
        }
    }
}

/// An IPv4 address as it is; of an IPv6 address the network, since its other half is its owner's to choose.
fn one_customer(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !(u128::MAX >> IPV6_PREFIX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_and_for_so_many_of_one_address() {
        let clients = Clients::new(ClientLimits { all: 3, per_ip: Some(2) });
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let one = clients.permit(ip("192.0.2.1")).unwrap();
        let _two = clients.permit(ip("192.0.2.1")).unwrap();
        assert_eq!(clients.permit(ip("192.0.2.1")).unwrap_err(), Full::Ip);
        assert_eq!(clients.count(), 2, "who is refused is not counted");
        let _three = clients.permit(ip("192.0.2.2")).unwrap();
        assert_eq!(clients.permit(ip("192.0.2.3")).unwrap_err(), Full::All);
        drop(one);
        assert!(clients.permit(ip("192.0.2.1")).is_ok());
        assert_eq!(clients.count(), 2);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address_and_nothing_is_kept_of_who_left() {
        let clients = Clients::new(ClientLimits { all: 9, per_ip: Some(1) });
        let one = clients.permit("2001:db8:0:1::1".parse().unwrap()).unwrap();
        assert_eq!(clients.permit("2001:db8:0:1:ffff::2".parse().unwrap()).unwrap_err(), Full::Ip);
        assert!(clients.permit("2001:db8:0:2::1".parse().unwrap()).is_ok());
        drop(one);
        assert!(clients.0.per_ip.as_ref().unwrap().counts.lock().is_empty());
    }
}
