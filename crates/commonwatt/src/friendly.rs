//! Failures that a newcomer meets, each as one sentence that says what to do.

use std::io;
use std::net::SocketAddr;

/// Why the daemon cannot listen.
pub(crate) fn bind_error(listen: SocketAddr, error: &io::Error) -> anyhow::Error {
    let other = next_port(listen);
    let elsewhere = format!("`commonwatt serve --listen {other}` or `COMMONWATT_LISTEN`");
    let (ip, port) = (listen.ip(), listen.port());
    let known = [
        (
            io::ErrorKind::AddrInUse,
            format!(
                "`{listen}` is taken by another program, perhaps by a Commonwatt that runs already \
                 (`commonwatt status`): stop it, or listen elsewhere with {elsewhere}"
            ),
        ),
        (
            io::ErrorKind::AddrNotAvailable,
            format!(
                "this machine has no address `{ip}`: listen on `127.0.0.1:{port}`, or on `0.0.0.0:{port}` for all of \
                 its addresses"
            ),
        ),
        (
            io::ErrorKind::PermissionDenied,
            format!("you may not listen on port {port}: choose one above 1023, such as {elsewhere}"),
        ),
    ];
    let found = known.into_iter().find(|(kind, _)| *kind == error.kind());
    let sentence = found.map(|(_, sentence)| sentence);
    anyhow::Error::msg(
        sentence.unwrap_or_else(|| {
            format!("cannot listen on `{listen}` ({error}): choose another address with {elsewhere}")
        }),
    )
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
        assert!(said.ends_with("`commonwatt serve --listen 127.0.0.1:4601` or `COMMONWATT_LISTEN`"), "{said}");
        let low = bind_error(SocketAddr::from(([0, 0, 0, 0], 80)), &io::ErrorKind::PermissionDenied.into()).to_string();
        assert!(low.contains("--listen 0.0.0.0:4600"), "{low}");
    }
}
