//! What a conversation carries: all of it arrives at whoever answers, in that supplier's words, and nothing is kept of
//! it or changed in it between two calls.

use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_grid::relay::{AnswerBody, Served};
use commonwatt_sim::Prefill;
use commonwatt_upstream::body::{Arriving, KeptBody};
use commonwatt_wire::Dialect;
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use crate::world::{Ask, Scene, Supplier, pairs};

/// Rounds of [`agent`].
const ROUNDS: usize = 40;

/// The dialects that have conversations, thus histories.
pub(crate) const CONVERSING: [Dialect; 5] =
    [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::OpenAiResponses, Dialect::Gemini, Dialect::OllamaChat];

/// One round of an agent's work in a dialect: a question, a call of a tool, its result, an answer.
fn round(dialect: Dialect, at: usize) -> Vec<Value> {
    let id = format!("call_{at}");
    let (asks, says, reads) = (format!("question {at};"), format!("answer {at};"), format!("result {at};"));
    let arguments = json!({ "line": format!("argument {at};") });
    match dialect {
        Dialect::OpenAiChat | Dialect::OllamaChat => {
            let arguments = if dialect == Dialect::OllamaChat { arguments } else { Value::from(arguments.to_string()) };
            let called =
                json!({ "id": id, "type": "function", "function": { "name": "read", "arguments": arguments } });
            vec![
                json!({ "role": "user", "content": asks }),
                json!({ "role": "assistant", "content": "", "tool_calls": [called] }),
                json!({ "role": "tool", "tool_call_id": id, "tool_name": "read", "content": reads }),
                json!({ "role": "assistant", "content": says }),
            ]
        }
        Dialect::AnthropicMessages => vec![
            json!({ "role": "user", "content": asks }),
            json!({ "role": "assistant", "content": [
                { "type": "tool_use", "id": id, "name": "read", "input": arguments },
            ] }),
            json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": id, "content": reads }] }),
            json!({ "role": "assistant", "content": says }),
        ],
        Dialect::OpenAiResponses => vec![
            json!({ "role": "user", "content": asks }),
            json!({ "type": "function_call", "call_id": id, "name": "read", "arguments": arguments.to_string() }),
            json!({ "type": "function_call_output", "call_id": id, "output": reads }),
            json!({ "role": "assistant", "content": says }),
        ],
        Dialect::Gemini => vec![
            json!({ "role": "user", "parts": [{ "text": asks }] }),
            json!({ "role": "model", "parts": [{ "functionCall": { "name": "read", "args": arguments } }] }),
            json!({ "role": "user", "parts": [{ "functionResponse": { "name": "read", "response": { "text": reads } } }] }),
            json!({ "role": "model", "parts": [{ "text": says }] }),
        ],
        Dialect::OllamaGenerate | Dialect::OpenAiCompletions => panic!("a bare prompt has no history"),
    }
}

/// An agent's conversation, in the middle of its last round: a result has just come in.
pub(crate) fn agent(dialect: Dialect, rounds: usize) -> Value {
    let mut said: Vec<Value> = (0..rounds).flat_map(|at| round(dialect, at)).collect();
    said.truncate(said.len() - 1);
    match dialect {
        Dialect::Gemini => json!({ "contents": said }),
        Dialect::OpenAiResponses => json!({ "model": "auto", "input": said }),
        Dialect::OpenAiChat
        | Dialect::AnthropicMessages
        | Dialect::OllamaChat
        | Dialect::OllamaGenerate
        | Dialect::OpenAiCompletions => {
            json!({ "model": "auto", "max_tokens": 1_000, "stream": false, "messages": said })
        }
    }
}

/// Calls with a body of one's own, and hears who answered.
async fn call(scene: &Scene, dialect: Dialect, body: KeptBody) -> Result<Served, Refusal> {
    let mut arrival = Ask::new(dialect, false).arrival(&scene.grid);
    arrival.body = body;
    let answered = scene.grid.call(arrival).await?;
    assert!(matches!(answered.body, AnswerBody::Whole(_)));
    Ok(answered.served)
}

fn kept(body: &Value) -> KeptBody {
    KeptBody::Memory(body.to_string().into())
}

pub(crate) fn sent(scene: &Scene, name: &str, at: usize) -> String {
    String::from_utf8(scene.sim(name).requests()[at].body.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_written_in_the_dialect_of_its_own_supplier() {
    for (caller, first) in pairs() {
        for second in Dialect::OUT {
            let alpha = Supplier::frontier("alpha").speaking(first).always("status=500");
            let scene = Scene::new([alpha, Supplier::free("beta").speaking(second)]);
            for stream in [true, false] {
                let told = scene.call(&Ask::new(caller, stream)).await;
                let told = told.unwrap_or_else(|refused| panic!("{caller} to {first} to {second}: {refused:?}"));
                told.is_complete("beta", if stream { 2 } else { 1 });
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_history_arrives_whole_at_whoever_answers_and_its_calls_stay_calls() {
    for caller in CONVERSING {
        for supplier in Dialect::OUT {
            let story = format!("{caller} to {supplier}");
            let alpha = Supplier::frontier("alpha").always("status=503");
            let scene = Scene::new([alpha, Supplier::free("beta").speaking(supplier)]);
            let served = call(&scene, caller, kept(&agent(caller, ROUNDS))).await;
            let served = served.unwrap_or_else(|refused| panic!("{story}: {refused:?}"));
            assert_eq!(served.attempts, 2, "{story}");
            let sent = sent(&scene, "beta", 0);
            for at in 0..ROUNDS {
                for what in ["question", "argument", "result", "answer"] {
                    let times = usize::from((what, at) != ("answer", ROUNDS - 1));
                    assert_eq!(sent.matches(&format!("{what} {at};")).count(), times, "{story}: {what} {at}");
                }
            }
            let calls = match supplier {
                Dialect::AnthropicMessages => r#""type":"tool_use""#,
                Dialect::OpenAiResponses => r#""type":"function_call""#,
                Dialect::Gemini => r#""functionCall":"#,
                Dialect::OpenAiChat | Dialect::OllamaChat | Dialect::OllamaGenerate | Dialect::OpenAiCompletions => {
                    r#""tool_calls":"#
                }
            };
            assert_eq!(sent.matches(calls).count(), ROUNDS, "{story}: {sent}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_history_that_lies_on_disk_is_there_for_every_attempt() {
    let alphas = ["a", "b", "c"].map(|name| Supplier::frontier(name).always("status=500"));
    let scene = Scene::new(alphas.into_iter().chain([Supplier::free("beta")]));
    let long = "Please ".repeat(200_000);
    let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": long }] }).to_string();
    let mut arriving = Arriving::default();
    arriving.push(body.into()).unwrap();
    let spilled = arriving.finish();
    assert!(matches!(spilled, KeptBody::Spilled { .. }));
    assert_eq!(call(&scene, Dialect::OpenAiChat, spilled).await.unwrap().attempts, 4);
    for name in ["a", "b", "c", "beta"] {
        assert!(sent(&scene, name, 0).contains(&long), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_detour_over_a_lesser_model_changes_nothing_of_the_history() {
    let alpha = Supplier::frontier("alpha").script("pass\nstatus=503\npass");
    let scene = Scene::new([alpha, Supplier::local("home")]);
    let history = agent(Dialect::OpenAiChat, ROUNDS);
    for by in ["alpha/alpha-1", "home/home-1", "alpha/alpha-1"] {
        let served = call(&scene, Dialect::OpenAiChat, kept(&history)).await.unwrap();
        assert_eq!(served.deployment.as_ref().unwrap().as_str(), by);
        sleep(Duration::from_secs(60)).await;
    }
    let model = |body: &str| body.replace("\"alpha-1\"", "\"auto\"");
    for at in 0..3 {
        assert_eq!(model(&sent(&scene, "alpha", at)), history.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn a_history_too_long_for_one_goes_to_a_larger_one_and_else_is_refused_with_numbers() {
    let small = || [Supplier::frontier("alpha"), Supplier::local("home")].map(|s| s.spec("window_tokens = 500"));
    let history = kept(&agent(Dialect::OpenAiChat, ROUNDS));
    let scene = Scene::new(small());
    let refusal = call(&scene, Dialect::OpenAiChat, history.clone()).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::ContextOverflow);
    assert!(refusal.message.contains("its window is 500"), "{}", refusal.message);
    assert_eq!((scene.asked("alpha"), scene.asked("home")), (0, 0));

    let scene = Scene::new(small().into_iter().chain([Supplier::free("beta").spec("window_tokens = 100_000")]));
    assert_eq!(call(&scene, Dialect::OpenAiChat, history).await.unwrap().deployment.unwrap().as_str(), "beta/beta-1");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_to_shorten_a_history_because_the_larger_model_was_away() {
    let full = "status=400 code=context_length_exceeded";
    let scene = Scene::new([Supplier::frontier("alpha").always("status=500"), Supplier::local("home").always(full)]);
    let refusal = scene.call(&Ask::streamed()).await.unwrap_err();
    assert_eq!((refusal.kind, scene.asked("home")), (RefusalKind::UpstreamFailed, 1));
    let scene = Scene::new([Supplier::frontier("alpha").always(full), Supplier::local("home").always(full)]);
    let refusal = scene.call(&Ask::streamed()).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::ContextOverflow);
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_its_provider_keeps_is_not_answered_by_another_without_it() {
    let responses = json!({ "model": "auto", "previous_response_id": "resp_1", "input": "go on" });
    let gemini = json!({ "cachedContent": "c/1", "contents": [{ "role": "user", "parts": [{ "text": "go on" }] }] });
    for (dialect, body, field) in
        [(Dialect::OpenAiResponses, responses, "`previous_response_id`"), (Dialect::Gemini, gemini, "`cachedContent`")]
    {
        // Whoever has it may be back soon, and that is what the caller hears.
        let alpha = Supplier::frontier("alpha").speaking(dialect).always("status=429 retry_after_s=30");
        let scene = Scene::new([alpha, Supplier::local("home")]);
        let refusal = call(&scene, dialect, kept(&body)).await.unwrap_err();
        assert_eq!((refusal.kind, refusal.retry_after_ms), (RefusalKind::RateLimited, Some(30_000)), "{dialect}");
        assert_eq!((scene.asked("alpha"), scene.asked("home")), (1, 0));
        // Where nobody has it, the caller hears what to send.
        let scene = Scene::new([Supplier::local("home")]);
        let refusal = call(&scene, dialect, kept(&body)).await.unwrap_err();
        assert_eq!((refusal.kind, scene.asked("home")), (RefusalKind::BadRequest, 0), "{dialect}");
        assert!(refusal.message.starts_with(field), "{}", refusal.message);
    }
}

#[tokio::test(start_paused = true)]
async fn a_history_of_tools_from_elsewhere_is_taken_by_gemini_3() {
    for caller in CONVERSING.into_iter().filter(|caller| *caller != Dialect::Gemini) {
        let alpha = Supplier::frontier("alpha").always("status=500");
        let gemini = Supplier::free("gemini-3").speaking(Dialect::Gemini).with(|s| s.answer.gemini_3 = true);
        let scene = Scene::new([alpha, gemini]);
        let served = call(&scene, caller, kept(&agent(caller, 3))).await;
        let served = served.unwrap_or_else(|refused| panic!("{caller}: {refused:?}"));
        assert_eq!((served.deployment.as_ref().unwrap().as_str(), served.attempts), ("gemini-3/gemini-3-1", 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_beginning_that_a_model_does_not_continue_is_refused_in_its_own_words() {
    let body = json!({ "model": "auto", "max_tokens": 1_000, "messages": [
        { "role": "user", "content": "Who is there?" },
        { "role": "assistant", "content": "It is" },
    ] });
    for caller in [Dialect::OpenAiChat, Dialect::AnthropicMessages] {
        let alpha = Supplier::frontier("alpha")
            .speaking(Dialect::AnthropicMessages)
            .with(|settings| settings.answer.prefill = Prefill::Refuse);
        let scene = Scene::new([alpha, Supplier::local("home")]);
        let refusal = call(&scene, caller, kept(&body)).await.unwrap_err();
        assert_eq!((refusal.kind, scene.asked("home")), (RefusalKind::BadRequest, 0));
        assert!(refusal.message.contains("prefill"), "{}", refusal.message);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_result_is_mended_at_once_in_translation_and_else_when_it_is_refused() {
    for caller in [Dialect::OpenAiChat, Dialect::AnthropicMessages] {
        for supplier in [Dialect::OpenAiChat, Dialect::AnthropicMessages] {
            let mut history = agent(caller, 2);
            let result = history["messages"].as_array_mut().unwrap().pop().unwrap();
            assert!(result.to_string().contains("result 1;"));
            history["messages"].as_array_mut().unwrap().push(json!({ "role": "user", "content": "Are you there?" }));
            let scene = Scene::new([Supplier::frontier("alpha").speaking(supplier)]);
            let outcome = call(&scene, caller, kept(&history)).await;
            let served = outcome.unwrap();
            assert!(served.lossy.iter().any(|lost| lost.contains("without a result")), "{:?}", served.lossy);
            // Forwarded as it was at first: most histories are whole.
            assert_eq!(scene.asked("alpha"), if caller == supplier { 2 } else { 1 });
        }
    }
}
