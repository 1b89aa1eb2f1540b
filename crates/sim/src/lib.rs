//! A simulated provider: it speaks the dialects of real ones, answers from a seed, and fails by script.
//!
//! *Knows:* the grammar of each dialect on the wire, streamed and not; how an answer can go wrong, at which byte; how
//! to end a TCP connection badly; limits per minute. A run replays from its seed.
//!
//! *Does not know:* that there is a gateway; language models. Its tokens are four characters each, its sentences are
//! made up.
//!
//! # On a port
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use commonwatt_sim::{Dialect, Script, Settings, Sim};
//!
//! let sim = Sim::start(Settings::default()).await?;
//! sim.script(Script::from_words("status=429 retry_after_s=2 \n reset after=3 \n pass")?)?;
//! println!("{}", sim.base_url(Dialect::ChatCompletions)); // http://127.0.0.1:…/v1
//! // … the first call is refused, the second is cut after three chunks, all others are answered …
//! assert_eq!(sim.requests().len(), 3);
//! sim.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! The provider speaks, on one port:
//!
//! | of | calls for an answer | besides |
//! |---|---|---|
//! | OpenAI | `POST /v1/chat/completions`, `/v1/responses`, `/v1/completions` | `GET /v1/models`, `POST /v1/embeddings`, `/v1/rerank` |
//! | Anthropic | `POST /v1/messages` | `POST /v1/messages/count_tokens`, `GET /v1/models` with `anthropic-version` |
//! | Google | `POST /v1beta/models/{model}:generateContent`, `:streamGenerateContent?alt=sse` | `:countTokens`, `:batchEmbedContents`, `GET /v1beta/models` |
//! | Ollama | `POST /api/chat`, `/api/generate` | `GET /api/tags`, `/api/version`, `POST /api/show`, `/api/embed` |
//!
//! On the same port, `GET /sim/requests` shows what was received and what became of it, `POST /sim/script` replaces the
//! script, `POST /sim/reset` forgets.
//!
//! # A script
//!
//! [`Settings`] and [`Script`] are read from TOML or JSON:
//!
//! ```
//! let settings = commonwatt_sim::Settings::from_toml(r#"
//!     listen = "127.0.0.1:4650"
//!     seed = 7
//!     first_token_ms = 200
//!     tokens_per_second = 50
//!     tokens_per_minute = 20_000
//!
//!     [answer]
//!     characters = 600
//!     style = "polyglot"
//!
//!     [[script.steps]]                 # the first call: overloaded
//!     faults = [{ kind = "status", status = 529, retry_after_s = 2 }]
//!
//!     [[script.steps]]                 # the next two: cut within a tool call, with CR LF line ends
//!     times = 2
//!     faults = [{ kind = "cut", how = "reset", after = { bytes = 12 }, part = "tool_call" }, { kind = "crlf" }]
//!     answer = { calls = [{ name = "weather", arguments = { city = "Zürich" } }] }
//! "#)?;
//! # Ok::<(), commonwatt_sim::SettingsError>(())
//! ```
//!
//! The same in words, for one request: in the header `x-sim-fault: status=529 retry_after_s=2`, or in the last message
//! of the user, `[[sim: reset after=12bytes part=tool_call; crlf]]`. A header goes before a directive, a directive
//! before the script, the script before `error_rate` and `chaos_rate`.
//!
//! # Traps
//!
//! What real providers refuse in a conversation is refused here: reasoning that this simulator did not make for this
//! model (`answer check_signatures=false` trusts it), function calls without signature when asked to be as strict as
//! Gemini 3 (`answer gemini_3=true`), calls without results, arguments of the wrong type. What they do without a word
//! is done here too: Ollama drops the front of a prompt that is longer than its window (`answer num_ctx=512`), and
//! [`Received::window`] tells. Nothing is stored: Responses has no `previous_response_id`.
//!
//! # Inside the process
//!
//! [`Sim::inside`] is the same provider behind pipes: [`Inside::connect`] gives one end, the other is served. Nothing
//! there waits for the kernel and no part reads the real clock, so a test with a paused clock sees exact times.
//!
//! # Without a connection
//!
//! [`perform`] turns request, settings and faults into a [`Performance`]: a list of timed [`Action`]s that can be
//! looked at without sockets or clocks.

#![forbid(unsafe_code)]

mod answer;
mod asked;
mod chance;
mod dialect;
mod fault;
mod ledger;
mod peek;
mod performance;
mod quota;
mod route;
mod script;
mod server;
mod settings;
mod vectors;

pub use asked::Window;
pub use dialect::Dialect;
pub use fault::{Ending, Fault, FaultError, Part, Place};
pub use ledger::{Outcome, Received};
pub use performance::{Action, Cue, Performance, perform, perform_at};
pub use script::{Script, Step};
pub use server::{Controls, Inside, Running, Sim, SimError};
pub use settings::{AnswerSettings, CallSettings, Prefill, Settings, SettingsError, Style};
