//! The child process: one thread that owns the model and decodes, one that reads calls and prepares them.
//!
//! Knows llama.cpp. Does not know its parent but for the socket. Nothing here is shared with another model, and nothing
//! needs saving: the parent may kill the process at any moment.
//!
//! The order of the first steps matters. What the process inherited is closed before anything else; the sandbox goes up
//! before the first byte of the model is read; the second wall goes up when the model is loaded and no file is needed
//! any more; only then are calls read.

mod embed;
mod load;
mod output;
mod prepare;
mod sampler;
mod sandbox;
mod schedule;
mod slots;
mod stops;
mod threads;

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::mpsc;

use crate::protocol::{self, FromChild, Load, PROTOCOL, ToChild};
use prepare::{Inbox, Preparer};
use schedule::Scheduler;

/// Calls that the preparing thread may be ahead of the decoding one. The parent admits only so many anyway.
const INBOX: usize = 256;

pub(crate) fn run() -> ExitCode {
    sandbox::close_inherited();
    let Some((mut socket, load)) = hello() else { return ExitCode::from(2) };
    match work(&mut socket, &load) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // A parent that is gone does not listen.
            let _ = protocol::write(&mut socket, &FromChild::LoadFailed { reason });
            ExitCode::FAILURE
        }
    }
}

/// Takes the socket from standard input and reads the first frame. Somebody may have started this command by hand.
fn hello() -> Option<(UnixStream, Load)> {
    let socket = io::stdin().as_fd().try_clone_to_owned().ok()?;
    let mut socket = UnixStream::from(socket);
    let first = socket.peer_addr().and_then(|_| protocol::read::<ToChild>(&mut socket));
    match first {
        Ok(Some(ToChild::Load { protocol: PROTOCOL, load })) => Some((socket, load)),
        Ok(Some(_)) => {
            let reason = "the program on disk is another version than the one that runs: restart it".to_owned();
            let _ = protocol::write(&mut socket, &FromChild::LoadFailed { reason });
            None
        }
        Ok(None) | Err(_) => {
            say("this command is for the daemon, which starts it with a socket as standard input");
            None
        }
    }
}

/// Loads and serves until the parent hangs up.
fn work(socket: &mut UnixStream, load: &Load) -> Result<(), String> {
    sandbox::humble(load);
    let file = load::file(&load.source)?;
    let mut report = sandbox::enter(&file)?;
    let loaded = load::model(&file, load)?;
    let context = load::context(&loaded, load)?;
    sandbox::seal(&mut report)?;
    let ready = loaded.ready(&context, load, report);
    let window = ready.window;
    protocol::write(socket, &FromChild::Ready(ready.clone())).map_err(|e| e.to_string())?;
    let reader = socket.try_clone().map_err(|e| e.to_string())?;
    let (sender, inbox) = mpsc::sync_channel::<Inbox>(INBOX);
    let preparer = Preparer::new(&loaded, window);
    std::thread::scope(|scope| {
        // When the parent hangs up this thread ends the process, so nobody joins it.
        scope.spawn(move || preparer.run(reader, &sender));
        Scheduler::new(&loaded, context, &ready, socket).run(&inbox)
    })
}

/// Prints for people. The parent reads it too and shows it when the child ends.
fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(io::stderr(), "{line}");
}
