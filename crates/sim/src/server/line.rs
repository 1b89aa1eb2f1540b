//! The connection under the HTTP machinery, which can be made to end badly.
//!
//! Hyper knows only good manners. So the order to end goes past it: whoever plays a performance leaves it in
//! [`Orders`], and the [`Line`] obeys at the next flush, when all that was sent before is on its way.

use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

const NONE: u8 = 0;
const RESET: u8 = 1;
const CLOSE: u8 = 2;

/// How the connection is to end.
#[derive(Debug, Default)]
pub(super) struct Orders {
    ending: AtomicU8,
}

impl Orders {
    /// End with TCP RST; a pipe, which has none, is dropped.
    pub(super) fn reset(&self) {
        self.ending.store(RESET, Ordering::Relaxed);
    }

    /// End with TCP FIN; a pipe is dropped.
    pub(super) fn close(&self) {
        self.ending.store(CLOSE, Ordering::Relaxed);
    }
}

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    /// To a client somewhere.
    Tcp(TcpStream),
    /// To a client in this process.
    Pipe(DuplexStream),
}

/// A connection that takes [`Orders`].
#[derive(Debug)]
pub(super) struct Line {
    stream: Stream,
    orders: Arc<Orders>,
    /// Ready when the client has room for all that was written; made when a reset is ordered.
    #[cfg(target_os = "linux")]
    sent: Option<TcpStream>,
}

impl Line {
    pub(super) fn new(stream: Stream, orders: Arc<Orders>) -> Self {
        Self {
            stream,
            orders,
            #[cfg(target_os = "linux")]
            sent: None,
        }
    }

    fn poll_obey(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.orders.ending.load(Ordering::Relaxed) {
            NONE => return Poll::Ready(Ok(())),
            RESET => {
                ready!(self.poll_sent(cx))?;
                // Linger of zero: the close that follows sends RST. What a pipe holds is read even after its end.
                if let Stream::Tcp(stream) = &self.stream {
                    SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
                }
            }
            _ => {}
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "ended by order")))
    }

    /// Waits until nothing that was written is still to be sent: a reset would drop it. A client that does not read
    /// makes this wait until it leaves.
    ///
    /// With a low-water mark of one byte, a socket counts as writable when nothing is unsent. The duplicate of the
    /// descriptor is there because the runtime tells a new one, unlike the old one, what its state is.
    #[cfg(target_os = "linux")]
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let (None, Stream::Tcp(stream)) = (&self.sent, &self.stream) {
            SockRef::from(stream).set_tcp_notsent_lowat(1)?;
            let duplicate = stream.as_fd().try_clone_to_owned()?;
            self.sent = Some(TcpStream::from_std(duplicate.into())?);
        }
        match &self.sent {
            Some(sent) => sent.poll_write_ready(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Elsewhere nobody tells; a client that reads slowly may lose bytes to a reset.
    #[cfg(not(target_os = "linux"))]
    fn poll_sent(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Pipe(pipe) => Pin::new(pipe).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Pipe(pipe) => Pin::new(pipe).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Pipe(pipe) => pipe.is_write_vectored(),
        }
    }

    /// The HTTP machinery flushes when it has written everything that it was given: the moment to obey.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Pipe(pipe) => Pin::new(pipe).poll_flush(cx),
        })?;
        self.poll_obey(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Pipe(pipe) => Pin::new(pipe).poll_shutdown(cx),
        }
    }
}
