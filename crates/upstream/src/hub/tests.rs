//! Stories about a hub that misbehaves. The hub is a server of our own that answers by script.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const FILE: &str = "/owner/tiny/resolve/main/tiny.gguf";

/// A request as the hub saw it.
#[derive(Clone, Debug)]
struct Seen {
    target: String,
    headers: BTreeMap<String, String>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn range_start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What the hub answers; `sent` bytes of the body leave before the line breaks.
#[derive(Clone, Debug, Default)]
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    sent: Option<usize>,
}

impl Reply {
    fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn body(self, body: &[u8]) -> Self {
        Self { body: body.to_vec(), ..self }
    }

    fn cut_after(self, sent: usize) -> Self {
        Self { sent: Some(sent), ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", self.status);
        if self.headers.iter().all(|(name, _)| *name != "content-length") {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let sent = self.sent.unwrap_or(self.body.len());
        [head.as_bytes(), b"\r\n", &self.body[..sent]].concat()
    }
}

/// A server that answers each request by a function of it and of how many came before.
struct Shop {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Shop {
    async fn open(answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { break };
                    head.push(byte);
                }
                let head = String::from_utf8(head).unwrap();
                let mut lines = head.lines();
                let target = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
                let headers = lines.filter_map(|line| line.split_once(": "));
                let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
                let request = Seen { target, headers };
                let before = log.lock().unwrap().len();
                log.lock().unwrap().push(request.clone());
                let _ = stream.write_all(&answer(&request, before).bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { addr, seen }
    }

    fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    fn hub(&self) -> Hub {
        Hub { pause: Duration::from_millis(1), ..Hub::new(&self.url(), Some("hf_token")).unwrap() }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn model() -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend((0..200_000_u32).flat_map(u32::to_le_bytes));
    bytes
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A store that keeps the model under `/cdn/` and honours ranges.
fn stored(request: &Seen, bytes: &[u8]) -> Reply {
    match request.range_start().filter(|_| request.header("if-range").is_none_or(|tag| tag == "\"v1\"")) {
        Some(start) if start >= bytes.len() => {
            Reply::status(416).header("content-range", format!("bytes */{}", bytes.len()))
        }
        Some(start) => Reply::status(206)
            .header("content-range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()))
            .header("etag", "\"v1\"")
            .body(&bytes[start..]),
        None => Reply::status(200).header("etag", "\"v1\"").body(bytes),
    }
}

/// The hub itself: it sends on to the store, and says what the file must be.
fn sent_on(bytes: &[u8]) -> Reply {
    Reply::status(302)
        .header("location", "/cdn/tiny")
        .header("x-linked-etag", format!("\"{}\"", sum(bytes)))
        .header("x-linked-size", bytes.len().to_string())
        .header("x-repo-commit", "c0ffee")
}

struct Pull {
    vault: tempfile::TempDir,
    result: Result<Pulled, HubError>,
    progress: Vec<Progress>,
}

impl Pull {
    fn error(&self) -> String {
        self.result.as_ref().expect_err("it fails").to_string()
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.vault.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

async fn pull(hub: &Hub, text: &str, vault: tempfile::TempDir) -> Pull {
    let mut progress = Vec::new();
    let wanted = hub.wanted(text).unwrap();
    let result = hub.pull(&wanted, vault.path(), &mut |step| progress.push(step)).await;
    Pull { vault, result, progress }
}

fn vault() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn a_file_is_pulled_checked_and_remembered() {
    let bytes = model();
    let shop = Shop::open({
        let bytes = bytes.clone();
        move |request, _| match request.target.as_str() {
            FILE => sent_on(&bytes),
            "/cdn/tiny" => stored(request, &bytes),
            _ => Reply::status(200).body(br#"{"tags":["gguf","license:apache-2.0"],"siblings":[]}"#),
        }
    })
    .await;
    let pull = pull(&shop.hub(), "owner/tiny/tiny.gguf", vault()).await;
    let pulled = pull.result.as_ref().unwrap();
    assert_eq!((pulled.bytes, &pulled.sha256), (bytes.len() as u64, &sum(&bytes)));
    assert!(pulled.announced && !pulled.was_there);
    assert_eq!(std::fs::read(&pulled.path).unwrap(), bytes);
    assert_eq!(pull.files(), ["tiny.gguf", "tiny.gguf.origin.json", "tiny.gguf.sha256"]);
    assert_eq!(checksum_of(&pulled.path), Some(sum(&bytes)));
    let origin = origin_of(&pulled.path).unwrap();
    assert_eq!((origin.commit.as_deref(), origin.licence.as_deref()), (Some("c0ffee"), Some("apache-2.0")));
    assert_eq!(pull.progress.first(), Some(&Progress::Begun { total: Some(bytes.len() as u64), have: 0 }));
    assert_eq!(pull.progress.last(), Some(&Progress::At(bytes.len() as u64)));
}

#[tokio::test]
async fn the_token_is_sent_to_the_hub_and_to_nobody_else() {
    let bytes = model();
    let store = Shop::open({
        let bytes = bytes.clone();
        move |request, _| stored(request, &bytes)
    })
    .await;
    let elsewhere = format!("{}/cdn/tiny", store.url());
    let shop = Shop::open(move |_, _| Reply::status(302).header("location", elsewhere.clone())).await;
    pull(&shop.hub(), "owner/tiny/tiny.gguf", vault()).await.result.unwrap();
    assert_eq!(shop.seen()[0].header("authorization"), Some("Bearer hf_token"));
    assert_eq!(store.seen()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_line_that_breaks_is_taken_up_where_it_broke() {
    let bytes = model();
    let shop = Shop::open({
        let bytes = bytes.clone();
        move |request, before| match (request.target.as_str(), before) {
            (FILE, _) => sent_on(&bytes),
            ("/cdn/tiny", 1) => stored(request, &bytes).cut_after(300_000),
            ("/cdn/tiny", 3) => stored(request, &bytes).cut_after(100_000),
            _ => stored(request, &bytes),
        }
    })
    .await;
    let pull = pull(&shop.hub(), "owner/tiny/tiny.gguf", vault()).await;
    assert_eq!(std::fs::read(&pull.result.as_ref().unwrap().path).unwrap(), bytes);
    let starts: Vec<_> = shop.seen().iter().filter(|s| s.target == "/cdn/tiny").map(Seen::range_start).collect();
    assert_eq!(starts, [None, Some(300_000), Some(400_000)]);
    assert_eq!(shop.seen()[3].header("if-range"), Some("\"v1\""));
    assert_eq!(pull.progress.iter().filter(|step| matches!(step, Progress::Broken { .. })).count(), 2);
}

#[tokio::test]
async fn a_pull_that_was_given_up_goes_on_next_time() {
    let bytes = model();
    let broken = {
        let bytes = bytes.clone();
        move |request: &Seen, before: usize| match before {
            0 => stored(request, &bytes).cut_after(300_000),
            1..=9 => Reply::status(503),
            _ => stored(request, &bytes),
        }
    };
    let shop = Shop::open(broken).await;
    let first = pull(&shop.hub(), "owner/tiny/tiny.gguf", vault()).await;
    assert!(first.error().contains("status 503"), "{}", first.error());
    assert_eq!(first.files(), ["tiny.gguf.part", "tiny.gguf.part.json"]);
    while shop.seen().len() < 10 {
        let _ = reqwest::Client::builder().no_proxy().build().unwrap().get(shop.url()).send().await;
    }
    let second = pull(&shop.hub(), "owner/tiny/tiny.gguf", first.vault).await;
    assert_eq!(std::fs::read(&second.result.as_ref().unwrap().path).unwrap(), bytes);
    assert_eq!(second.progress.first(), Some(&Progress::Begun { total: Some(bytes.len() as u64), have: 300_000 }));
    assert_eq!(shop.seen()[10].range_start(), Some(300_000));
}

#[tokio::test]
async fn a_hub_that_ignores_ranges_sends_all_of_it_again() {
    let bytes = model();
    let shop = Shop::open({
        let bytes = bytes.clone();
        move |_, before| {
            let whole = Reply::status(200).header("etag", "\"v1\"").body(&bytes);
            if before == 0 { whole.cut_after(300_000) } else { whole }
        }
    })
    .await;
    let pull = pull(&shop.hub(), "owner/tiny/tiny.gguf", vault()).await;
    assert_eq!(std::fs::read(&pull.result.as_ref().unwrap().path).unwrap(), bytes);
}

#[tokio::test]
async fn a_part_of_another_version_is_thrown_away() {
    let (old, new) = (model(), [model(), b"more".to_vec()].concat());
    let shop = Shop::open({
        let new = new.clone();
        move |request, before| match (request.target.as_str(), before) {
            (FILE, 0) => sent_on(&old),
            (FILE, _) => sent_on(&new),
            (_, 1) => stored(request, &old).cut_after(300_000),
            // This store knows no `If-Range`, and sends the rest of the new file.
            (_, _) => {
                let start = request.range_start().unwrap_or(0);
                let range = format!("bytes {start}-{}/{}", new.len() - 1, new.len());
                Reply::status(206).header("content-range", range).body(&new[start..])
            }
        }
    })
    .await;
    let pull = pull(&shop.hub(), "owner/tiny/tiny.gguf", vault()).await;
    assert_eq!(std::fs::read(&pull.result.as_ref().unwrap().path).unwrap(), new);
}

#[tokio::test]
async fn what_is_not_what_was_announced_is_deleted() {
    let bytes = model();
    let shop = Shop::open(move |request, _| match request.target.as_str() {
        FILE => sent_on(&bytes),
        _ => {
            let mut damaged = bytes.clone();
            damaged[1_000] ^= 1;
            stored(request, &damaged)
        }
    })
    .await;
    let pull = pull(&shop.hub(), "owner/tiny/tiny.gguf", vault()).await;
    assert!(pull.error().starts_with("what came is damaged"), "{}", pull.error());
    assert!(pull.files().is_empty(), "{:?}", pull.files());
}

#[tokio::test]
async fn a_page_of_text_is_not_taken_for_a_model() {
    let shop = Shop::open(|_, _| Reply::status(200).body(b"<html>please sign in</html>")).await;
    let pull = pull(&shop.hub(), "owner/tiny/tiny.gguf", vault()).await;
    assert!(pull.error().contains("is no GGUF file (it begins with `<htm`)"), "{}", pull.error());
    assert!(pull.files().is_empty(), "{:?}", pull.files());
}

#[tokio::test]
async fn refusals_say_what_to_do_and_leave_nothing_behind() {
    for (status, said) in [
        (404, "the hub has no `"),
        (401, "set `HF_TOKEN` to a token of yours"),
        (403, "accept its terms"),
        (429, "come back later"),
        (500, "answers with status 500"),
    ] {
        let shop = Shop::open(move |_, _| Reply::status(status)).await;
        let pull = pull(&shop.hub(), "owner/tiny/tiny.gguf", vault()).await;
        assert!(pull.error().contains(said), "{status}: {}", pull.error());
        assert!(pull.files().is_empty(), "{:?}", pull.files());
    }
}

#[tokio::test]
async fn a_hub_that_is_not_there_is_said_so_at_once() {
    let hub = Hub::new("http://127.0.0.1:1", None).unwrap();
    let pull = pull(&hub, "owner/tiny/tiny.gguf", vault()).await;
    assert!(pull.error().starts_with("`127.0.0.1` cannot be reached"), "{}", pull.error());
}

#[tokio::test]
async fn a_circle_of_redirects_is_left() {
    let shop = Shop::open(|_, _| Reply::status(302).header("location", "/again")).await;
    let pull = pull(&shop.hub(), "owner/tiny/tiny.gguf", vault()).await;
    assert!(pull.error().contains("it has sent on too often"), "{}", pull.error());
}

#[tokio::test]
async fn a_model_that_is_there_is_not_fetched_again_and_another_one_is_not_overwritten() {
    let bytes = model();
    let shop = Shop::open({
        let bytes = bytes.clone();
        move |request, _| if request.target == FILE { sent_on(&bytes) } else { stored(request, &bytes) }
    })
    .await;
    let place = vault();
    std::fs::write(place.path().join("tiny.gguf"), &bytes).unwrap();
    let same = pull(&shop.hub(), "owner/tiny/tiny.gguf", place).await;
    assert!(same.result.as_ref().unwrap().was_there);

    std::fs::write(same.vault.path().join("tiny.gguf"), b"GGUF, but mine").unwrap();
    let other = pull(&shop.hub(), "owner/tiny/tiny.gguf", same.vault).await;
    assert!(other.error().starts_with("another file lies at"), "{}", other.error());
    assert_eq!(std::fs::read(other.vault.path().join("tiny.gguf")).unwrap(), b"GGUF, but mine");
}

#[tokio::test]
async fn two_pulls_of_one_file_do_not_write_into_each_other() {
    let shop = Shop::open(|_, _| Reply::status(503)).await;
    let hub = shop.hub();
    let place = vault();
    let wanted = hub.wanted("owner/tiny/tiny.gguf").unwrap();
    let (url, name) = hub.location(&wanted).unwrap();
    let _held = Part::open(&place.path().join(name), &url).await.unwrap();
    let second = pull(&hub, "owner/tiny/tiny.gguf", place).await;
    assert!(second.error().contains("is being pulled by another process"), "{}", second.error());
}

#[tokio::test]
async fn a_folder_that_may_not_be_written_to_is_named() {
    let shop = Shop::open(|_, _| Reply::status(503)).await;
    let hub = shop.hub();
    let place = vault();
    std::fs::write(place.path().join("file"), "").unwrap();
    let wanted = hub.wanted("owner/tiny/tiny.gguf").unwrap();
    let error = hub.pull(&wanted, &place.path().join("file/vault"), &mut |_| {}).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot write `") && error.contains("file/vault"), "{error}");
}

#[tokio::test]
async fn a_repository_lists_its_models_with_size_checksum_and_licence() {
    let sum = "ab".repeat(32);
    let answer = format!(
        r#"{{"sha":"c0ffee","tags":["license:mit"],"unknown":1,"siblings":[{{"rfilename":"README.md","size":9}},
            {{"rfilename":"b.gguf","size":5,"lfs":{{"sha256":"{sum}","size":5}}}},{{"rfilename":"a/a.GGUF"}}]}}"#
    );
    let shop = Shop::open(move |_, _| Reply::status(200).body(answer.as_bytes())).await;
    let listing = shop.hub().list("owner/tiny", "v1").await.unwrap();
    assert_eq!(shop.seen()[0].target, "/api/models/owner/tiny/revision/v1?blobs=true");
    let files = [
        RemoteFile { path: "a/a.GGUF".into(), bytes: None, sha256: None },
        RemoteFile { path: "b.gguf".into(), bytes: Some(5), sha256: Some("ab".repeat(32)) },
    ];
    assert_eq!(listing.files, files);
    assert_eq!((listing.commit.as_deref(), listing.licence.as_deref()), (Some("c0ffee"), Some("mit")));
}

#[test]
fn what_people_write_is_understood() {
    let hub = Hub::new("https://huggingface.co", None).unwrap();
    let file = |revision: &str, path: &str| Wanted::File {
        repository: "o/r".into(),
        revision: revision.into(),
        path: path.into(),
    };
    for (text, wanted) in [
        ("o/r", Wanted::Repository { repository: "o/r".into(), revision: "main".into() }),
        ("o/r@v2", Wanted::Repository { repository: "o/r".into(), revision: "v2".into() }),
        ("o/r/f.gguf", file("main", "f.gguf")),
        ("o/r/Q4/f.gguf@refs", file("refs", "Q4/f.gguf")),
        ("https://huggingface.co/o/r/blob/main/f.gguf", file("main", "f.gguf")),
        ("https://huggingface.co/o/r/resolve/v1/f.gguf?download=true", file("v1", "f.gguf")),
        ("https://huggingface.co/o/r", Wanted::Repository { repository: "o/r".into(), revision: "main".into() }),
        ("https://example.org/f.gguf", Wanted::Address(Url::parse("https://example.org/f.gguf").unwrap())),
    ] {
        assert_eq!(hub.wanted(text).unwrap(), wanted, "{text}");
    }
    for text in ["", "pilot", "o/", "o//f.gguf", "o/../f.gguf", "ftp://h/f.gguf", "o/r@"] {
        assert!(hub.wanted(text).is_err(), "{text}");
    }
}

#[test]
fn a_line_that_is_not_encrypted_is_for_the_neighbourhood_only() {
    assert!(Hub::new("http://hub.example.org", None).is_err());
    for near in ["http://127.0.0.1:8000", "http://192.168.1.4", "http://nas:8000", "http://hub.local", "http://[::1]:9"]
    {
        assert!(Hub::new(near, None).is_ok(), "{near}");
    }
    assert!(Hub::new("huggingface.co", None).is_err());
}

#[test]
fn a_name_that_leads_out_of_the_vault_is_none() {
    let name = |url: &str| name_of(&Url::parse(url).unwrap());
    assert_eq!(name("https://h/a/Tiny%20Q4.gguf?x=1"), Some("Tiny Q4.gguf".into()));
    assert_eq!(name("https://h/a/x.GGUF"), Some("x.gguf".into()));
    for bad in ["https://h/a/..%2Fx.gguf", "https://h/.gguf", "https://h/.x.gguf", "https://h/x.bin", "https://h/"] {
        assert_eq!(name(bad), None, "{bad}");
    }
}
