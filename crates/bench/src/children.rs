//! Processes that a run starts, and how they find each other and their end.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::process;

/// The key of the daemon that is measured.
pub(crate) const KEY: &str = "commonwatt-bench-key-of-a-daemon-that-lives-for-minutes";
/// A daemon that is not ready by then will not be.
const READY_BY: Duration = Duration::from_secs(30);
/// How much of a daemon's last words is shown.
const LAST_WORDS_CHARACTERS: usize = 2000;

/// A process that ends with this value.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    /// Where it listens.
    pub(crate) at: SocketAddr,
    /// Its files, which go when it does.
    _home: Option<TempDir>,
}

impl Running {
    /// Its number in the process table.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Either fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts this program again as one of its own helpers, on `core` if one is given, and waits until it listens.
pub(crate) fn helper(arguments: &[&str], core: Option<usize>) -> anyhow::Result<Running> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program itself")?);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = spawn(&mut command, core)?;
    let stdout = child.stdout.take().context("the helper has no standard output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let Ok(at) = line.trim().parse() else {
        let _ = child.kill();
        let _ = child.wait();
        bail!("the helper `{}` did not start", arguments.join(" "));
    };
    Ok(Running { child, at, _home: None })
}

/// Tells whoever started this process where it listens.
pub(crate) fn announce(at: SocketAddr) {
    let mut stdout = std::io::stdout();
    // Nobody listens if it was started by hand into a closed pipe; it serves all the same.
    let _ = writeln!(stdout, "{at}").and_then(|()| stdout.flush());
}

/// Returns when standard input ends: whoever started this process is gone, however it went.
pub(crate) async fn orphaned() {
    let (gone, noticed) = oneshot::channel();
    std::thread::spawn(move || {
        let mut nothing = [0];
        while std::io::stdin().read(&mut nothing).is_ok_and(|read| read > 0) {}
        // Nobody waits only if this process ends for another reason.
        let _ = gone.send(());
    });
    let _ = noticed.await;
}

/// Starts a daemon that knows one provider, and waits until it is ready. Its environment is empty but for what is said
/// here, so that no key of the person at the keyboard is used.
pub(crate) async fn daemon(
    binary: &Path,
    upstream: SocketAddr,
    config: &str,
    core: Option<usize>,
) -> anyhow::Result<Running> {
    ensure!(
        binary.is_file(),
        "there is no `{}`: build it with `cargo build --release --package commonwatt`, or name it with --binary",
        binary.display()
    );
    let home = tempfile::tempdir()?;
    std::fs::write(home.path().join("commonwatt.toml"), config)?;
    let words = home.path().join("words");
    let at = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut command = Command::new(binary);
    command
        .arg("serve")
        .env_clear()
        .env("HOME", home.path())
        .env("COMMONWATT_HOME", home.path())
        .env("COMMONWATT_LISTEN", at.to_string())
        .env("COMMONWATT_KEY", KEY)
        .env("COMMONWATT_LOG", "warn")
        .env("OPENAI_API_KEY", "sk-simulated")
        .env("OPENAI_BASE_URL", format!("http://{upstream}/v1"))
        .stdin(Stdio::null())
        .stdout(File::create(&words)?)
        .stderr(File::options().append(true).open(&words)?);
    let child = spawn(&mut command, core)?;
    let mut running = Running { child, at, _home: Some(home) };
    let patience = Instant::now() + READY_BY;
    while !is_ready(at).await {
        let ended = running.child.try_wait()?;
        if ended.is_some() || Instant::now() > patience {
            let said = std::fs::read_to_string(&words).unwrap_or_default();
            let from = said.len().saturating_sub(LAST_WORDS_CHARACTERS);
            let said = said.get(said.ceil_char_boundary(from)..).unwrap_or_default();
            bail!("`{} serve` is not ready; it said:\n{said}", binary.display());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(running)
}

/// A child inherits the cores of the thread that starts it.
fn spawn(command: &mut Command, core: Option<usize>) -> anyhow::Result<Child> {
    let name = command.get_program().to_owned();
    let Some(core) = core else { return started(command, &name) };
    process::pin(Some(core)).with_context(|| format!("cannot use core {core} alone"))?;
    let child = started(command, &name);
    process::pin(None).context("cannot use all cores again")?;
    child
}

fn started(command: &mut Command, name: &OsStr) -> anyhow::Result<Child> {
    command.spawn().with_context(|| format!("cannot start `{}`", PathBuf::from(name).display()))
}

async fn is_ready(at: SocketAddr) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(at).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.starts_with(b"HTTP/1.1 200"))
    };
    matches!(timeout(Duration::from_secs(2), asked).await, Ok(Ok(true)))
}
