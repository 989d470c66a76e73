//! How an answer gets past hyper: the service offers it, and whoever drives the connection takes it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response, Version, response};
use hyper::body::Incoming;
use hyper::service::Service;
use parking_lot::Mutex;

use crate::server::body::Served;
use crate::server::delivery::Delivery;
use crate::session::Reader;

/// A session's answer on its way from the service to the connection.
#[derive(Debug, Default)]
pub(in crate::server) struct HandOver(Mutex<Option<(response::Parts, Box<Delivery>)>>);

impl HandOver {
    fn offer(&self, head: response::Parts, delivery: Box<Delivery>) {
        *self.0.lock() = Some((head, delivery));
    }

    /// Whether there is an answer.
    pub(in crate::server) fn is_offered(&self) -> bool {
        self.0.lock().is_some()
    }

    /// The answer. From now on nobody else watches the client.
    pub(in crate::server) fn take(&self) -> Option<(response::Parts, Reader)> {
        let (head, delivery) = self.0.lock().take()?;
        Some((head, delivery.into_reader()?))
    }
}

/// A service that offers what a lane can serve to the connection, and lets hyper wait for it for ever.
///
/// hyper has written nothing of the answer then. What it still holds of earlier ones must be written first.
#[derive(Debug, Clone)]
pub(in crate::server) struct Offered<S> {
    pub(in crate::server) service: S,
    pub(in crate::server) lane: Option<Arc<HandOver>>,
}

impl<S, B> Service<Request<Incoming>> for Offered<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send + 'static>,
    B: Served,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        // A client of HTTP/1.0 knows no chunks.
        let lane = self.lane.clone().filter(|_| request.version() == Version::HTTP_11);
        let answering = self.service.call(request);
        Box::pin(async move {
            let response = answering.await?;
            let Some(lane) = lane else { return Ok(response) };
            let (head, body) = response.into_parts();
            match body.into_delivery() {
                Ok(delivery) => {
                    lane.offer(head, delivery);
                    std::future::pending().await
                }
                Err(body) => Ok(Response::from_parts(head, body)),
            }
        })
    }
}
