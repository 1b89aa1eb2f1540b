//! Measures the pilot, or a GGUF file given as argument: time to ready, to the first token, tokens a second for one and
//! for eight answers at once, memory of the child.
//!
//! `cargo run --release -p commonwatt-engine --features native --example measure [model.gguf]`
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for people")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use commonwatt_engine::{ChatRequest, ChildCommand, Engine, Event, Model, ModelSource, Sampling, Settings, run_child};

fn main() -> ExitCode {
    let argument = std::env::args_os().nth(1);
    if argument.as_ref().is_some_and(|argument| argument == "engine") {
        return run_child();
    }
    let source = argument.map_or(ModelSource::Pilot, |path| ModelSource::File(path.into()));
    let engine = Engine::new(ChildCommand::this_program(["engine"]).unwrap(), Settings::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&engine.model("measured", source)));
    ExitCode::SUCCESS
}

async fn measure(model: &Model) {
    let started = Instant::now();
    let ready = model.warm().await.unwrap();
    println!("ready        {:>9.1} ms   {ready:?}", millis(started.elapsed()));
    let (first, _, _) = answer(model, "What is Commonwatt?", 64).await;
    println!("first token  {:>9.1} ms   cold", millis(first));
    let (first, _, _) = answer(model, "What is Commonwatt?", 64).await;
    println!("first token  {:>9.1} ms   prompt cached", millis(first));
    let long = "How do I add a provider? ".repeat(100);
    let (first, prompt, _) = answer(model, &long, 8).await;
    println!("first token  {:>9.1} ms   prompt of {prompt} tokens", millis(first));
    for answers in [1, 2, 4, 8] {
        let started = Instant::now();
        let calls = (0..answers).map(|i| {
            let model = model.clone();
            tokio::spawn(async move { answer(&model, &format!("Tell me about number {i}."), 256).await })
        });
        let mut tokens = 0;
        for call in calls.collect::<Vec<_>>() {
            tokens += call.await.unwrap().2;
        }
        println!(
            "{answers} at once    {:>9.0} tokens/s, {tokens} tokens",
            f64::from(tokens) / started.elapsed().as_secs_f64()
        );
    }
    let report = model.report();
    let mib = report.resident_bytes.map_or(0, |bytes| bytes >> 20);
    println!("memory       {mib:>9} MiB  resident");
}

/// Time to the first text, tokens of the prompt and of the answer.
async fn answer(model: &Model, question: &str, max_tokens: u32) -> (Duration, u32, u32) {
    let started = Instant::now();
    let request = ChatRequest {
        messages_json: serde_json::json!([{ "role": "user", "content": question }]).to_string(),
        // The pilot's three control tokens: no answer ends early.
        sampling: Sampling { logit_bias: vec![(0, -100.0), (1, -100.0), (2, -100.0)], ..Sampling::default() },
        max_tokens: Some(max_tokens),
        ..ChatRequest::default()
    };
    let mut stream = model.chat(request).await.unwrap();
    let (mut first, mut prompt, mut tokens) = (None, 0, 0);
    while let Some(event) = stream.next().await {
        match event.unwrap() {
            Event::Started { prompt_tokens, .. } => prompt = prompt_tokens,
            Event::Finished { completion_tokens, .. } => tokens = completion_tokens,
            Event::Text { .. }
            | Event::Reasoning(_)
            | Event::ToolCallStart { .. }
            | Event::ToolCallArguments { .. } => {
                first.get_or_insert(started.elapsed());
            }
        }
    }
    (first.unwrap_or_default(), prompt, tokens)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
