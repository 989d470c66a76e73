//! How an answer gets past hyper: the service offers it, and whoever drives the connection takes it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

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
    type Future = Offering<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        // A client of HTTP/1.0 knows no chunks.
        let lane = self.lane.clone().filter(|_| request.version() == Version::HTTP_11);
        Offering { answering: Some(Box::pin(self.service.call(request))), lane }
    }
}

/// An answer that is being made, and offered then.
///
/// Not an async block: that would have room for the service's future twice, for all who wait for a session.
#[derive(Debug)]
pub(in crate::server) struct Offering<F> {
    /// `None`: it is offered, and that is the end of it for hyper.
    answering: Option<Pin<Box<F>>>,
    lane: Option<Arc<HandOver>>,
}

impl<F, B> Future for Offering<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: Served,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(answering) = &mut self.answering else { return Poll::Pending };
        let response = ready!(answering.as_mut().poll(cx))?;
        let Some(lane) = self.lane.take() else { return Poll::Ready(Ok(response)) };
        let (head, body) = response.into_parts();
        match body.into_delivery() {
            Ok(delivery) => {
                self.answering = None;
                lane.offer(head, delivery);
                Poll::Pending
            }
            Err(body) => Poll::Ready(Ok(Response::from_parts(head, body))),
        }
    }
}
