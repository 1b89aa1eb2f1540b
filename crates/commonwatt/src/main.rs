//! The daemon and its command line: configuration, first run, composition of all parts.
//!
//! *Knows:* the environment, the home folder, the configuration file, the terminal, which parts there are and how they
//! fit together.
//!
//! *Does not know:* how a request is handled.
//!
//! The command line ([`cli`]) talks to a running daemon over its admin API, as any other program could; only `serve`
//! builds one. Settings come about in this order: [`env`](mod@env) and [`home`] say where things are, [`config`] reads
//! the file, [`settings`] makes one decided value of all three.

#![forbid(unsafe_code)]

mod cli;

mod env;
mod home;
mod secret;

mod config;
mod problem;
mod settings;

mod compose;
mod serve;
mod telemetry;
mod watch;

mod admin;
mod bus;
mod friendly;
mod table;
mod term;
mod welcome;
mod when;
mod wrap;

use std::process::ExitCode;

use crate::env::Env;
use crate::problem::Problems;
use crate::term::Paint;

/// The system's allocator lets threads wait for each other: a tenth more processor time for a call, in the same benchmark.
/// How it is set up stands in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let env = Env::read();
    term::begin(&env);
    match cli::run(env) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            match error.downcast_ref::<Problems>() {
                Some(problems) => term::note(problems.render(Paint::for_stderr(), term::columns()).trim_end()),
                None => term::note(format!("{} {error:#}", Paint::for_stderr().bad("error:"))),
            }
            ExitCode::FAILURE
        }
    }
}

/// Whether the reader of our output has gone away, which is its right: `commonwatt models | head -1`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
