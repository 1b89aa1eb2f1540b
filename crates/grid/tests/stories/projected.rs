//! A conversation that is too long for whoever is left: it goes on with a summary, says so, and is whole again when the
//! larger model is back.
//!
//! The store has a thread of its own, so these stories run on the real clock.

use std::sync::Arc;
use std::time::Duration;

use commonwatt_core::attempt::Limits;
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_core::turn::Party;
use commonwatt_grid::Generation;
use commonwatt_grid::bus::Wish;
use commonwatt_grid::project::Compaction;
use commonwatt_wire::Dialect;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::heard::{End, Told};
use crate::history::{CONVERSING, agent, sent};
use crate::world::{Ask, LOCAL_KEY, Scene, Supplier, speech};

/// Rounds of an agent's work: in every dialect more than a small window holds.
const ROUNDS: usize = 60;
/// A window that holds less than a half of them.
const SMALL: &str = "window_tokens = 1_500";
/// A model that holds everything, and may not answer a call with tools.
const READER: &str = "window_tokens = 100_000\nabilities = { tools = false }";
/// How a request for a summary begins.
const NOTES: &str = "You write notes on a conversation";
/// How a summary is introduced.
const NOTE: &str = "[Note of the gateway, not of the user:";

fn scene(suppliers: impl IntoIterator<Item = Supplier>) -> (TempDir, Arc<Scene>) {
    let dir = tempfile::tempdir().unwrap();
    let scene = Scene::kept(dir.path(), suppliers);
    (dir, scene)
}

/// A supplier that holds everything and is out of requests.
fn away() -> Supplier {
    Supplier::frontier("alpha").always("status=429")
}

fn home() -> Supplier {
    Supplier::local("home").spec(SMALL)
}

/// An agent's request with a system prompt and a tool.
fn task(dialect: Dialect, rounds: usize) -> Value {
    let mut body = agent(dialect, rounds);
    let schema = json!({ "type": "object", "properties": { "line": { "type": "string" } } });
    let function = json!({ "name": "read", "description": "Reads a line.", "parameters": schema });
    match dialect {
        Dialect::AnthropicMessages => {
            body["system"] = json!("Be thorough.");
            body["tools"] = json!([{ "name": "read", "description": "Reads a line.", "input_schema": schema }]);
        }
        Dialect::OpenAiResponses => {
            body["instructions"] = json!("Be thorough.");
            let mut tool = function;
            tool["type"] = json!("function");
            body["tools"] = json!([tool]);
        }
        Dialect::Gemini => {
            body["systemInstruction"] = json!({ "parts": [{ "text": "Be thorough." }] });
            body["tools"] = json!([{ "functionDeclarations": [function] }]);
        }
        Dialect::OpenAiChat | Dialect::OllamaChat | Dialect::OllamaGenerate | Dialect::OpenAiCompletions => {
            let system = json!({ "role": "system", "content": "Be thorough." });
            body["messages"].as_array_mut().unwrap().insert(0, system);
            body["tools"] = json!([{ "type": "function", "function": function }]);
        }
    }
    body
}

fn asks(dialect: Dialect, body: Value) -> Ask {
    Ask { whole: Some(body), ..Ask::new(dialect, false) }
}

/// What a supplier was sent for the caller, without what it was asked to summarise.
fn answered_from(scene: &Scene, name: &str) -> Vec<String> {
    let all = (0..scene.sim(name).requests().len()).map(|at| sent(scene, name, at));
    all.filter(|body| !body.contains(NOTES)).collect()
}

/// What a supplier was asked to summarise.
fn summarised_by(scene: &Scene, name: &str) -> Vec<String> {
    let all = (0..scene.sim(name).requests().len()).map(|at| sent(scene, name, at));
    all.filter(|body| body.contains(NOTES)).collect()
}

fn is_told_so(told: &Told) -> bool {
    let is_so = |lost: &String| lost.starts_with("conversation (") && lost.ends_with("for a window of 1500 tokens)");
    told.served.lossy.iter().any(is_so)
}

fn refused(outcome: Result<Told, Refusal>) -> Refusal {
    outcome.expect_err("nobody can answer")
}

#[tokio::test]
async fn a_fallback_that_one_summary_makes_usable_is_used_in_every_dialect() {
    for caller in CONVERSING {
        for supplier in Dialect::OUT {
            let story = format!("{caller} to {supplier}");
            let (_dir, scene) = scene([away(), home().speaking(supplier)]);
            let told = scene.call(&asks(caller, task(caller, ROUNDS))).await;
            let told = told.unwrap_or_else(|refused| panic!("{story}: {refused:?}"));
            assert_eq!((told.by(), &told.end), ("home", &End::Complete), "{story}");
            assert!(is_told_so(&told), "{story}: {:?}", told.served.lossy);
            assert_eq!(told.served.failed, ["alpha/alpha-1=rate_limited"]);
            let asked = answered_from(&scene, "home");
            assert_eq!(asked.len(), 1, "{story}");
            let summary = speech("home");
            let last = [format!("question {};", ROUNDS - 1), format!("result {};", ROUNDS - 1)];
            let said = ["Do not introduce yourself.", NOTE, "Be thorough.", "Reads a line.", summary.trim()];
            let stays = [said.as_slice(), &[&last[0], &last[1]]].concat();
            for words in stays {
                assert_eq!(asked[0].matches(words).count(), 1, "{story}: {words} in {}", asked[0]);
            }
            assert!(!asked[0].contains("question 0;"), "{story}");
            for at in 0..ROUNDS {
                let (called, came) = (format!("argument {at};"), format!("result {at};"));
                assert_eq!(asked[0].contains(&called), asked[0].contains(&came), "{story}: a call without its result");
            }
            let read = summarised_by(&scene, "home").concat();
            assert!(read.contains("question 0;") && read.contains("result 1;"), "{story}");
        }
    }
}

#[tokio::test]
async fn a_streamed_answer_comes_from_a_summary_too() {
    for (caller, supplier) in
        [(Dialect::OpenAiChat, Dialect::OpenAiChat), (Dialect::AnthropicMessages, Dialect::OllamaChat)]
    {
        let (_dir, scene) = scene([away(), home().speaking(supplier)]);
        let mut body = task(caller, ROUNDS);
        body["stream"] = json!(true);
        let told = scene.call(&Ask { stream: true, ..asks(caller, body) }).await.unwrap();
        assert_eq!((told.by(), told.text.as_str(), &told.end), ("home", &*speech("home"), &End::Complete));
        assert!(is_told_so(&told) && answered_from(&scene, "home")[0].contains(NOTE));
    }
}

#[tokio::test]
async fn moving_back_to_the_larger_model_restores_the_full_original_byte_for_byte() {
    let alpha = Supplier::frontier("alpha").script("status=429 retry_after_s=3\npass");
    let (_dir, scene) = scene([alpha, home()]);
    let ask = asks(Dialect::OpenAiChat, task(Dialect::OpenAiChat, ROUNDS));
    let small = scene.call(&ask).await.unwrap();
    assert_eq!(small.by(), "home");
    let mut large = scene.call(&ask).await.unwrap();
    while large.by() != "alpha" {
        sleep(Duration::from_millis(200)).await;
        large = scene.call(&ask).await.unwrap();
    }
    assert_eq!(large.served.lossy, Vec::<String>::new());
    assert_eq!(large.served.session, small.served.session);
    for at in 0..2 {
        let body = sent(&scene, "alpha", at).replace("\"alpha-1\"", "\"auto\"");
        assert_eq!(body.as_bytes(), &ask.body(), "attempt {at}");
    }
}

#[tokio::test]
async fn the_bus_keeps_every_turn_as_it_was_and_no_summary_among_them() {
    let (_dir, scene) = scene([away(), home()]);
    let told = scene.call(&asks(Dialect::OpenAiChat, task(Dialect::OpenAiChat, ROUNDS))).await.unwrap();
    let said = scene.kept_of(&told).await;
    // The system prompt, and the rounds: the last answer is the one that was just given.
    assert_eq!(said.len(), 1 + 4 * ROUNDS);
    assert!(said.iter().all(|shown| !format!("{:?}", shown.turn.items).contains(NOTE)));
    assert_eq!(said.last().map(|shown| shown.turn.party), Some(Party::Model));
    // Whoever leaves the history to the bus gets all of it, too.
    let beta = Supplier::frontier("beta");
    drop(scene);
    let scene = Scene::kept(_dir.path(), [beta, home()]);
    let session = told.served.session.unwrap();
    let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": "And now?" }] });
    let goes_on = Ask { wish: Wish::Continued(session.0.to_string()), ..asks(Dialect::OpenAiChat, body) };
    scene.call(&goes_on).await.unwrap();
    let sent = sent(&scene, "beta", 0);
    for at in 0..ROUNDS {
        assert!(sent.contains(&format!("question {at};")) && sent.contains(&format!("result {at};")), "{at}");
    }
}

#[tokio::test]
async fn whoever_can_still_read_everything_writes_the_summary_in_one_call() {
    let (_dir, scene) = scene([away(), Supplier::free("beta").spec(READER), home()]);
    let told = scene.call(&asks(Dialect::AnthropicMessages, task(Dialect::AnthropicMessages, ROUNDS))).await.unwrap();
    assert_eq!((told.by(), scene.asked("home"), scene.asked("beta")), ("home", 1, 1));
    let read = summarised_by(&scene, "beta").concat();
    assert!(read.contains("question 0;") && !read.contains(&format!("result {};", ROUNDS - 1)));
    assert!(answered_from(&scene, "home")[0].contains(speech("beta").trim()));
}

#[tokio::test]
async fn a_summary_is_kept_and_gone_on_with_and_not_written_twice() {
    let (_dir, scene) = scene([away(), home()]);
    let mut asked = Vec::new();
    for rounds in [ROUNDS, ROUNDS + 1, ROUNDS + 2, ROUNDS + 12] {
        let told = scene.call(&asks(Dialect::OpenAiChat, task(Dialect::OpenAiChat, rounds))).await.unwrap();
        assert!(is_told_so(&told) && told.by() == "home");
        asked.push(summarised_by(&scene, "home").len());
    }
    assert!(asked[0] > 1, "a small window reads in pieces: {asked:?}");
    assert_eq!((asked[1], asked[2]), (asked[0], asked[0]), "what was said since fits beside it");
    assert!(asked[3] > asked[2] && asked[3] - asked[2] < asked[0], "only what is new is read: {asked:?}");
    let extended = &summarised_by(&scene, "home")[asked[2]];
    assert!(extended.contains(speech("home").trim()) && !extended.contains("question 0;"));
}

#[tokio::test]
async fn a_summary_outlives_the_daemon_and_ends_with_its_session() {
    let dir = tempfile::tempdir().unwrap();
    let ask = asks(Dialect::OpenAiChat, task(Dialect::OpenAiChat, ROUNDS));
    let before = Scene::kept(dir.path(), [away(), home()]);
    let told = before.call(&ask).await.unwrap();
    drop(before);
    let scene = Scene::kept(dir.path(), [away(), home()]);
    assert_eq!(scene.call(&ask).await.unwrap().served.session, told.served.session);
    assert_eq!(summarised_by(&scene, "home").len(), 0);
    let bus = scene.grid.bus().unwrap();
    let session = bus.session("anywhere", &told.served.session.unwrap().0).await.unwrap();
    bus.erase(&session).await.unwrap();
    scene.call(&ask).await.unwrap();
    assert!(!summarised_by(&scene, "home").is_empty());
}

#[tokio::test]
async fn a_summariser_that_fails_trims_nothing_and_the_caller_hears_of_it() {
    for fails in ["status=500", "empty", "page", "status=429"] {
        let (_dir, scene) = scene([
            Supplier::frontier("alpha").always("status=429 retry_after_s=30"),
            Supplier::free("beta").spec(READER).always(fails),
            home().always(fails),
        ]);
        let refusal = refused(scene.call(&asks(Dialect::OpenAiChat, task(Dialect::OpenAiChat, ROUNDS))).await);
        assert_eq!((refusal.kind, refusal.retry_after_ms), (RefusalKind::RateLimited, Some(30_000)), "{fails}");
        let told = refusal.message.contains("nor could home/home-1 with a summary: no summary could be written");
        assert!(told && refusal.message.contains("beta/beta-1"), "{fails}: {}", refusal.message);
        assert!(scene.asked("beta") > 0 && scene.asked("home") > 0, "{fails}");
        assert_eq!(answered_from(&scene, "home"), Vec::<String>::new(), "{fails}: nobody gets a part of it");
    }
}

#[tokio::test]
async fn a_reader_that_fails_leaves_the_summary_to_the_target_itself() {
    let beta = Supplier::free("beta").spec(READER).always("status=500");
    let (_dir, scene) = scene([away(), beta, home()]);
    let told = scene.call(&asks(Dialect::OpenAiChat, task(Dialect::OpenAiChat, ROUNDS))).await.unwrap();
    assert!(is_told_so(&told) && told.by() == "home");
    assert!(scene.asked("beta") > 0 && summarised_by(&scene, "home").len() > 1);
}

#[tokio::test]
async fn a_summary_that_is_too_long_or_cut_off_is_none() {
    let endless = "word ".repeat(4_000);
    let wordy = home().with(|settings| settings.answer.text = Some(endless));
    let (_dir, scene) = scene([away(), wordy]);
    let refusal = refused(scene.call(&asks(Dialect::OpenAiChat, task(Dialect::OpenAiChat, ROUNDS))).await);
    assert!(refusal.message.contains("the summary of home/home-1 is longer than it may be"), "{}", refusal.message);
    assert_eq!(answered_from(&scene, "home").len(), 0);
}

#[tokio::test]
async fn a_summary_that_takes_too_long_is_given_up_at_its_deadline() {
    let slow = home().with(|settings| (settings.headers_ms, settings.first_token_ms) = (20_000, 20_000));
    let (_dir, scene) = scene([away(), slow]);
    let limits = Limits { summary_ms: 300, ..Limits::default() };
    scene.grid.replace(Generation { limits, ..scene.generation(&["alpha", "home"]) });
    let began = std::time::Instant::now();
    let refusal = refused(scene.call(&asks(Dialect::OpenAiChat, task(Dialect::OpenAiChat, ROUNDS))).await);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(refusal.message.contains("no summary was written within"), "{}", refusal.message);
    assert_eq!(answered_from(&scene, "home").len(), 0);
}

#[tokio::test]
async fn a_caller_that_forbids_it_or_keeps_nothing_is_refused_with_numbers_as_without() {
    let (_dir, scene) = scene([home()]);
    let ask = asks(Dialect::OpenAiChat, task(Dialect::OpenAiChat, ROUNDS));
    let forbids = Ask { compaction: Compaction::Off, ..ask.clone() };
    let unkept = Ask { wish: Wish::Unkept, ..ask };
    for ask in [forbids, unkept] {
        let refusal = refused(scene.call(&ask).await);
        assert_eq!((refusal.kind, scene.asked("home")), (RefusalKind::ContextOverflow, 0));
        assert!(refusal.message.contains("its window is 1500"), "{}", refusal.message);
    }
}

#[tokio::test]
async fn tools_and_the_last_user_turn_are_never_cut_so_where_they_do_not_fit_nobody_is_asked() {
    let (_dir, scene) = scene([home()]);
    let mut tools = task(Dialect::OpenAiChat, ROUNDS);
    tools["tools"][0]["function"]["description"] = json!("d".repeat(9_000));
    let mut last = task(Dialect::OpenAiChat, ROUNDS);
    last["messages"].as_array_mut().unwrap().push(json!({ "role": "user", "content": "long ".repeat(2_000) }));
    for body in [tools, last] {
        let refusal = refused(scene.call(&asks(Dialect::OpenAiChat, body)).await);
        assert_eq!((refusal.kind, scene.asked("home")), (RefusalKind::ContextOverflow, 0));
        assert!(refusal.message.contains("which are never shortened"), "{}", refusal.message);
    }
}

#[tokio::test]
async fn a_supplier_that_finds_the_prompt_too_long_only_when_it_is_asked_gets_a_summary_then() {
    for spec in ["", "window_tokens = 100_000"] {
        let home = Supplier::local("home").spec(spec).script("status=400 code=context_length_exceeded");
        let (_dir, scene) = scene([home]);
        let told = scene.call(&asks(Dialect::OpenAiChat, task(Dialect::OpenAiChat, ROUNDS))).await.unwrap();
        assert!(told.served.lossy.iter().any(|lost| lost.starts_with("conversation (")), "{:?}", told.served.lossy);
        let asked = answered_from(&scene, "home");
        assert!(asked[0].contains("question 0;") && !asked[1].contains("question 0;"));
    }
}

#[tokio::test]
async fn a_supplier_that_would_drop_the_front_in_silence_is_not_sent_what_is_too_long() {
    let ollama = "window_tokens = 4_000\nquirks = { num_ctx = 4_000 }";
    let (_dir, scene) = scene([Supplier::local("home").speaking(Dialect::OllamaChat).spec(ollama)]);
    let ask = asks(Dialect::OpenAiChat, task(Dialect::OpenAiChat, ROUNDS));
    let told = scene.call(&ask).await.unwrap();
    assert!(told.served.lossy.iter().any(|lost| lost.starts_with("conversation (")), "{:?}", told.served.lossy);
    let requests = scene.sim("home").requests();
    assert!(requests.iter().all(|received| received.window.is_some_and(|window| window.dropped_tokens == 0)));
    let unkept = refused(scene.call(&Ask { wish: Wish::Unkept, ..ask }).await);
    assert_eq!((unkept.kind, scene.sim("home").requests().len()), (RefusalKind::ContextOverflow, requests.len()));
}

#[tokio::test]
async fn a_prompt_that_is_too_long_even_with_a_summary_gets_a_shorter_one() {
    let full = "status=400 code=context_length_exceeded";
    let pieces = {
        let (_dir, scene) = scene([away(), home()]);
        scene.call(&asks(Dialect::OpenAiChat, task(Dialect::OpenAiChat, ROUNDS))).await.unwrap();
        summarised_by(&scene, "home").len()
    };
    let (_dir, scene) = scene([away(), home().script(&format!("{}{full}", "pass\n".repeat(pieces)))]);
    let told = scene.call(&asks(Dialect::OpenAiChat, task(Dialect::OpenAiChat, ROUNDS))).await.unwrap();
    assert!(is_told_so(&told));
    let asked = answered_from(&scene, "home");
    assert!(asked.len() == 2 && asked[1].len() < asked[0].len(), "{}", asked.len());
    assert_eq!((told.served.attempts, told.served.failed.len()), (3, 2), "{:?}", told.served.failed);
}

#[tokio::test]
async fn a_summary_goes_nowhere_where_the_call_itself_may_not_go() {
    let (_dir, scene) = scene([Supplier::free("beta").spec(READER), home()]);
    let task = task(Dialect::OpenAiChat, ROUNDS);
    let by_key = Ask { key: LOCAL_KEY, ..asks(Dialect::OpenAiChat, task.clone()) };
    let mut local = task;
    local["model"] = json!("local");
    for ask in [by_key, asks(Dialect::OpenAiChat, local)] {
        assert_eq!(scene.call(&ask).await.unwrap().by(), "home");
        assert_eq!(scene.asked("beta"), 0);
    }
}

#[tokio::test]
async fn a_projection_is_told_beforehand() {
    let (_dir, scene) = scene([away(), home()]);
    let ask = asks(Dialect::OpenAiChat, task(Dialect::OpenAiChat, ROUNDS));
    let says = async |ask: &Ask| {
        let explained = scene.grid.explain(ask.arrival(&scene.grid)).await.unwrap();
        explained.foreseen.into_iter().map(|(id, says)| format!("{id}: {says}")).collect::<Vec<_>>().concat()
    };
    let said = says(&ask).await;
    assert!(said.starts_with("home/home-1: asked with a summary of 2"), "{said}");
    assert_eq!(says(&Ask { compaction: Compaction::Off, ..ask }).await, "home/home-1: the request forbids a summary");
    assert_eq!(scene.asked("home"), 0);
}
