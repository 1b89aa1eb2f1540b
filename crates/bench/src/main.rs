//! What Commonwatt adds to a call: measured beside a bare proxy, in the same run, against a simulated provider.
//!
//! ```text
//! direct        load ────────────────────────────► provider
//! floor         load ──► bare hyper proxy ───────► provider
//! commonwatt    load ──► target/release/commonwatt ► provider
//! ```
//!
//! Everything is on loopback. The load is this process; the provider, the bare proxy and the daemon are children, so
//! that the CPU time of each is its own. The paths take turns in short slices and are compared within a turn; what is
//! reported is the median over the turns. Every answer is checked to its last byte: a wrong one fails the run, a missed
//! target does not.
//!
//! *Knows:* requests and answers of two dialects, how to offer load, how to read a process's CPU time and memory, what
//! the targets are.
//!
//! *Does not know:* how the daemon works. Another gateway can stand in its place (`--other`).

#![forbid(unsafe_code)]

mod args;
mod run;

mod amounts;
mod cell;
mod prompt;

mod measure;
mod memory;

mod answer;
mod line;
mod load;

mod children;
mod process;
mod proxy;
mod upstream;

mod machine;
mod report;
mod statistics;
mod table;

mod say;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Arguments, Helper};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.helper {
        Some(Helper::Upstream { listen, gap }) => upstream::serve(*listen, Duration::from_millis(*gap)),
        Some(Helper::Proxy { to }) => proxy::serve(*to),
        None => measured(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::progress(&format!("commonwatt-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs until it is done or told to stop; either way the children end.
fn measured(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stopped = signal(SignalKind::terminate())?;
        tokio::select! {
            done = run::run(arguments) => done,
            _ = stopped.recv() => anyhow::bail!("stopped"),
            _ = tokio::signal::ctrl_c() => anyhow::bail!("stopped"),
        }
    })
}
