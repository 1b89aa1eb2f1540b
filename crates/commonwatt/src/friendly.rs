//! Failures that a newcomer meets, each as one sentence that says what to do.

use std::io;
use std::net::SocketAddr;

/// Why the daemon cannot listen.
pub(crate) fn bind_error(listen: SocketAddr, error: &io::Error) -> anyhow::Error {
    let other = next_port(listen);
    match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "`{listen}` is taken by another program, perhaps by a Commonwatt that runs already (`commonwatt status`): \
             stop it, or listen elsewhere with `commonwatt serve --listen {other}`"
        ),
        io::ErrorKind::AddrNotAvailable => anyhow::anyhow!(
            "this machine has no address `{}`: listen on `127.0.0.1:{}`, or on `0.0.0.0:{}` for all of its addresses",
            listen.ip(),
            listen.port(),
            listen.port()
        ),
        io::ErrorKind::PermissionDenied => anyhow::anyhow!(
            "you may not listen on port {}: choose one above 1023, such as `commonwatt serve --listen {other}`",
            listen.port()
        ),
        _ => anyhow::anyhow!(
            "cannot listen on `{listen}` ({error}): choose another address with `commonwatt serve --listen {other}`"
        ),
    }
}

/// An address that may be free where this one is not.
fn next_port(listen: SocketAddr) -> SocketAddr {
    let port = if listen.port() < 1024 { 4600 } else { listen.port().checked_add(1).unwrap_or(4600) };
    SocketAddr::new(listen.ip(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_comes_with_another_one() {
        let listen = SocketAddr::from(([127, 0, 0, 1], 4600));
        let said = bind_error(listen, &io::ErrorKind::AddrInUse.into()).to_string();
        assert!(said.starts_with("`127.0.0.1:4600` is taken by another program"), "{said}");
        assert!(said.ends_with("`commonwatt serve --listen 127.0.0.1:4601`"), "{said}");
        let low = bind_error(SocketAddr::from(([0, 0, 0, 0], 80)), &io::ErrorKind::PermissionDenied.into()).to_string();
        assert!(low.contains("--listen 0.0.0.0:4600"), "{low}");
    }
}
