//! One timer for a row of waits.
//!
//! A timer of its own for each chunk of a stream would be taken out of the runtime's wheel and put back for each of
//! them, under a lock. One that stays and is moved on costs next to nothing.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is set again and again; made at the first wait that is one.
#[derive(Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Waits for `work` until `deadline`; `None` when it was not done by then.
    pub async fn before<T>(&mut self, deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut is_set = false;
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if !std::mem::replace(&mut is_set, true) {
                sleep.as_mut().reset(deadline);
            }
            sleep.as_mut().poll(context).map(|()| None)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_deadline_of_each_wait_and_not_of_another() {
        let (mut alarm, began) = (Alarm::default(), Instant::now());
        let after = |ms| began + Duration::from_millis(ms);
        assert_eq!(alarm.before(after(500), sleep_until(after(100))).await, Some(()));
        assert_eq!(alarm.before(after(300), std::future::pending::<()>()).await, None);
        assert_eq!(Instant::now(), after(300));
        assert_eq!(alarm.before(after(900), sleep_until(after(800))).await, Some(()));
        assert_eq!(Instant::now(), after(800));
    }
}
