//! Load: a crowd that always waits for an answer, or a clock that does not wait for any.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use crate::line::{Job, Line, Timing};

/// Connections that the clock may have open: if answers take so long that these are used up, the path cannot keep the
/// rate and the slice fails.
const PACED_CONNECTIONS_MAX: usize = 256;
/// A slice that takes longer than this hangs. The longest takes a few seconds.
const SLICE_BY: Duration = Duration::from_secs(60);

/// The connections of one path; they are kept from slice to slice.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<Line>);

impl Lines {
    /// Has `count` connections open and warm.
    async fn ready(&mut self, count: usize, job: &Arc<Job>) -> Result<(), String> {
        self.0.retain(Line::is_open);
        self.0.truncate(count);
        let mut opening = JoinSet::new();
        for _ in self.0.len()..count {
            let job = Arc::clone(job);
            opening.spawn(async move { Line::open(&job).await });
        }
        while let Some(line) = opening.join_next().await {
            self.0.push(line.map_err(|error| error.to_string())??);
        }
        Ok(())
    }
}

/// `requests` exchanges, `width` at a time: whoever has an answer asks again. Gives the time that it took.
pub(crate) async fn crowd(
    lines: &mut Lines,
    job: &Arc<Job>,
    width: usize,
    requests: usize,
) -> Result<Duration, String> {
    within(crowded(lines, job, width, requests)).await
}

/// Opens the connections that a crowd of `width` needs, so that nothing but exchanges is measured.
pub(crate) async fn gather(lines: &mut Lines, job: &Arc<Job>, width: usize) -> Result<(), String> {
    within(lines.ready(width, job)).await
}

/// `requests` exchanges, `rate` a second by the clock, whether or not the ones before are answered.
pub(crate) async fn paced(
    lines: &mut Lines,
    job: &Arc<Job>,
    rate: u32,
    requests: usize,
) -> Result<Vec<Timing>, String> {
    within(clocked(lines, job, rate, requests)).await
}

async fn within<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(SLICE_BY, work).await.unwrap_or_else(|_| Err(format!("no end after {} s", SLICE_BY.as_secs())))
}

async fn crowded(lines: &mut Lines, job: &Arc<Job>, width: usize, requests: usize) -> Result<Duration, String> {
    lines.ready(width, job).await?;
    let left = Arc::new(AtomicUsize::new(requests));
    let mut crowd = JoinSet::new();
    let begun = Instant::now();
    for mut line in lines.0.drain(..) {
        let (job, left) = (Arc::clone(job), Arc::clone(&left));
        crowd.spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                line.exchange(&job).await?;
            }
            Ok::<_, String>(line)
        });
    }
    let mut back = Vec::with_capacity(width);
    while let Some(line) = crowd.join_next().await {
        back.push(line.map_err(|error| error.to_string())??);
    }
    let elapsed = begun.elapsed();
    lines.0 = back;
    Ok(elapsed)
}

async fn clocked(lines: &mut Lines, job: &Arc<Job>, rate: u32, requests: usize) -> Result<Vec<Timing>, String> {
    lines.ready(1, job).await?;
    let mut timings = Vec::with_capacity(requests);
    let mut under_way: JoinSet<Result<(Line, Timing), String>> = JoinSet::new();
    let mut at = tokio::time::Instant::now();
    for _ in 0..requests {
        at += Duration::from_secs(1) / rate.max(1);
        sleep_until(at).await;
        while let Some(done) = under_way.try_join_next() {
            let (line, timing) = done.map_err(|error| error.to_string())??;
            lines.0.push(line);
            timings.push(timing);
        }
        if under_way.len() >= PACED_CONNECTIONS_MAX {
            return Err(format!("it cannot keep {rate} a second"));
        }
        let (line, job) = (lines.0.pop(), Arc::clone(job));
        under_way.spawn(async move {
            let mut line = match line {
                Some(line) => line,
                None => Line::open(&job).await?,
            };
            let timing = line.exchange(&job).await?;
            Ok((line, timing))
        });
    }
    while let Some(done) = under_way.join_next().await {
        let (line, timing) = done.map_err(|error| error.to_string())??;
        lines.0.push(line);
        timings.push(timing);
    }
    Ok(timings)
}
