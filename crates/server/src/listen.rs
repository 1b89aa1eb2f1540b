//! The socket: connections in, bounded in number and in how long their headers may take.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::doors::Whence;
use crate::{Lobby, house};

/// Connections at once: four for each call that may be under way, since clients keep idle ones.
const CONNECTIONS_MAX: usize = 4_096;
/// A client that has not sent its headers by then is cut off.
const HEADERS_BY: Duration = Duration::from_secs(15);

/// Serves until `leave` resolves, then lets the calls under way finish for at most `drain`.
pub async fn serve(listener: TcpListener, lobby: Arc<Lobby>, leave: impl Future<Output = ()>, drain: Duration) {
    let mut server = Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_BY);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(30)));
    let server = Arc::new(server);
    let (graceful, room) = (GracefulShutdown::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    tokio::pin!(leave);
    loop {
        let stream = tokio::select! {
            () = &mut leave => break,
            stream = accept(&listener) => stream,
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let (server, lobby) = (Arc::clone(&server), Arc::clone(&lobby));
        let watcher = graceful.watcher();
        let whence = Whence::of(&stream);
        tokio::spawn(async move {
            let service = service_fn(|mut request| {
                let lobby = Arc::clone(&lobby);
                request.extensions_mut().insert(whence);
                async move { Ok::<_, Infallible>(house::enter(&lobby, request).await) }
            });
            let connection = server.serve_connection(TokioIo::new(stream), service);
            if let Err(error) = watcher.watch(connection.into_owned()).await {
                tracing::debug!(%error, "connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    let over = async { tokio::join!(graceful.shutdown(), lobby.grid.detached_over()) };
    if tokio::time::timeout(drain, over).await.is_err() {
        tracing::warn!("calls still under way are cut off");
    }
}

/// The next connection. Running out of file descriptors is waited out.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without it, small events wait for the acknowledgement of the one before.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
