//! File descriptors: one for each connection. Many systems allow a program 1024 unless it asks for more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Beside the clients: upstream connections, listeners, files, and short requests.
const RESERVE: u64 = 2048;

/// Takes as many as the system lets us have, and warns if that is too few for so many clients.
pub(super) fn raise_limit(clients_max: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of file descriptors stays as it is");
    }
    let wanted = (clients_max as u64).saturating_add(RESERVE);
    // `None`: without limit.
    if let Some(limit) = getrlimit(Resource::Nofile).current.filter(|limit| *limit < wanted) {
        tracing::warn!(
            limit,
            wanted,
            "fewer file descriptors than --max-clients may need: raise the limit (ulimit -Hn, LimitNOFILE=), or lower it"
        );
    }
}
