//! What the operator may set about local models.
//!
//! Knows names, units and defaults. Does not know where the values come from.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Limits and habits of every model that one [`Engine`](crate::Engine) runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Context window of one conversation in tokens, prompt and answer together. The window in force is the smaller of
    /// this and what the model was trained for.
    pub context_tokens: u32,
    /// Conversations that are decoded at the same time; further calls wait in line.
    pub parallel: u32,
    /// Calls of one model that may wait for a slot before the next one is refused as busy. A waiting caller on a CPU
    /// waits for whole answers, so a longer line would only grow stale.
    pub waiting: u32,
    /// Memory for the key/value cache that all conversations of a model share, in bytes. At least one full window is
    /// always granted.
    pub cache_bytes: u64,
    /// Compute threads. `None` takes the physical cores less one, so that the daemon keeps a core: threads of ggml that
    /// wait for a core that somebody else uses make an answer up to 25 times slower.
    pub threads: Option<u32>,
    /// Layers to place on a GPU, in builds that have one. `None` places all that fit.
    pub gpu_layers: Option<u32>,
    /// A model without calls for this long is unloaded.
    pub idle: Duration,
    /// A child that works and says nothing for this long is killed.
    pub hang: Duration,
    /// A model that is not ready this long after its start is given up.
    pub load: Duration,
    /// Longest pause between two starts of a model that keeps crashing; the first pause is a quarter of a second.
    pub backoff: Duration,
    /// Added to the child's niceness, 0 to 19: the daemon goes first.
    pub nice: i32,
    /// Upper bound of the child's address space in bytes. `None` sets none; a bound must leave room for the mapped
    /// model file.
    pub address_space_bytes: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            context_tokens: 8192,
            parallel: 8,
            waiting: 64,
            cache_bytes: 2 << 30,
            threads: None,
            gpu_layers: None,
            idle: Duration::from_secs(600),
            hang: Duration::from_secs(60),
            load: Duration::from_secs(300),
            backoff: Duration::from_secs(30),
            nice: 5,
            address_space_bytes: None,
        }
    }
}

/// How to start the child: a program that calls [`run_child`](crate::run_child) when given these arguments.
///
/// The child finds its socket as standard input. Its environment is empty but for OpenMP's habits and `env`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildCommand {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments, for example `["engine"]`.
    pub args: Vec<OsString>,
    /// Variables to pass on, for example `LD_LIBRARY_PATH` where the dynamic loader needs it.
    pub env: Vec<(OsString, OsString)>,
}

impl ChildCommand {
    /// The program that is running now.
    ///
    /// On Linux this is `/proc/self/exe`, which still names this very program after an upgrade has replaced the file.
    ///
    /// # Errors
    /// When the system cannot say where the program is.
    pub fn this_program(args: impl IntoIterator<Item = impl Into<OsString>>) -> std::io::Result<Self> {
        let program =
            if cfg!(target_os = "linux") { PathBuf::from("/proc/self/exe") } else { std::env::current_exe()? };
        Ok(Self { program, args: args.into_iter().map(Into::into).collect(), env: Vec::new() })
    }
}
