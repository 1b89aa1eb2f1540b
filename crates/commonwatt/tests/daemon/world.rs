//! A daemon as a stranger meets it: the real binary on a free port, with a home of its own and simulated suppliers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use commonwatt_sim::{Dialect, Running, Script, Settings, Sim};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

pub(crate) const KEY: &str = "cw-a-key-for-tests";

/// Waits short enough for a test, for the suppliers that misbehave. The engine's own model takes the time it needs to
/// load, which on a busy machine is more.
const QUICK: &str = "
[providers.openai.timeouts]
connect_s = 1
headers_s = 1
first_content_s = 1
idle_s = 1
[providers.anthropic.timeouts]
connect_s = 1
headers_s = 1
first_content_s = 1
idle_s = 1
";

pub(crate) struct Daemon {
    pub(crate) base: String,
    pub(crate) home: TempDir,
    pub(crate) http: reqwest::Client,
    child: Child,
}

/// What a daemon is started with.
#[derive(Default)]
pub(crate) struct Start {
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) config: String,
}

impl Start {
    pub(crate) fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn config(mut self, text: &str) -> Self {
        self.config.push_str(text);
        self
    }

    /// A simulated supplier behind OpenAI's name, on the frontier.
    pub(crate) fn openai(self, sim: &Running) -> Self {
        self.variable("OPENAI_API_KEY", "sk-sim").variable("OPENAI_BASE_URL", sim.base_url(Dialect::ChatCompletions))
    }

    /// A simulated supplier behind Anthropic's name, on the frontier.
    pub(crate) fn anthropic(self, sim: &Running) -> Self {
        self.variable("ANTHROPIC_API_KEY", "sk-sim").variable("ANTHROPIC_BASE_URL", sim.base_url(Dialect::Messages))
    }

    /// Waits of a second instead of ten.
    pub(crate) fn quick(self) -> Self {
        self.config(QUICK)
    }

    pub(crate) async fn daemon(self) -> Daemon {
        self.at(tempfile::tempdir().unwrap()).await
    }

    /// In a home that another daemon may have left.
    pub(crate) async fn at(self, home: TempDir) -> Daemon {
        let _left = std::fs::remove_file(home.path().join("daemon.json"));
        std::fs::write(home.path().join("commonwatt.toml"), &self.config).unwrap();
        let child = command(home.path().into(), "127.0.0.1:0", &self.variables)
            .arg("serve")
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let base = announced(&home).await;
        Daemon { base, home, http: reqwest::Client::new(), child }
    }
}

/// The program with a clean environment.
pub(crate) fn command(home: PathBuf, listen: &str, variables: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commonwatt"));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("COMMONWATT_HOME", home).env("COMMONWATT_LISTEN", listen);
    command.env("COMMONWATT_KEY", KEY).env("COMMONWATT_LOG", "error");
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command
}

/// The address, once the daemon has written it down.
async fn announced(home: &TempDir) -> String {
    let file = home.path().join("daemon.json");
    let by = Instant::now() + Duration::from_secs(60);
    while Instant::now() < by {
        let note = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        if let Some(url) = note.as_ref().and_then(|note| note["url"].as_str()) {
            return url.to_owned();
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("the daemon did not come up");
}

impl Daemon {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Tells it to go (`TERM`), or kills it (`KILL`), and waits until it is gone; its home.
    pub(crate) async fn ended_by(mut self, signal: &str) -> TempDir {
        let pid = self.pid().to_string();
        assert!(std::process::Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        self.child.wait().await.unwrap();
        self.home
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        let request = self.http.post(format!("{}{path}", self.base)).bearer_auth(KEY);
        request.timeout(Duration::from_secs(60)).json(body).send().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(format!("{}{path}", self.base)).bearer_auth(KEY).send().await.unwrap()
    }

    pub(crate) async fn chat(&self, model: &str, stream: bool) -> Told {
        self.post("/v1/chat/completions", &question(model, stream)).await.told(stream).await
    }

    pub(crate) async fn message(&self, model: &str, stream: bool) -> Told {
        self.post("/v1/messages", &question(model, stream)).await.told(stream).await
    }

    /// Process ids of the engine's children.
    pub(crate) fn engine_pids(&self) -> Vec<u32> {
        let children = format!("/proc/{0}/task", self.pid());
        let tasks = std::fs::read_dir(children).unwrap().flatten();
        let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        lists.flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()).collect()
    }
}

/// A short question that both dialects understand.
pub(crate) fn question(model: &str, stream: bool) -> Value {
    json!({ "model": model, "stream": stream, "max_tokens": 24,
            "messages": [{ "role": "user", "content": "What is Commonwatt?" }] })
}

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

pub(crate) trait Tell {
    async fn told(self, stream: bool) -> Told;
}

impl Tell for reqwest::Response {
    async fn told(self, _stream: bool) -> Told {
        let (status, headers) = (self.status().as_u16(), self.headers().clone());
        Told { status, headers, body: self.text().await.unwrap_or_default() }
    }
}

impl Told {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The events of a stream, without their framing.
    pub(crate) fn events(&self) -> Vec<&str> {
        self.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect()
    }

    /// Whether it is a complete and valid answer in either dialect, streamed or not, with content.
    pub(crate) fn is_complete(&self) -> bool {
        if self.status != 200 {
            return false;
        }
        if !self.header("content-type").starts_with("text/event-stream") {
            let body = self.json();
            let text = body["choices"][0]["message"]["content"].as_str().or(body["content"][0]["text"].as_str());
            return text.is_some_and(|text| !text.is_empty());
        }
        let events = self.events();
        let parsed: Vec<Value> =
            events.iter().filter(|e| **e != "[DONE]").map(|event| serde_json::from_str(event).unwrap()).collect();
        let openai_text =
            parsed.iter().any(|e| e["choices"][0]["delta"]["content"].as_str().is_some_and(|t| !t.is_empty()));
        let openai_end = parsed.iter().any(|e| e["choices"][0]["finish_reason"].is_string());
        let anthropic_text = parsed.iter().any(|e| e["delta"]["text"].as_str().is_some_and(|t| !t.is_empty()));
        let anthropic_end = parsed.last().is_some_and(|e| e["type"] == "message_stop");
        let errors = parsed.iter().any(|e| e["error"].is_object());
        let openai = openai_text && openai_end && events.last() == Some(&"[DONE]");
        !errors && (openai || anthropic_text && anthropic_end)
    }
}

pub(crate) async fn sim() -> Running {
    Sim::start(Settings::default()).await.unwrap()
}

/// A supplier that always does the same.
pub(crate) async fn sim_that(words: &str) -> Running {
    let sim = sim().await;
    let script = Script { cycle: true, ..Script::from_words(words).unwrap() };
    sim.script(script).unwrap();
    sim
}

/// An address at which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}
