//! The engine with a real model in a real child process.
//!
//! The pilot is small and young, so these tests hold for any model: they compare answers with each other, and look at
//! shapes and ends rather than at what is said.
#![cfg(feature = "llama")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use commonwatt_engine::{
    ChatRequest, ChildCommand, Engine, Event, Fault, FinishReason, Model, ModelSource, ResponseFormat, Sampling,
    SandboxState, Settings, State, TokenLogprob, ToolChoice, run_child,
};

/// Not a test: what the children of the other tests run. They start this program with this one test selected and a
/// socket as standard input.
#[test]
fn this_program_is_its_own_child() {
    let selected = std::env::args().any(|argument| argument == "--exact");
    let socket = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    if selected && socket.is_ok_and(|socket| socket.peer_addr().is_ok()) {
        let code = run_child();
        std::process::exit(i32::from(format!("{code:?}").contains('1')));
    }
}

/// The pilot ends with one of its first three tokens; without them it goes on to the last one it may say.
const NO_END: [(i32, f32); 3] = [(0, -100.0), (1, -100.0), (2, -100.0)];

fn settings() -> Settings {
    Settings { context_tokens: 4096, parallel: 4, ..Settings::default() }
}

fn engine(settings: Settings) -> Engine {
    let mut command = ChildCommand::this_program(["this_program_is_its_own_child", "--exact", "--nocapture"]).unwrap();
    command.program = std::env::current_exe().unwrap();
    Engine::new(command, settings)
}

fn pilot() -> Model {
    engine(settings()).model("pilot", ModelSource::Pilot)
}

/// A call whose answer is the most probable one.
fn ask(question: &str, max_tokens: u32) -> ChatRequest {
    ChatRequest {
        messages_json: serde_json::json!([{ "role": "user", "content": question }]).to_string(),
        sampling: Sampling { temperature: Some(0.0), ..Sampling::default() },
        max_tokens: Some(max_tokens),
        ..ChatRequest::default()
    }
}

/// A whole answer.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    prompt_tokens: u32,
    cached_tokens: u32,
    text: String,
    logprobs: Vec<TokenLogprob>,
    calls: Vec<(String, String)>,
    reason: Option<FinishReason>,
    tokens: u32,
}

async fn answer(model: &Model, request: ChatRequest) -> Result<Answer, Fault> {
    let mut stream = model.chat(request).await?;
    let mut answer = Answer::default();
    while let Some(event) = stream.next().await {
        match event? {
            Event::Started { prompt_tokens, cached_tokens } => {
                (answer.prompt_tokens, answer.cached_tokens) = (prompt_tokens, cached_tokens);
            }
            Event::Text { text, logprobs } => {
                assert!(!text.is_empty());
                answer.text.push_str(&text);
                answer.logprobs.extend(logprobs);
            }
            Event::Reasoning(_) => {}
            Event::ToolCallStart { index, id, name } => {
                assert_eq!(index as usize, answer.calls.len());
                assert!(!id.is_empty());
                answer.calls.push((name, String::new()));
            }
            Event::ToolCallArguments { index, fragment } => answer.calls[index as usize].1.push_str(&fragment),
            Event::Finished { reason, completion_tokens } => {
                (answer.reason, answer.tokens) = (Some(reason), completion_tokens);
            }
        }
    }
    assert!(answer.reason.is_some(), "an answer ends with its reason");
    Ok(answer)
}

mod answers;
mod faults;
