//! How connections are made: over the network, or inside the process for simulated worlds.
//!
//! A simulated world needs its own: a paused clock runs ahead whenever every task waits, and a task that waits for the
//! kernel looks as if it did. Pipes inside the process do not have that flaw.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::net::TcpStream;
use tower_service::Service;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Dialled = Pin<Box<dyn Future<Output = Result<Line, Failure>> + Send>>;

/// Opens a pipe to the simulated host of an address.
pub type SimulatedNetwork = Arc<dyn Fn(&Uri) -> io::Result<DuplexStream> + Send + Sync>;

/// Makes connections.
#[derive(Clone)]
pub(crate) enum Dialer {
    Network(HttpsConnector<HttpConnector>),
    Simulated(SimulatedNetwork),
}

impl Dialer {
    /// Connections over the network, trusting the machine's certificate authorities.
    pub(crate) fn network(connect_ms: u64) -> io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(Duration::from_millis(connect_ms)));
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        let https = hyper_rustls::HttpsConnectorBuilder::new().with_native_roots()?;
        Ok(Self::Network(https.https_or_http().enable_all_versions().wrap_connector(tcp)))
    }
}

impl Service<Uri> for Dialer {
    type Response = Line;
    type Error = Failure;
    type Future = Dialled;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        match self {
            Self::Network(connector) => connector.poll_ready(cx),
            Self::Simulated(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, uri: Uri) -> Dialled {
        match self {
            Self::Network(connector) => {
                let dialling = connector.call(uri);
                Box::pin(async move { Ok(Line::Network(Box::new(dialling.await?))) })
            }
            Self::Simulated(open) => {
                let opened = open(&uri);
                Box::pin(async move { Ok(Line::Simulated(TokioIo::new(opened?))) })
            }
        }
    }
}

/// A connection.
pub(crate) enum Line {
    Network(Box<MaybeHttpsStream<TokioIo<TcpStream>>>),
    Simulated(TokioIo<DuplexStream>),
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        match self {
            Self::Network(stream) => stream.connected(),
            Self::Simulated(_) => Connected::new(),
        }
    }
}

impl Read for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Network(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Simulated(pipe) => Pin::new(pipe).poll_read(cx, buf),
        }
    }
}

impl Write for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Network(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Simulated(pipe) => Pin::new(pipe).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Network(stream) => Pin::new(stream).poll_flush(cx),
            Self::Simulated(pipe) => Pin::new(pipe).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Network(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Simulated(pipe) => Pin::new(pipe).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Network(stream) => stream.is_write_vectored(),
            Self::Simulated(pipe) => pipe.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Network(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Simulated(pipe) => Pin::new(pipe).poll_write_vectored(cx, bufs),
        }
    }
}
