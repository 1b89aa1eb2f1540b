//! Sessions that are taken to another grid and go on there: who is recognised, and that nothing is lost on the way.

use std::sync::Arc;

use commonwatt_bundle::{Bundle, Limits, SigningKey, read, write};
use commonwatt_core::refusal::RefusalKind;
use commonwatt_core::turn::SessionId;
use commonwatt_grid::bus::carry::{Chosen, Outcome, Stamp};
use commonwatt_wire::Dialect;
use serde_json::{Value, json};

use crate::heard::Told;
use crate::world::{Ask, LOCAL_KEY, Scene, Supplier};

const PIXEL: &str = "data:image/png;base64,iVBORw0KGgo=";

fn chat(messages: &[Value]) -> Ask {
    let body = json!({ "model": "auto", "messages": messages });
    Ask { whole: Some(body), ..Ask::new(Dialect::OpenAiChat, false) }
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

fn assistant(told: &Told) -> Value {
    json!({ "role": "assistant", "content": told.text })
}

fn picture() -> Value {
    json!({ "role": "user", "content": [
        { "type": "text", "text": "what is this?" }, { "type": "image_url", "image_url": { "url": PIXEL } },
    ] })
}

fn scene(dir: &tempfile::TempDir, name: &'static str) -> Arc<Scene> {
    Scene::kept(dir.path(), [Supplier::local(name)])
}

impl Scene {
    async fn exported(&self, principal: &str) -> Bundle {
        let stamp = Stamp { issuer: "alpha".to_owned(), made_unix_s: 1_800_000_000 };
        self.grid.bus().unwrap().export(principal, &Chosen::All, stamp).await.unwrap()
    }

    async fn imported(&self, principal: &str, bundle: Bundle) -> Vec<Outcome> {
        let brought = self.grid.bus().unwrap().import(principal, bundle).await.unwrap();
        brought.into_iter().map(|brought| brought.outcome).collect()
    }
}

fn written(bundle: &Bundle) -> Vec<u8> {
    let mut out = Vec::new();
    write(bundle, &SigningKey::from_bytes(&[7; 32]), &mut out).unwrap();
    out
}

fn opened(bytes: &[u8]) -> Bundle {
    read(bytes, &Limits::default(), None).unwrap().bundle
}

#[tokio::test]
async fn a_conversation_goes_on_in_another_place_by_being_resent_there_and_comes_home_again() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (alpha, beta) = (scene(&here, "alpha"), scene(&there, "beta"));
    let first = alpha.call(&chat(&[picture()])).await.unwrap();
    let asked = [picture(), assistant(&first), user("and this?")];
    alpha.call(&chat(&asked)).await.unwrap();
    // A branch: the question is edited.
    let edited = [picture(), assistant(&first), user("and that?")];
    let second = alpha.call(&chat(&edited)).await.unwrap();
    let taken = written(&alpha.exported("anywhere").await);

    assert_eq!(beta.imported("anywhere", opened(&taken)).await, [Outcome::Made(6)]);
    assert!(written(&beta.exported("anywhere").await) == taken, "what came is what goes");
    for history in [&asked, &edited] {
        let history = [&history[..], &[assistant(&second), user("go on")]].concat();
        let told = beta.call(&chat(&history)).await.unwrap();
        assert_eq!(told.served.session, first.served.session);
    }

    let back = written(&beta.exported("anywhere").await);
    let grown = alpha.imported("anywhere", opened(&back)).await;
    // The supplier says the same everywhere, so the answer on the other branch was known; the rest is new.
    assert!(matches!(grown[..], [Outcome::Grown(4..)]), "{grown:?}");
    assert!(written(&alpha.exported("anywhere").await) == back, "both have the same now");
    assert_eq!(alpha.imported("anywhere", opened(&back)).await, [Outcome::Unchanged]);
    assert_eq!(alpha.imported("anywhere", opened(&taken)).await, [Outcome::Unchanged]);
}

#[tokio::test]
async fn a_key_takes_along_what_is_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let scene = scene(&dir, "alpha");
    let mine = scene.call(&chat(&[user("one")])).await.unwrap();
    assert!(scene.exported("local only").await.sessions.is_empty());
    let bus = scene.grid.bus().unwrap();
    let SessionId(id) = mine.served.session.clone().unwrap();
    let stamp = Stamp { issuer: "alpha".to_owned(), made_unix_s: 0 };
    let refused = bus.export("local only", &Chosen::Named(vec![id.to_string()]), stamp).await.unwrap_err();
    assert_eq!(refused.kind, RefusalKind::UnknownSession);
    let taken = scene.exported("anywhere").await;
    assert!(matches!(scene.imported("local only", taken).await[..], [Outcome::Refused(_)]));
    let history = [user("one"), assistant(&mine), user("two")];
    let theirs = scene.call(&Ask { key: LOCAL_KEY, ..chat(&history) }).await.unwrap();
    assert_ne!(theirs.served.session, mine.served.session);
}
