//! Sessions taken from one daemon to another, and brought in from elsewhere, as people do it and as strangers try to.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use commonwatt_bundle::{Limits, Opened, PublicKey, SigningKey, read, write};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{Daemon, KEY, Start, Tell, Told, command, sim};

const PIXEL: &str = "data:image/png;base64,iVBORw0KGgo=";
const CHATGPT: &[u8] = include_bytes!("../../../bundle/tests/fixtures/chatgpt.json");
const CLAUDE: &[u8] = include_bytes!("../../../bundle/tests/fixtures/claude.json");
const LETTA: &[u8] = include_bytes!("../../../bundle/tests/fixtures/letta.af");

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

fn picture() -> Value {
    json!({ "role": "user", "content": [
        { "type": "text", "text": "what is this?" }, { "type": "image_url", "image_url": { "url": PIXEL } },
    ] })
}

fn message(told: &Told) -> String {
    told.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
}

impl Daemon {
    /// Says something after a history: the session, and the history with the answer.
    async fn say(&self, history: &[Value]) -> (String, Vec<Value>) {
        let told = self.post("/v1/chat/completions", &json!({ "model": "auto", "messages": history })).await;
        let told = told.told(false).await;
        assert_eq!(told.status, 200, "{told:?}");
        let answer = json!({ "role": "assistant", "content": told.json()["choices"][0]["message"]["content"] });
        (told.header("x-commonwatt-session").to_owned(), [history, &[answer]].concat())
    }

    async fn session(&self, arguments: &[&str]) -> Output {
        let mut command = command(self.home.path().into(), "127.0.0.1:9", &[]);
        command.args(["session"]).args(arguments).args(["--url", &self.base]).output().await.unwrap()
    }

    /// The same, where it must succeed, as the JSON that it prints.
    async fn done(&self, arguments: &[&str]) -> Value {
        let output = self.session(&[arguments, &["--json"]].concat()).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The same, where it must fail: what it says.
    async fn failed(&self, arguments: &[&str]) -> String {
        let output = self.session(arguments).await;
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    async fn import(&self, key: &str, query: &str, file: impl Into<reqwest::Body>) -> Told {
        let address = format!("{}/admin/v1/import{query}", self.base);
        self.http.post(address).bearer_auth(key).body(file).send().await.unwrap().told(false).await
    }

    async fn export(&self, key: &str, asked: &Value) -> reqwest::Response {
        let address = format!("{}/admin/v1/export", self.base);
        self.http.post(address).bearer_auth(key).json(asked).send().await.unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The key with which it signs.
    fn signing_key(&self) -> SigningKey {
        let text = std::fs::read_to_string(self.file("bundle.key")).unwrap();
        let PublicKey(seed) = format!("ed25519:{}", text.trim()).parse().unwrap();
        SigningKey::from_bytes(&seed)
    }
}

fn opened(path: &Path) -> Opened {
    read(&*std::fs::read(path).unwrap(), &Limits::default(), None).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn outcomes(report: &Value) -> Vec<&str> {
    report["sessions"].as_array().unwrap().iter().map(|line| line["outcome"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_conversation_with_branches_and_an_image_goes_on_in_another_daemon() {
    let sim = sim().await;
    let (alpha, beta) = (Start::default().openai(&sim).daemon().await, Start::default().openai(&sim).daemon().await);
    let (id, first) = alpha.say(&[picture()]).await;
    alpha.say(&[&first[..], &[user("and this?")]].concat()).await;
    let (_, whole) = alpha.say(&[&first[..], &[user("and that?")]].concat()).await;

    let file = alpha.file("mine.cwb");
    let path = file.to_str().unwrap();
    let told = alpha.done(&["export", &id, "-o", path]).await;
    assert_eq!((told["sessions"][0]["turns"].as_u64(), told["blobs"].as_u64()), (Some(6), Some(1)), "{told}");
    assert_eq!((mode(&file), mode(&alpha.file("bundle.key"))), (0o600, 0o600));
    assert!(alpha.failed(&["export", "--all", "-o", path]).await.contains("--force"));
    alpha.done(&["export", "--all", "-o", path, "--force"]).await;

    let signer = told["signer"].as_str().unwrap();
    let refused = beta.failed(&["import", path]).await;
    assert!(refused.contains(signer) && refused.contains("--trust"), "{refused}");
    let stranger = format!("ed25519:{}", "0".repeat(64));
    assert!(beta.failed(&["import", path, "--trust", &stranger]).await.contains(signer));
    assert_eq!(outcomes(&beta.done(&["import", path, "--trust", signer]).await), ["made"]);
    assert_eq!(mode(&beta.file("signers.toml")), 0o600);
    assert_eq!(outcomes(&beta.done(&["import", path]).await), ["unchanged"]);

    // Signed by beta, its manifest says who and when; with alpha's key, name and time it is the same file.
    let back = beta.file("back.cwb");
    beta.done(&["export", "--all", "-o", back.to_str().unwrap()]).await;
    let (came, went) = (opened(&file), opened(&back));
    assert_ne!(came.signer, went.signer);
    assert_eq!((&came.bundle.sessions, &came.bundle.blobs), (&went.bundle.sessions, &went.bundle.blobs));
    let (issuer, made_unix_s) = (came.bundle.issuer, came.bundle.made_unix_s);
    let mut again = Vec::new();
    let bundle = commonwatt_bundle::Bundle { issuer, made_unix_s, ..went.bundle };
    write(&bundle, &alpha.signing_key(), &mut again).unwrap();
    assert!(again == std::fs::read(&file).unwrap());

    let (there, _) = beta.say(&[&whole[..], &[user("go on")]].concat()).await;
    assert_eq!(there, id);
    beta.done(&["export", &id, "-o", back.to_str().unwrap(), "--force"]).await;
    assert_eq!(opened(&back).bundle.sessions[0].turns.len(), 8);
}

#[tokio::test]
async fn a_bundle_that_is_not_whole_is_refused_with_the_name_of_the_file() {
    let sim = sim().await;
    let daemon = Start::default().openai(&sim).daemon().await;
    let (id, _) = daemon.say(&[picture()]).await;
    let bundle = daemon.export(KEY, &json!({ "sessions": [id] })).await.bytes().await.unwrap();
    assert_eq!(outcomes(&daemon.import(KEY, "", bundle.clone()).await.json()), ["unchanged"]);

    let name = format!("sessions/{id}.jsonl");
    let at = bundle.windows(4).rposition(|window| window == b"what").unwrap();
    let mut tampered = bundle.to_vec();
    tampered[at] = b'W';
    let told = daemon.import(KEY, "", tampered).await;
    assert_eq!((told.status, message(&told).contains(&name)), (400, true), "{told:?}");
    let told = daemon.import(KEY, "", bundle.slice(..bundle.len() - 1_500)).await;
    assert_eq!((told.status, message(&told).contains("cut short")), (400, true), "{told:?}");
    for hostile in [&b"{}"[..], b"", b"[{\"mapping\":{\"a\":{\"parent\":\"a\"}}}", b"PK\x03\x04", &[0xff; 600]] {
        for query in ["", "?format=cwb", "?format=chatgpt", "?format=claude", "?format=letta"] {
            let told = daemon.import(KEY, query, hostile).await;
            assert_eq!((told.status, message(&told).is_empty()), (400, false), "{hostile:?} {query}: {told:?}");
        }
    }
    assert_eq!(daemon.import(KEY, "?format=zip", "x").await.status, 400);
    assert_eq!(daemon.import("cw-nobody", "", bundle).await.status, 401);
    assert_eq!(daemon.get("/admin/v1/import").await.status().as_u16(), 405);
    assert_eq!(daemon.export(KEY, &json!({ "sessions": ["nobody"] })).await.status().as_u16(), 404);
    assert_eq!(daemon.export(KEY, &json!({})).await.status().as_u16(), 400);
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused_before_it_is_read() {
    let daemon = Start::default().daemon().await;
    let address = daemon.base.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let asked = format!(
        "POST /admin/v1/import HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {KEY}\r\ncontent-length: 400000000\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn what_other_systems_export_is_brought_in_once() {
    let daemon = Start::default().daemon().await;
    for (format, file, sessions) in [("chatgpt", CHATGPT, 1), ("claude", CLAUDE, 2), ("letta", LETTA, 1)] {
        let named = format!("?format={format}");
        let first = daemon.import(KEY, "?format=auto", file).await.json();
        assert_eq!(first["format"], format);
        assert!(!first["skipped"].as_array().unwrap().is_empty(), "{first}");
        assert_eq!(outcomes(&first), vec!["made"; sessions], "{first}");
        let second = daemon.import(KEY, &named, file).await.json();
        assert_eq!(outcomes(&second), vec!["unchanged"; sessions], "{second}");
    }
}

#[tokio::test]
async fn another_key_takes_nothing_of_the_first_ones_along() {
    let sim = sim().await;
    let daemon = Start::default().openai(&sim).daemon().await;
    let (id, _) = daemon.say(&[user("mine")]).await;
    let bundle = daemon.export(KEY, &json!({ "sessions": "all" })).await.bytes().await.unwrap();
    let mut add = command(daemon.home.path().into(), "127.0.0.1:9", &[]);
    let made = add.args(["key", "add", "other", "--json", "--url", &daemon.base]).output().await.unwrap();
    let key = serde_json::from_slice::<Value>(&made.stdout).unwrap()["key"].as_str().unwrap().to_owned();

    let theirs = daemon.export(&key, &json!({ "sessions": "all" })).await.bytes().await.unwrap();
    assert!(read(&*theirs, &Limits::default(), None).unwrap().bundle.sessions.is_empty());
    assert_eq!(daemon.export(&key, &json!({ "sessions": [id] })).await.status().as_u16(), 404);
    let told = daemon.import(&key, "", bundle).await.json();
    assert_eq!(outcomes(&told), ["refused"], "{told}");
    assert_eq!(told["sessions"][0]["why"], "another session has its id here");
}
