//! The wires to one child: its socket, its log and its end.

use std::collections::VecDeque;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr};
use tokio::sync::{Notify, mpsc};

use super::spawner::Spawner;
use crate::protocol::{self, FromChild, Load, PROTOCOL, ToChild};

/// Frames from the child that the supervisor has not looked at yet. It looks at once; a full channel makes the child
/// wait.
const INBOX: usize = 256;

/// Log lines kept, and bytes kept of each: enough to see why a model failed, never enough to hurt.
const LOG_LINES: usize = 64;
const LOG_LINE_BYTES: usize = 512;

/// Log lines that a message about a crash quotes.
const QUOTED_LINES: usize = 3;

/// What lines have that tell where a program failed. A child that serves may print what people wrote to it, a schema
/// for instance, so only such lines are kept then.
const TELLING: [&str; 4] = [".cpp:", ".c:", "panicked at", "terminate called"];

/// Something that the child did.
#[derive(Debug)]
pub(super) enum Happening {
    Frame(FromChild),
    /// It sent something that is no frame.
    Broken(io::Error),
    /// The process is gone. Always last, and after every frame that it sent.
    Ended(End),
}

/// How a child ended.
#[derive(Debug)]
pub(super) struct End {
    status: io::Result<ExitStatus>,
    log: Log,
}

/// A running child.
#[derive(Debug)]
pub(super) struct Link {
    pid: Option<u32>,
    /// Frames as bytes. Bounded by the calls that may run or wait, see `Model`.
    outbox: mpsc::UnboundedSender<Vec<u8>>,
    inbox: mpsc::Receiver<Happening>,
    kill: Arc<Notify>,
    log: Log,
}

impl Link {
    /// Starts a child and tells it what to load.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub(super) async fn open(spawner: &Spawner, load: Load) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut child = spawner.spawn(theirs).await?;
        let pid = child.id();
        let (read, write) = UnixStream::from_std(ours)?.into_split();
        let (outbox, frames) = mpsc::unbounded_channel();
        let (happenings, inbox) = mpsc::channel(INBOX);
        let kill = Arc::new(Notify::new());
        let log = Log::default();
        tokio::spawn(feed(write, frames));
        let reader = tokio::spawn(listen(read, happenings.clone()));
        let logger = child.stderr.take().map(|stderr| tokio::spawn(keep(stderr, log.clone())));
        let killed = Arc::clone(&kill);
        let last_words = log.clone();
        tokio::spawn(async move {
            let status = wait(&mut child, &killed, &happenings).await;
            // Both end with the process, whose ends of the wires are closed now.
            let _ = reader.await;
            if let Some(logger) = logger {
                let _ = logger.await;
            }
            let _ = happenings.send(Happening::Ended(End { status, log: last_words })).await;
        });
        let link = Self { pid, outbox, inbox, kill, log };
        link.send(&ToChild::Load { protocol: PROTOCOL, load });
        Ok(link)
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Queues a frame; false when it is too long to send. A child that is gone is noticed by its end, not here.
    pub(super) fn send(&self, frame: &ToChild) -> bool {
        let Ok(bytes) = protocol::encode(frame) else { return false };
        let _ = self.outbox.send(bytes);
        true
    }

    /// From now on the child knows what people say.
    pub(super) fn serving(&self) {
        self.log.serving.store(true, Ordering::Relaxed);
    }

    /// Kills the child, whatever it is doing. There is nothing to save in it.
    pub(super) fn kill(&self) {
        self.kill.notify_one();
    }

    pub(super) async fn happening(&mut self) -> Happening {
        match self.inbox.recv().await {
            Some(happening) => happening,
            // The last message is `Ended` and the supervisor lets go of the link then.
            None => std::future::pending().await,
        }
    }
}

/// Waits for the end of the child and kills it when told to, or when the supervisor is gone.
async fn wait(child: &mut Child, kill: &Notify, happenings: &mpsc::Sender<Happening>) -> io::Result<ExitStatus> {
    tokio::select! {
        status = child.wait() => return status,
        () = kill.notified() => {}
        () = happenings.closed() => {}
    }
    // Fails only for a child that has ended already.
    let _ = child.start_kill();
    child.wait().await
}

async fn feed(mut socket: OwnedWriteHalf, mut frames: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(frame) = frames.recv().await {
        if socket.write_all(&frame).await.is_err() {
            return;
        }
    }
}

async fn listen(socket: OwnedReadHalf, happenings: mpsc::Sender<Happening>) {
    let mut socket = BufReader::new(socket);
    loop {
        let happening = match next_frame(&mut socket).await {
            Ok(Some(frame)) => Happening::Frame(frame),
            Ok(None) => return,
            Err(error) => Happening::Broken(error),
        };
        let broken = matches!(happening, Happening::Broken(_));
        if happenings.send(happening).await.is_err() || broken {
            return;
        }
    }
}

async fn next_frame(socket: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<FromChild>> {
    let mut head = [0; 4];
    match socket.read_exact(&mut head).await {
        Ok(_) => {}
        Err(e) if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => return Ok(None),
        Err(e) => return Err(e),
    }
    let length = protocol::length(head)?;
    let mut body = Vec::new();
    socket.take(u64::try_from(length).unwrap_or(u64::MAX)).read_to_end(&mut body).await?;
    if body.len() < length {
        // It died inside a frame; how, its end will tell.
        return Ok(None);
    }
    protocol::decode(&body).map(Some)
}

/// The last lines that a child printed.
#[derive(Debug, Clone, Default)]
struct Log {
    lines: Arc<Mutex<VecDeque<String>>>,
    serving: Arc<AtomicBool>,
}

impl Log {
    fn push(&self, line: String) {
        if self.serving.load(Ordering::Relaxed) && !TELLING.iter().any(|mark| line.contains(mark)) {
            return;
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= LOG_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn last(&self, count: usize) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = lines.len().saturating_sub(count);
        lines.iter().skip(skipped).cloned().collect()
    }
}

/// Reads what the child prints, so that it never waits for a reader, and keeps the end of it.
async fn keep(stderr: ChildStderr, log: Log) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(LOG_LINE_BYTES).unwrap_or(u64::MAX);
        // A longer line is kept in pieces.
        match (&mut stderr).take(limit).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if !text.is_empty() {
            log.push(text.to_owned());
        }
    }
}

impl End {
    /// What to tell people: the signal or exit code, and the last lines of the log.
    pub(super) fn describe(&self) -> String {
        let how = match &self.status {
            Ok(status) => match (status.signal(), status.code()) {
                (Some(9), _) => "killed by signal 9 (SIGKILL; the system does this when memory runs out)".to_owned(),
                (Some(signal), _) => format!("killed by signal {signal}{}", signal_name(signal)),
                (None, Some(code)) => format!("ended with code {code}"),
                (None, None) => "ended".to_owned(),
            },
            Err(error) => format!("ended ({error})"),
        };
        let quoted = self.log.last(QUOTED_LINES);
        if quoted.is_empty() { how } else { format!("{how}; it said last: {}", quoted.join(" | ")) }
    }
}

/// Names of the signals that a model dies of.
fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        8 => " (SIGFPE)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        _ => "",
    }
}
