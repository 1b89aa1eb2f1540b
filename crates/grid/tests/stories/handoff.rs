//! Handing a session over: who may go on with it, what they are given, and what the one before hears.
//!
//! The store has a thread of its own, so these stories run on the real clock.

use std::sync::Arc;

use commonwatt_core::lease::HandoffId;
use commonwatt_core::refusal::RefusalKind;
use commonwatt_core::turn::Party;
use commonwatt_grid::bus::handoff::{Content, Format, OfferTerms, Offered, Scope, Scopes, Taken, Taking};
use commonwatt_grid::bus::{Bus, Wish};
use commonwatt_grid::relay::AnswerBody;
use commonwatt_wire::Dialect;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::heard::{End, Told};
use crate::world::{Ask, LOCAL_KEY, Scene, Supplier, speech};

/// The names of the world's two keys.
const ANA: &str = "anywhere";
const BOB: &str = "local only";

fn scene(suppliers: impl IntoIterator<Item = Supplier>) -> (TempDir, Arc<Scene>) {
    let dir = tempfile::tempdir().unwrap();
    let scene = Scene::kept(dir.path(), suppliers);
    (dir, scene)
}

fn chat(stream: bool, messages: &[Value]) -> Ask {
    let whole = Some(json!({ "model": "auto", "stream": stream, "messages": messages }));
    Ask { whole, ..Ask::new(Dialect::OpenAiChat, stream) }
}

fn bobs(ask: Ask) -> Ask {
    Ask { key: LOCAL_KEY, ..ask }
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

fn assistant(text: &str) -> Value {
    json!({ "role": "assistant", "content": text })
}

fn terms() -> OfferTerms {
    OfferTerms {
        audience: Some(BOB.to_owned()),
        scopes: Scopes::ALL,
        for_s: 60,
        spend_micros: Some(5),
        note: "go on\nplease".to_owned(),
    }
}

fn taking(offered: &Offered, format: Format) -> Taking {
    Taking { token: offered.token.clone(), scope: None, format, key: Some([1; 16]), user: None }
}

impl Scene {
    fn bus(&self) -> &Arc<Bus> {
        self.grid.bus().unwrap()
    }

    /// A session of Ana's with one question and its answer, offered to Bob.
    async fn offered(&self) -> (Told, Offered) {
        let told = self.call(&chat(false, &[user("one")])).await.unwrap();
        let offered = self.bus().offer(ANA, &id(&told), &terms()).await.unwrap();
        (told, offered)
    }

    async fn said(&self, principal: &str, session: &str) -> Vec<(Party, Option<String>)> {
        let session = self.bus().session(principal, session).await.unwrap();
        let said = self.bus().said(&session, None).await.unwrap();
        said.into_iter().map(|shown| (shown.turn.party, shown.node.by)).collect()
    }
}

fn id(told: &Told) -> String {
    told.served.session.as_ref().unwrap().to_string()
}

fn members(taken: &Taken) -> Value {
    match &taken.projected.content {
        Content::Request(members) => serde_json::from_slice(&members.0).unwrap(),
        Content::Page(page) => panic!("{page}"),
    }
}

#[tokio::test]
async fn a_task_begun_by_one_key_on_one_supplier_goes_on_with_another_on_another_in_another_dialect() {
    for dialect in [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::OpenAiResponses] {
        let (_dir, scene) =
            scene([Supplier::frontier("alpha"), Supplier::local("gamma").speaking(Dialect::OllamaChat)]);
        let (begun, offered) = scene.offered().await;
        let taken = scene.bus().accept(BOB, &taking(&offered, Format::Request(dialect))).await.unwrap();
        assert_eq!(
            (taken.scope, taken.epoch.map(|epoch| epoch.0), taken.spend_micros),
            (Scope::Continue, Some(1), Some(5))
        );
        assert_eq!((taken.session.to_string(), taken.again), (id(&begun), false));

        // Bob's client sends what it was given, and one message more: it is recognised.
        let (mut body, list) =
            (members(&taken), if dialect == Dialect::OpenAiResponses { "input" } else { "messages" });
        body[list].as_array_mut().unwrap().push(user("two"));
        body["model"] = "auto".into();
        body["max_tokens"] = 1_000.into();
        let goes_on = bobs(Ask { whole: Some(body), ..Ask::new(dialect, false) });
        let second = scene.call(&goes_on).await.unwrap();
        assert_eq!((second.by(), second.served.session.as_ref()), ("gamma", Some(&taken.session)), "{dialect}");
        let asked = scene.sim("gamma").requests().pop().unwrap();
        let asked = String::from_utf8(asked.body.to_vec()).unwrap();
        assert!(asked.contains("one") && asked.contains(speech("alpha").trim()) && asked.contains("two"), "{asked}");

        // The same whole history for both of them, with who made what.
        for principal in [ANA, BOB] {
            let said = scene.said(principal, &id(&begun)).await;
            let by: Vec<_> = said.iter().filter_map(|(_, by)| by.as_deref()).collect();
            assert_eq!((said.len(), by), (4, vec!["alpha/alpha-1", "gamma/gamma-1"]), "{dialect}");
        }
        // Ana is refused at once, before anything is sent.
        let calls = scene.asked("alpha");
        let late = chat(true, &[user("one"), assistant(&begun.text), user("three")]);
        let refused = scene.call(&late).await.unwrap_err();
        assert_eq!((refused.kind, scene.asked("alpha")), (RefusalKind::HandedOver, calls));
        assert!(refused.message.contains("handed over to `local only`"), "{}", refused.message);
    }
}

#[tokio::test]
async fn whoever_holds_a_session_goes_on_with_it_by_its_name_too() {
    let (_dir, scene) = scene([Supplier::local("alpha")]);
    let first = Ask { wish: Wish::Named("plan".into()), ..chat(false, &[user("one")]) };
    let told = scene.call(&first).await.unwrap();
    let offered = scene.bus().offer(ANA, "plan", &terms()).await.unwrap();
    scene.bus().accept(BOB, &taking(&offered, Format::Brief)).await.unwrap();
    for name in ["plan".to_owned(), id(&told)] {
        let goes_on = Ask { wish: Wish::Continued(name), ..bobs(chat(false, &[user("two")])) };
        assert_eq!(scene.call(&goes_on).await.unwrap().served.session, told.served.session);
    }
    let mine = Ask { wish: Wish::Continued("plan".into()), ..chat(false, &[user("three")]) };
    assert_eq!(scene.call(&mine).await.unwrap_err().kind, RefusalKind::HandedOver);
}

#[tokio::test]
async fn a_brief_tells_whoever_was_not_there_the_goal_and_who_said_what() {
    let (_dir, scene) = scene([Supplier::local("alpha")]);
    let (_, offered) = scene.offered().await;
    let taken = scene.bus().accept(BOB, &taking(&offered, Format::Brief)).await.unwrap();
    let Content::Page(page) = &taken.projected.content else { panic!() };
    assert!(page.starts_with("# one\n\n## The goal\n\n> one\n"), "{page}");
    assert!(page.contains("2. model `alpha/alpha-1`: This is alpha"), "{page}");
}

#[tokio::test]
async fn a_giver_in_the_middle_of_an_answer_gets_no_false_end_when_the_lease_moves() {
    for stream in [true, false] {
        let (_dir, scene) = scene([Supplier::frontier("alpha"), Supplier::local("gamma")]);
        let (begun, offered) = scene.offered().await;
        let history = [user("one"), assistant(&begun.text), user("two")];
        let ask = chat(stream, &history);
        if stream {
            let answered = scene.grid.call(ask.arrival(&scene.grid)).await.unwrap();
            let AnswerBody::Stream(mut relay) = answered.body else { panic!() };
            let mut raw = relay.next().await.unwrap().to_vec();
            scene.bus().accept(BOB, &taking(&offered, Format::Brief)).await.unwrap();
            while let Some(bytes) = relay.next().await {
                raw.extend_from_slice(&bytes);
            }
            let (text, end) = crate::heard::read(Dialect::OpenAiChat, true, &raw);
            assert!(matches!(&end, End::Error(told) if told.contains("handed over to `local only`")), "{end:?}");
            assert!(!text.is_empty());
        } else {
            scene.bus().accept(BOB, &taking(&offered, Format::Brief)).await.unwrap();
            assert_eq!(scene.call(&ask).await.unwrap_err().kind, RefusalKind::HandedOver);
        }
        let said = scene.said(BOB, &id(&begun)).await;
        assert_eq!(said.iter().map(|(party, _)| *party).collect::<Vec<_>>(), [Party::User, Party::Model]);
        let goes_on = Ask { wish: Wish::Continued(id(&begun)), ..bobs(chat(stream, &[user("three")])) };
        assert_eq!(scene.call(&goes_on).await.unwrap().end, End::Complete);
    }
}

#[tokio::test]
async fn what_the_giver_says_after_it_has_offered_stays_as_a_branch() {
    let (_dir, scene) = scene([Supplier::local("alpha")]);
    let (begun, offered) = scene.offered().await;
    let since = scene.call(&chat(false, &[user("one"), assistant(&begun.text), user("since")])).await.unwrap();
    assert_eq!(since.end, End::Complete);
    let taken = scene.bus().accept(BOB, &taking(&offered, Format::Request(Dialect::OpenAiChat))).await.unwrap();
    assert_eq!(members(&taken)["messages"].as_array().unwrap().len(), 2);
    let session = scene.bus().session(BOB, &id(&begun)).await.unwrap();
    assert_eq!((session.head, scene.bus().tree(&session).await.unwrap().len()), (offered.head, 4));
}

#[tokio::test]
async fn whoever_lost_the_answer_asks_again_and_nobody_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let scene = Scene::kept(dir.path(), [Supplier::local("alpha")]);
    let (_, offered) = scene.offered().await;
    let wish = taking(&offered, Format::Request(Dialect::OpenAiChat));
    let first = scene.bus().accept(BOB, &wish).await.unwrap();
    drop(scene);
    let scene = Scene::kept(dir.path(), [Supplier::local("alpha")]);
    let again = scene.bus().accept(BOB, &wish).await.unwrap();
    assert_eq!(again, Taken { again: true, ..first });
    let replay = scene.bus().accept(BOB, &Taking { key: Some([2; 16]), ..wish.clone() }).await.unwrap_err();
    assert_eq!(replay.message, "this handoff was accepted by `local only` and is good once; ask for another");
    let keyless = scene.bus().accept(BOB, &Taking { key: None, ..wish }).await.unwrap_err();
    assert_eq!(keyless.kind, RefusalKind::HandedOver);
}

#[tokio::test]
async fn a_session_goes_back_to_where_it_came_from_by_another_handoff() {
    let (_dir, scene) = scene([Supplier::local("alpha")]);
    let (begun, offered) = scene.offered().await;
    scene.bus().accept(BOB, &taking(&offered, Format::Brief)).await.unwrap();
    let refused = scene.bus().offer(ANA, &id(&begun), &terms()).await.unwrap_err();
    assert_eq!(refused.kind, RefusalKind::HandedOver);
    let back = OfferTerms { audience: Some(ANA.to_owned()), ..terms() };
    let back = scene.bus().offer(BOB, &id(&begun), &back).await.unwrap();
    let taken = scene.bus().accept(ANA, &taking(&back, Format::Brief)).await.unwrap();
    assert_eq!(taken.epoch.map(|epoch| epoch.0), Some(2));
    let history = [user("one"), assistant(&begun.text), user("two")];
    assert_eq!(scene.call(&chat(false, &history)).await.unwrap().served.session, Some(taken.session));
    // Whoever held it in between sees it no more, and hears why.
    let late = Ask { wish: Wish::Continued(id(&begun)), ..bobs(chat(false, &[user("three")])) };
    let late = scene.call(&late).await.unwrap_err();
    assert_eq!((late.kind, late.message.contains("handed over to `anywhere`")), (RefusalKind::HandedOver, true));
}

#[tokio::test]
async fn a_copy_is_the_claimants_own_and_the_session_stays() {
    let (_dir, scene) = scene([Supplier::local("alpha")]);
    let (begun, offered) = scene.offered().await;
    let wish = Taking { scope: Some(Scope::Branch), ..taking(&offered, Format::Request(Dialect::OpenAiChat)) };
    let taken = scene.bus().accept(BOB, &wish).await.unwrap();
    assert_eq!(scene.bus().accept(BOB, &wish).await.unwrap(), Taken { again: true, ..taken.clone() });
    assert_ne!(taken.session.to_string(), id(&begun));
    let history = [user("one"), assistant(&begun.text), user("two")];
    let theirs = scene.call(&bobs(chat(false, &history))).await.unwrap();
    let mine = scene.call(&chat(false, &history)).await.unwrap();
    assert_eq!(
        (theirs.served.session, mine.served.session),
        (Some(taken.session.clone()), begun.served.session.clone())
    );
    let said = scene.said(BOB, &taken.session.0).await;
    assert_eq!((said.len(), said[1].1.as_deref()), (4, Some("alpha/alpha-1")));
    assert!(scene.bus().session(ANA, &taken.session.0).await.is_err());
    let given = scene.bus().handoffs(ANA, &id(&begun)).await.unwrap();
    assert_eq!(given[0].used(), (Some(BOB), Some(&*taken.session.0)));
    assert_eq!(
        (given[0].note.as_str(), given[0].scopes, given[0].spend_micros),
        ("go on\nplease", Scopes::ALL, Some(5))
    );
}

#[tokio::test]
async fn reading_uses_nothing_up() {
    let (_dir, scene) = scene([Supplier::local("alpha")]);
    let (begun, offered) = scene.offered().await;
    let read = Taking { scope: Some(Scope::Read), ..taking(&offered, Format::Brief) };
    for _ in 0..2 {
        let taken = scene.bus().accept(BOB, &read).await.unwrap();
        assert_eq!((taken.scope, taken.epoch), (Scope::Read, None));
    }
    // It gives no right to the session itself.
    assert!(scene.bus().session(BOB, &id(&begun)).await.is_err());
    scene.bus().accept(BOB, &taking(&offered, Format::Brief)).await.unwrap();
    assert_eq!(scene.bus().accept(BOB, &read).await.unwrap_err().kind, RefusalKind::HandedOver);
}

#[tokio::test]
async fn an_offer_that_is_taken_back_is_good_for_nothing() {
    let (_dir, scene) = scene([Supplier::local("alpha")]);
    let (_, offered) = scene.offered().await;
    let stranger = scene.bus().revoke(BOB, offered.handoff).await.unwrap_err();
    assert_eq!(stranger.message, "only `anywhere`, who offered it, may revoke this handoff");
    for _ in 0..2 {
        scene.bus().revoke(ANA, offered.handoff).await.unwrap();
    }
    for scope in [Scope::Read, Scope::Branch, Scope::Continue] {
        let refused = scene.bus().accept(BOB, &Taking { scope: Some(scope), ..taking(&offered, Format::Brief) }).await;
        assert_eq!(refused.unwrap_err().message, "this handoff was revoked by `anywhere`");
    }
    let unknown = scene.bus().revoke(ANA, HandoffId([9; 16])).await.unwrap_err();
    assert_eq!(unknown.kind, RefusalKind::UnknownSession);
}

/// Two try to take the same session over at once while its holder goes on asking: a thousand times, through the bus.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_that_race_for_a_session_a_thousand_times_one_wins_and_nothing_interleaves() {
    let (_dir, scene) = scene([Supplier::local("alpha")]);
    let begun = scene.call(&chat(false, &[user("one")])).await.unwrap();
    let session = id(&begun);
    let mut holder = ANA;
    let (mut bobs_epochs, mut answered) = (0, 1);
    for round in 0..1_000_u64 {
        let offered = scene.bus().offer(holder, &session, &OfferTerms { audience: None, ..terms() }).await.unwrap();
        let take = |principal: &'static str, key: u8| {
            let (scene, wish) =
                (Arc::clone(&scene), Taking { key: Some([key; 16]), ..taking(&offered, Format::Brief) });
            tokio::spawn(async move { scene.bus().accept(principal, &wish).await })
        };
        // Every tenth time the holder of the moment asks something meanwhile.
        let ask = Ask { wish: Wish::Continued(session.clone()), ..chat(false, &[user(&format!("in {round}"))]) };
        let ask = if holder == BOB { bobs(ask) } else { ask };
        let late = (round % 10 == 0).then(|| scene.spawn(&ask));
        let (one, two) = (take(ANA, 1), take(BOB, 2));
        let (one, two) = (one.await.unwrap(), two.await.unwrap());
        let (winner, lost, won) = match (one, two) {
            (Ok(won), Err(lost)) => (ANA, lost, won),
            (Err(lost), Ok(won)) => (BOB, lost, won),
            other => panic!("{other:?}"),
        };
        assert_eq!((won.epoch.map(|epoch| epoch.0), lost.kind), (Some(round + 1), RefusalKind::HandedOver));
        assert!(lost.message.contains(winner), "{}", lost.message);
        if let Some(late) = late {
            // A winner that was the holder before may have asked in its new epoch.
            match late.await.unwrap() {
                Ok(_) => answered += 1,
                Err(refused) => assert_eq!(refused.kind, RefusalKind::HandedOver, "{}", refused.message),
            }
        }
        bobs_epochs += u32::from(winner == BOB);
        let found = scene.bus().session(ANA, &session).await.unwrap();
        assert_eq!((found.epoch.0, found.holder.as_str()), (round + 1, winner));
        holder = winner;
    }
    // What was answered to whoever was refused is nowhere.
    let found = scene.bus().session(ANA, &session).await.unwrap();
    let tree = scene.bus().tree(&found).await.unwrap();
    assert_eq!(tree.iter().filter(|node| node.party == Party::Model).count(), answered);
    assert!(bobs_epochs > 0 && bobs_epochs < 1_000, "{bobs_epochs}: it was no race");
}
