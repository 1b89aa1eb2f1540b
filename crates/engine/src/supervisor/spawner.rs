//! Starts children from a thread that lives as long as the engine.
//!
//! Linux tells a child that its parent died when the *thread* that started it ends, and threads of an async runtime
//! come and go. This one goes last, so the children go exactly when the engine does.

use std::io;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError, mpsc};

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::settings::ChildCommand;

/// Starts children.
#[derive(Debug)]
pub(crate) struct Spawner {
    command: ChildCommand,
    /// The thread's inbox, made with the first child.
    inbox: Mutex<Option<mpsc::Sender<Job>>>,
}

struct Job {
    command: Command,
    runtime: Handle,
    done: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    pub(crate) fn new(command: ChildCommand) -> Self {
        Self { command, inbox: Mutex::new(None) }
    }

    /// Starts a child whose standard input is `socket`.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn spawn(&self, socket: UnixStream) -> io::Result<Child> {
        let (done, started) = oneshot::channel();
        let job = Job { command: self.command(socket), runtime: Handle::current(), done };
        self.inbox()?.send(job).map_err(|_| gone())?;
        started.await.map_err(|_| gone())?
    }

    fn inbox(&self) -> io::Result<mpsc::Sender<Job>> {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inbox) = inbox.as_ref() {
            return Ok(inbox.clone());
        }
        // Bounded by the number of models: each waits for its child before it asks for another.
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::Builder::new().name("engine-spawner".to_owned()).spawn(move || {
            for mut job in jobs {
                let entered = job.runtime.enter();
                let child = job.command.spawn();
                drop(entered);
                // The supervisor may be gone; the child is killed when it is dropped.
                let _ = job.done.send(child);
            }
        })?;
        Ok(inbox.insert(sender).clone())
    }

    fn command(&self, socket: UnixStream) -> Command {
        let mut command = Command::new(&self.command.program);
        command
            .args(&self.command.args)
            .env_clear()
            // Threads that wait must sleep: ggml's barriers spin, and a spinning thread starves the one it waits for.
            .env("OMP_WAIT_POLICY", "passive")
            .env("GOMP_SPINCOUNT", "0")
            // Without this ggml starts a debugger when it aborts.
            .env("GGML_NO_BACKTRACE", "1")
            .envs(self.command.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Its own group: Ctrl-C in a terminal is for the daemon, which ends its children in order.
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that starts children has ended")
}
