//! One connection of the load, and one exchange on it.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::answer::{Answer, Expected};

/// Bytes that are read at once.
const READ_BYTES: usize = 32 << 10;

/// The same exchange, over and over.
#[derive(Debug)]
pub(crate) struct Job {
    /// Who is asked.
    pub(crate) at: SocketAddr,
    /// The request, head and body.
    pub(crate) request: Vec<u8>,
    /// What the answer must hold.
    pub(crate) expected: Expected,
}

/// How long an exchange took, in nanoseconds from the first byte that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Until the first content.
    pub(crate) first_ns: u64,
    /// Until the last byte.
    pub(crate) total_ns: u64,
}

/// A connection that is kept alive.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    buffer: Box<[u8]>,
    answer: Answer,
}

impl Line {
    /// Connects, and makes one exchange that is not measured.
    pub(crate) async fn open(job: &Job) -> Result<Self, String> {
        let stream =
            TcpStream::connect(job.at).await.map_err(|error| format!("cannot connect to {}: {error}", job.at))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        let mut line = Self { stream, buffer, answer: Answer::default() };
        line.exchange(job).await?;
        Ok(line)
    }

    /// Whether the other side has not closed it.
    pub(crate) fn is_open(&self) -> bool {
        let nothing = self.stream.try_read(&mut [0]);
        nothing.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Sends the request, reads the answer to its end and checks it.
    pub(crate) async fn exchange(&mut self, job: &Job) -> Result<Timing, String> {
        self.answer.clear();
        let begun = Instant::now();
        self.stream.write_all(&job.request).await.map_err(|error| format!("while sending: {error}"))?;
        let mut first_ns = None;
        while !self.answer.is_complete() {
            let read = self.stream.read(&mut self.buffer).await.map_err(|error| format!("while reading: {error}"))?;
            if read == 0 {
                return Err("the connection ended before the answer did".into());
            }
            self.answer.feed(self.buffer.get(..read).unwrap_or_default())?;
            if first_ns.is_none() && job.expected.has_begun(self.answer.body()) {
                first_ns = Some(nanoseconds_since(begun));
            }
        }
        let total_ns = nanoseconds_since(begun);
        job.expected.check(&self.answer)?;
        Ok(Timing { first_ns: first_ns.unwrap_or(total_ns), total_ns })
    }
}

fn nanoseconds_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
