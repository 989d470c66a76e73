//! A TCP relay before ssecar whose connections can be cut: the Wi-Fi change, the balancer's time-out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

pub(crate) struct Relay {
    pub(crate) port: u16,
    cut: broadcast::Sender<()>,
    taken: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let (cut, _) = broadcast::channel(1);
        let taken = Arc::new(AtomicUsize::new(0));
        let (cutting, counting) = (cut.clone(), Arc::clone(&taken));
        let serving = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                counting.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(relay(client, port, cutting.subscribe()));
            }
        });
        Self { port: own_port, cut, taken, serving }
    }

    /// Cuts everyone off, with a reset.
    pub(crate) fn cut(&self) {
        // Nobody may be connected just now.
        let _ = self.cut.send(());
    }

    /// Connections so far.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn relay(mut client: TcpStream, port: u16, mut cut: broadcast::Receiver<()>) {
    // While ssecar is away the client meets a connection that closes: it comes again.
    let Ok(mut proxy) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut proxy) => {}
        _ = cut.recv() => {
            client.set_zero_linger().unwrap();
            proxy.set_zero_linger().unwrap();
        }
    }
}
