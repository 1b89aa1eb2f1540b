//! A performance, played as a response.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use hyper::body::{Body, Frame};
use tokio::time::{Sleep, sleep};

use super::line::Orders;
use super::stage::Entry;
use crate::ledger::Outcome;
use crate::performance::{Action, Performance};

/// The body of a response: what remains of the performance.
#[derive(Debug)]
pub(super) struct Playing {
    actions: Arc<[Action]>,
    next: usize,
    wait: Option<Pin<Box<Sleep>>>,
    gave_way: bool,
    orders: Arc<Orders>,
    /// Says what became of the request when it is dropped.
    entry: Entry,
}

/// Plays up to the headers; the body plays the rest. `extra` headers are added to those of the performance.
pub(super) async fn play(
    performance: &Performance,
    extra: HeaderMap,
    orders: Arc<Orders>,
    mut entry: Entry,
) -> Response<Playing> {
    let actions = performance.shared();
    for (index, action) in actions.iter().enumerate() {
        match action {
            Action::Wait(duration) => sleep(*duration).await,
            Action::Head { status, headers } => {
                let (status, mut headers) = (*status, headers.clone());
                headers.extend(extra);
                let next = index + 1;
                entry.outcome = if next == actions.len() { Outcome::Finished } else { Outcome::ClientLeft };
                let mut response = Response::new(Playing { actions, next, wait: None, gave_way: false, orders, entry });
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                return response;
            }
            Action::Reset => {
                entry.outcome = Outcome::Broken;
                orders.reset();
                std::future::pending::<()>().await;
            }
            // Nothing can be sent before the head: a performance that tries has no head, and is closed.
            Action::Eof | Action::Send(_) => {
                entry.outcome = Outcome::Broken;
                orders.close();
                std::future::pending::<()>().await;
            }
            Action::Hang => std::future::pending::<()>().await,
        }
    }
    entry.outcome = Outcome::Broken;
    orders.close();
    std::future::pending().await
}

impl Playing {
    fn poll_wait(&mut self, duration: Duration, cx: &mut Context<'_>) -> Poll<()> {
        if duration.is_zero() {
            // Give way once, so that the connection is flushed. A timer would take a millisecond.
            self.gave_way = !self.gave_way;
            if self.gave_way {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(());
        }
        let wait = self.wait.get_or_insert_with(|| Box::pin(sleep(duration)));
        std::task::ready!(wait.as_mut().poll(cx));
        self.wait = None;
        Poll::Ready(())
    }
}

impl Body for Playing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            let Some(action) = self.actions.get(self.next).cloned() else {
                self.entry.outcome = Outcome::Finished;
                return Poll::Ready(None);
            };
            match action {
                Action::Wait(duration) => {
                    std::task::ready!(self.poll_wait(duration, cx));
                    self.next += 1;
                }
                Action::Send(bytes) => {
                    self.next += 1;
                    self.entry.chunks_sent += 1;
                    if self.next == self.actions.len() {
                        self.entry.outcome = Outcome::Finished;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Action::Reset => {
                    self.entry.outcome = Outcome::Broken;
                    self.orders.reset();
                    return Poll::Pending;
                }
                Action::Eof => {
                    self.entry.outcome = Outcome::Broken;
                    self.orders.close();
                    return Poll::Pending;
                }
                Action::Hang => return Poll::Pending,
                // There is one head.
                Action::Head { .. } => self.next += 1,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.next >= self.actions.len()
    }
}
