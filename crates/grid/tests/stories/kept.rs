//! The bus: what is kept of a conversation, whoever answers, and who is recognised by what.
//!
//! The store has a thread of its own, so these stories run on the real clock.

use std::sync::Arc;

use commonwatt_core::refusal::RefusalKind;
use commonwatt_core::turn::Party;
use commonwatt_grid::bus::look::Shown;
use commonwatt_grid::bus::{State, Wish};
use commonwatt_wire::Dialect;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::heard::{End, Told};
use crate::world::{Ask, LOCAL_KEY, Scene, Supplier, speech};

fn scene(suppliers: impl IntoIterator<Item = Supplier>) -> (TempDir, Arc<Scene>) {
    let dir = tempfile::tempdir().unwrap();
    let scene = Scene::kept(dir.path(), suppliers);
    (dir, scene)
}

fn asks(dialect: Dialect, stream: bool, body: Value) -> Ask {
    Ask { whole: Some(body), ..Ask::new(dialect, stream) }
}

fn chat(stream: bool, messages: &[Value]) -> Ask {
    asks(Dialect::OpenAiChat, stream, json!({ "model": "auto", "stream": stream, "messages": messages }))
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

fn assistant(text: &str) -> Value {
    json!({ "role": "assistant", "content": text })
}

impl Scene {
    /// What is kept of the session that answered, up to its head: who said what.
    pub(crate) async fn kept_of(&self, told: &Told) -> Vec<Shown> {
        let bus = self.grid.bus().unwrap();
        let session = told.served.session.as_ref().unwrap();
        let session = bus.session("anywhere", &session.0).await.unwrap();
        bus.said(&session, None).await.unwrap()
    }
}

fn parties(said: &[Shown]) -> Vec<Party> {
    said.iter().map(|shown| shown.turn.party).collect()
}

#[tokio::test]
async fn a_client_that_resends_its_history_stays_in_its_session_in_every_dialect() {
    for stream in [false, true] {
        for dialect in [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::OpenAiResponses, Dialect::OllamaChat]
        {
            let (_dir, scene) = scene([Supplier::frontier("alpha")]);
            let conversation = if dialect == Dialect::OpenAiResponses { "input" } else { "messages" };
            let body = |messages: Value| json!({ "model": "auto", "stream": stream, "max_tokens": 1_000, conversation: messages });
            let first = scene.call(&asks(dialect, stream, body(json!([user("one")])))).await.unwrap();
            let answer = assistant(&first.text);
            let history = json!([user("one"), answer, user("two")]);
            let second = scene.call(&asks(dialect, stream, body(history))).await.unwrap();
            assert_eq!((&first.end, &second.end), (&End::Complete, &End::Complete));
            assert_eq!(first.served.session, second.served.session, "{dialect}, stream {stream}");
            let said = scene.kept_of(&second).await;
            assert_eq!(parties(&said), [Party::User, Party::Model, Party::User, Party::Model], "{dialect}");
            assert!(said.iter().all(|shown| shown.node.state == State::Complete));
            assert_eq!(said[3].node.by.as_deref(), Some("alpha/alpha-1"));
        }
    }
}

#[tokio::test]
async fn a_task_begun_by_one_goes_on_with_others_in_other_dialects_and_each_sees_all_of_it() {
    let (_dir, scene) = scene([
        Supplier::frontier("alpha").script("pass\nstatus=429"),
        Supplier::free("beta").speaking(Dialect::AnthropicMessages).script("pass\nstatus=429"),
        Supplier::local("gamma").speaking(Dialect::OllamaChat),
    ]);
    let mut messages = Vec::new();
    let mut last = None;
    for (question, supplier) in [("one", "alpha"), ("two", "beta"), ("three", "gamma")] {
        messages.push(user(question));
        let told = scene.call(&chat(true, &messages)).await.unwrap();
        assert_eq!((told.by(), &told.end), (supplier, &End::Complete), "{:?}", told.served.failed);
        messages.push(assistant(&told.text));
        last = Some(told);
    }
    let asked = scene.sim("gamma").requests().pop().unwrap();
    let asked = String::from_utf8(asked.body.to_vec()).unwrap();
    for words in ["one", "two", "three", speech("alpha").trim(), speech("beta").trim()] {
        assert!(asked.contains(words), "{words} is not in {asked}");
    }
    let said = scene.kept_of(&last.unwrap()).await;
    let by: Vec<_> = said.iter().filter_map(|shown| shown.node.by.clone()).collect();
    assert_eq!(by, ["alpha/alpha-1", "beta/beta-1", "gamma/gamma-1"]);
}

#[tokio::test]
async fn a_regenerated_answer_and_an_edited_question_are_branches() {
    let (_dir, scene) = scene([Supplier::frontier("alpha")]);
    let first = scene.call(&chat(false, &[user("one")])).await.unwrap();
    let history = [user("one"), assistant(&first.text), user("two")];
    let second = scene.call(&chat(false, &history)).await.unwrap();
    let again = scene.call(&chat(false, &history)).await.unwrap();
    let edited = [user("one"), assistant(&first.text), user("something else")];
    let edited = scene.call(&chat(false, &edited)).await.unwrap();
    for told in [&second, &again, &edited] {
        assert_eq!(told.served.session, first.served.session);
    }
    let bus = scene.grid.bus().unwrap();
    let session = bus.session("anywhere", &first.served.session.unwrap().0).await.unwrap();
    let tree = bus.tree(&session).await.unwrap();
    // The supplier says the same word for word, so a regenerated answer is the same turn; the edit is another.
    assert_eq!(tree.len(), 6);
    let said = bus.said(&session, None).await.unwrap();
    assert_eq!(parties(&said), [Party::User, Party::Model, Party::User, Party::Model]);
    assert!(format!("{:?}", said[2].turn.items).contains("something else"));
}

#[tokio::test]
async fn the_same_first_words_begin_another_session_each_time() {
    let (_dir, scene) = scene([Supplier::frontier("alpha")]);
    let one = scene.call(&chat(false, &[user("hi")])).await.unwrap();
    let other = scene.call(&chat(false, &[user("hi")])).await.unwrap();
    assert_ne!(one.served.session, other.served.session);
    for told in [&one, &other] {
        assert_eq!(parties(&scene.kept_of(told).await), [Party::User, Party::Model]);
    }
}

#[tokio::test]
async fn nobody_is_recognised_by_the_words_of_another_key() {
    let (_dir, scene) = scene([Supplier::local("alpha")]);
    let first = scene.call(&chat(false, &[user("one")])).await.unwrap();
    let history = [user("one"), assistant(&first.text), user("two")];
    let theirs = scene.call(&Ask { key: LOCAL_KEY, ..chat(false, &history) }).await.unwrap();
    assert_ne!(first.served.session, theirs.served.session);
    let bus = scene.grid.bus().unwrap();
    let refused = bus.session("local only", &first.served.session.unwrap().0).await.unwrap_err();
    assert_eq!(refused.kind, RefusalKind::UnknownSession);
}

#[tokio::test]
async fn a_restart_forgets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let scene = Scene::kept(dir.path(), [Supplier::frontier("alpha")]);
    let first = scene.call(&chat(true, &[user("one")])).await.unwrap();
    drop(scene);
    let scene = Scene::kept(dir.path(), [Supplier::frontier("alpha")]);
    let history = [user("one"), assistant(&first.text), user("two")];
    let second = scene.call(&chat(true, &history)).await.unwrap();
    assert_eq!(first.served.session, second.served.session);
    assert_eq!(scene.kept_of(&second).await.len(), 4);
}

#[tokio::test]
async fn an_answer_that_broke_off_is_kept_and_marked_unfinished() {
    let (_dir, scene) = scene([Supplier::frontier("alpha").script("reset after=3")]);
    let told = scene.call(&chat(true, &[user("one")])).await.unwrap();
    assert!(matches!(told.end, End::Error(_)));
    // Nobody waits for it, so it is written a moment later.
    let bus = scene.grid.bus().unwrap();
    let said = loop {
        if let Ok(session) = bus.session("anywhere", &told.served.session.as_ref().unwrap().0).await
            && let Ok(said) = bus.said(&session, None).await
            && said.len() == 2
        {
            break said;
        }
    };
    assert_eq!(said[1].node.state, State::Unfinished);
    assert!(!told.text.is_empty() && speech("alpha").starts_with(&told.text));
    assert!(format!("{:?}", said[1].turn.items).contains(told.text.trim()));
}

#[tokio::test]
async fn a_response_is_followed_by_its_id_without_its_history() {
    for supplier in [Dialect::OpenAiResponses, Dialect::AnthropicMessages] {
        let (_dir, scene) = scene([Supplier::frontier("alpha").speaking(supplier)]);
        let ask = |body| asks(Dialect::OpenAiResponses, false, body);
        let first = scene.call(&ask(json!({ "model": "auto", "input": "one" }))).await.unwrap();
        let id = serde_json::from_slice::<Value>(&first.raw).unwrap()["id"].as_str().unwrap().to_owned();
        let follows = json!({ "model": "auto", "input": "two", "previous_response_id": id });
        let second = scene.call(&ask(follows)).await.unwrap();
        assert_eq!(first.served.session, second.served.session);
        assert_eq!(scene.kept_of(&second).await.len(), 4);
        let asked = scene.sim("alpha").requests().pop().unwrap();
        let asked = String::from_utf8(asked.body.to_vec()).unwrap();
        for words in ["one", speech("alpha").trim(), "two"] {
            assert!(asked.contains(words), "{words} is not in {asked}");
        }
        assert!(!asked.contains("previous_response_id"), "{asked}");
        let unknown = json!({ "model": "auto", "input": "two", "previous_response_id": "resp_nobody" });
        assert_eq!(scene.call(&ask(unknown)).await.unwrap_err().kind, RefusalKind::UnknownPrevious);
    }
}

#[tokio::test]
async fn a_named_session_is_continued_in_another_dialect_from_its_end_or_from_an_earlier_turn() {
    let (_dir, scene) = scene([Supplier::frontier("alpha")]);
    let named = Ask { wish: Wish::Named("plan".into()), ..chat(false, &[user("one")]) };
    let first = scene.call(&named).await.unwrap();
    let body = json!({ "model": "auto", "max_tokens": 9, "messages": [user("two")] });
    let goes_on = asks(Dialect::AnthropicMessages, false, body);
    let second = scene.call(&Ask { wish: Wish::Continued("plan".into()), ..goes_on }).await.unwrap();
    assert_eq!(first.served.session, second.served.session);
    assert_eq!(scene.kept_of(&second).await.len(), 4);
    let said = scene.kept_of(&second).await;
    let earlier = Wish::Continued(format!("plan@{}", said[1].node.id));
    let third = scene.call(&Ask { wish: earlier, ..chat(false, &[user("three")]) }).await.unwrap();
    let branch = scene.kept_of(&third).await;
    assert_eq!((branch.len(), branch[1].node.id, branch[2].node.parent), (4, said[1].node.id, said[1].node.id));
    let nowhere = Wish::Continued(format!("plan@{}", "0".repeat(64)));
    let nowhere = Ask { wish: nowhere, ..chat(false, &[user("x")]) };
    assert_eq!(scene.call(&nowhere).await.unwrap_err().kind, RefusalKind::UnknownSession);
    let lost = Ask { wish: Wish::Continued("nobody".into()), ..chat(false, &[user("x")]) };
    assert_eq!(scene.call(&lost).await.unwrap_err().kind, RefusalKind::UnknownSession);
    let unkept = Ask { wish: Wish::Unkept, ..chat(false, &[user("x")]) };
    assert_eq!(scene.call(&unkept).await.unwrap().served.session, None);
}

#[tokio::test]
async fn an_erased_session_is_gone_for_everybody() {
    let (_dir, scene) = scene([Supplier::frontier("alpha")]);
    let first = scene.call(&chat(false, &[user("one")])).await.unwrap();
    let id = first.served.session.clone().unwrap();
    let bus = scene.grid.bus().unwrap();
    let session = bus.session("anywhere", &id.0).await.unwrap();
    bus.erase(&session).await.unwrap();
    assert_eq!(bus.session("anywhere", &id.0).await.unwrap_err().kind, RefusalKind::UnknownSession);
    let history = [user("one"), assistant(&first.text), user("two")];
    let again = scene.call(&chat(false, &history)).await.unwrap();
    assert_ne!(again.served.session, first.served.session);
    assert_eq!(scene.kept_of(&again).await.len(), 4);
}

/// Coding agents send several requests at once when a session begins, all with its name.
#[tokio::test]
async fn calls_that_begin_a_named_session_at_once_begin_the_same_one() {
    let (_dir, scene) = scene([Supplier::frontier("alpha")]);
    let named = |text: &str| Ask { wish: Wish::Named("plan".into()), ..chat(true, &[user(text)]) };
    let calls: Vec<_> = (0..8).map(|n| scene.spawn(&named(&format!("question {n}")))).collect();
    let mut sessions = Vec::new();
    for call in calls {
        let told = call.await.unwrap().unwrap();
        assert_eq!(told.end, End::Complete);
        sessions.push(told.served.session);
    }
    sessions.dedup();
    assert_eq!(sessions.len(), 1);
    let bus = scene.grid.bus().unwrap();
    let session = bus.session("anywhere", "plan").await.unwrap();
    assert_eq!(bus.tree(&session).await.unwrap().len(), 16);
}

#[tokio::test]
async fn data_of_a_class_is_kept_as_long_as_its_class_allows() {
    let (_dir, scene) = scene([Supplier::frontier("alpha")]);
    let bus = scene.grid.bus().unwrap();
    let plain = scene.call(&chat(false, &[user("one")])).await.unwrap();
    let plain = bus.session("anywhere", &plain.served.session.unwrap().0).await.unwrap();
    assert_eq!((plain.data_class, plain.expires_ms), (None, None));
    let secret = Ask { data_class: Some("secret".into()), ..chat(false, &[user("two")]) };
    let secret = scene.call(&secret).await.unwrap();
    let secret = bus.session("anywhere", &secret.served.session.unwrap().0).await.unwrap();
    assert_eq!(secret.data_class.as_deref(), Some("secret"));
    let left = secret.expires_ms.unwrap() - secret.updated_ms;
    assert!((59_000..=60_000).contains(&left), "{left} ms");
}
