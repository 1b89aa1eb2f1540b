//! Local inference of GGUF files in supervised child processes.
//!
//! *Knows:* model files, chat templates, tokens, grammars, processes and how to lock one in.
//!
//! *Does not know:* callers, policy, deployments, HTTP.
//!
//! An [`Engine`] hands out a [`Model`] for each file. A model starts its child process with the first call: the same
//! program, started with arguments that make it call [`run_child`], with a socket as its standard input. The child
//! loads the weights with llama.cpp, answers many calls at once, and is locked in: no network, no programs, no files
//! but the model, nothing written. When it crashes, hangs or is killed, its calls get a [`Fault`], the next call starts
//! another after a short pause, and the parent never notices more than that.
//!
//! ```no_run
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use commonwatt_engine::{ChatRequest, ChildCommand, Engine, ModelSource, Settings};
//!
//! let engine = Engine::new(ChildCommand::this_program(["engine"])?, Settings::default());
//! let pilot = engine.model("pilot", ModelSource::Pilot);
//! let request = ChatRequest {
//!     messages_json: r#"[{"role":"user","content":"What is Commonwatt?"}]"#.to_owned(),
//!     ..ChatRequest::default()
//! };
//! let (text, _reason) = pilot.chat(request).await?.text().await?;
//! # drop(text);
//! # Ok(())
//! # }
//! ```
//!
//! # What is the same twice
//!
//! The same call with a seed, or at temperature 0, gives the same answer on the same machine, build and thread count as
//! long as it is computed in the same portions. llama.cpp chooses its kernels by the size of a batch, and sums of
//! floats depend on their order, so neighbours in the batch or a cached prefix can move a logit in its last digits.
//! That changes an answer only where two tokens are almost equally probable. There is no exact mode.
//!
//! # Features
//!
//! `llama` compiles llama.cpp in (cmake, a C++ compiler and libclang are needed) and with it the pilot. `native` tunes
//! it for the building machine's CPU. `cuda`, `vulkan` and `metal` add a GPU. Without `llama` the crate still reads
//! [GGUF headers](gguf) and [vaults](vault), and every call says that there is no engine.

mod engine;
mod fault;
pub mod gguf;
mod machine;
mod protocol;
mod request;
mod settings;
mod supervisor;
pub mod vault;

#[cfg(feature = "llama")]
mod child;

pub use engine::{ChatStream, Engine, Model, ModelSource, Report, State};
pub use fault::Fault;
pub use protocol::{Ready, Sandbox, SandboxState};
pub use request::{
    ChatRequest, Embeddings, Event, FinishReason, ResponseFormat, Sampling, TokenLogprob, ToolChoice, TopLogprob,
};
pub use settings::{ChildCommand, Settings};

/// The child's whole life: what the hidden command of the binary calls, first thing, in its main thread. Expects the
/// parent's socket as standard input.
#[cfg(feature = "llama")]
#[must_use]
pub fn run_child() -> std::process::ExitCode {
    child::run()
}

/// Without the engine there is nothing to run.
#[cfg(not(feature = "llama"))]
#[must_use]
pub fn run_child() -> std::process::ExitCode {
    std::process::ExitCode::from(2)
}
