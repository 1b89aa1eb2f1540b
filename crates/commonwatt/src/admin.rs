//! The admin API of a running daemon, as a client sees it.
//!
//! What the daemon says is kept as it was sent, for `--json`; people are shown what the types here read of it. Fields
//! that are not known here do not matter, so that a newer daemon can be asked by an older command line.

pub(crate) mod sessions;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;
use serde_json::Value;

use crate::config;
use crate::env::{self, Env};
use crate::home::{FirstKey, KeyOrigin};
use crate::settings::{LISTEN, Origin};
use crate::table::Row;

/// A daemon that answers at all connects within this time.
const CONNECT: Duration = Duration::from_secs(5);
/// What the admin API does takes no longer than this; a reload looks for servers on this machine.
const ANSWER: Duration = Duration::from_secs(30);

/// A daemon, and the key to it.
#[derive(Debug)]
pub(crate) struct Admin {
    url: String,
    key: Option<FirstKey>,
    http: reqwest::Client,
}

impl Admin {
    /// The daemon at `url`, else the one that runs in the home folder, else the one that would be started.
    ///
    /// # Errors
    /// When there is a key that must not be used.
    pub(crate) fn find(origin: &Origin, url: Option<&str>) -> anyhow::Result<Self> {
        let url = match url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => origin.home.daemon().map_or_else(|| planned_url(origin), |daemon| daemon.url),
        };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            bail!("`{url}` is not an address of a daemon: write `http://host:port`");
        }
        let key = origin.home.first_key(&origin.env)?;
        // A proxy has no business between a daemon and its own command line.
        let http = reqwest::Client::builder().connect_timeout(CONNECT).no_proxy();
        let http = http.redirect(reqwest::redirect::Policy::none()).build().context("cannot set up HTTP")?;
        Ok(Self { url, key, http })
    }

    /// Where the daemon is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How the daemon is.
    ///
    /// # Errors
    /// One sentence, when it does not answer.
    pub(crate) async fn status(&self) -> anyhow::Result<Value> {
        json(self.send(self.request(Method::GET, "/admin/v1/status").timeout(ANSWER)).await?).await
    }

    /// What it would do with a request.
    ///
    /// # Errors
    /// One sentence, when it does not answer or refuses the request.
    pub(crate) async fn explain(&self, dialect: &str, body: Vec<u8>) -> anyhow::Result<Value> {
        let path = format!("/admin/v1/explain?dialect={dialect}");
        let request = self.request(Method::POST, &path).header("content-type", "application/json");
        json(self.send(request.body(body).timeout(ANSWER)).await?).await
    }

    /// Makes it read its configuration and keys anew.
    ///
    /// # Errors
    /// One sentence, when it does not answer or what it read is wrong.
    pub(crate) async fn reload(&self) -> anyhow::Result<Value> {
        json(self.send(self.request(Method::POST, "/admin/v1/reload").timeout(ANSWER)).await?).await
    }

    /// A request with the key.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.key {
            Some(first) => request.bearer_auth(first.key.reveal()),
            None => request,
        }
    }

    /// Sends a request, and returns the response if it is a good one.
    ///
    /// # Errors
    /// One sentence, in the daemon's own words where it has some.
    pub(crate) async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(response).await) }
    }

    /// Sends a request for something that may not be there: `None` when it is not.
    ///
    /// # Errors
    /// The same.
    async fn send_for(&self, request: RequestBuilder) -> anyhow::Result<Option<Response>> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        match response.status().as_u16() {
            200..300 => Ok(Some(response)),
            404 => Ok(None),
            _ => Err(self.refused(response).await),
        }
    }

    /// What a response that is no good one says.
    async fn refused(&self, response: Response) -> anyhow::Error {
        let status = response.status().as_u16();
        let is_json =
            response.headers().get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let said = response.bytes().await.unwrap_or_default();
        let message = serde_json::from_slice::<Refused>(&said).ok().map(|refused| refused.error.message);
        match (status, message) {
            (401, _) => self.wrong_key(),
            (_, Some(message)) => anyhow!(message),
            (_, None) if is_json => anyhow!("the daemon at {} answers with status {status}", self.url),
            (_, None) => anyhow!(
                "something answers at {} that is no Commonwatt (status {status}): name the daemon with `--url`",
                self.url
            ),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let url = &self.url;
        if error.is_connect() {
            return anyhow!("no daemon answers at {url}: start one with `commonwatt serve`");
        }
        if error.is_timeout() {
            return anyhow!("the daemon at {url} takes too long to answer: see its log, or start it again");
        }
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        anyhow!("the connection to the daemon at {url} broke: {cause}")
    }

    fn wrong_key(&self) -> anyhow::Error {
        let url = &self.url;
        match self.key.as_ref().map(|first| &first.origin) {
            Some(KeyOrigin::Environment) => {
                anyhow!("the daemon at {url} does not know the key in `COMMONWATT_KEY`: set it to one that it knows")
            }
            Some(KeyOrigin::File(path)) => anyhow!(
                "the daemon at {url} does not know the key in `{}`: set `COMMONWATT_KEY` to one that it knows",
                path.display()
            ),
            None => anyhow!("there is no key for the daemon at {url} in the home folder: set `COMMONWATT_KEY` to one"),
        }
    }
}

/// Where a daemon would listen, if one were started now. A configuration that is wrong does not hinder asking.
fn planned_url(origin: &Origin) -> String {
    let in_file = || {
        let path = origin.file();
        let text = std::fs::read_to_string(&path).ok()?;
        config::parse(&path, &text).ok()?.0.listen
    };
    let preset = |env: &Env| env.get(env::LISTEN).map(str::to_owned);
    let listen = preset(&origin.env).or_else(in_file).unwrap_or_else(|| LISTEN.to_owned());
    listen.parse().map_or_else(|_| format!("http://{listen}"), crate::welcome::url)
}

async fn json(response: Response) -> anyhow::Result<Value> {
    let url = response.url().clone();
    response
        .json()
        .await
        .map_err(|_| anyhow!("something answers at {url} that is no Commonwatt: name the daemon with `--url`"))
}

/// An error body, the same in both dialects.
#[derive(Deserialize)]
struct Refused {
    error: RefusedError,
}

#[derive(Deserialize)]
struct RefusedError {
    message: String,
}

/// What `GET /admin/v1/status` says, as far as people are shown it.
#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    /// The daemon's version.
    pub(crate) version: String,
    /// How long it has been running.
    pub(crate) uptime_s: u64,
    /// Where it listens.
    pub(crate) listen: String,
    /// Its home folder.
    pub(crate) home: String,
    /// Where its first key lies.
    pub(crate) key_file: String,
    /// How often its configuration has been put in force.
    pub(crate) generation: u64,
    /// Calls under way.
    pub(crate) calls_under_way: u64,
    /// The bus; `None` where nothing is kept, or the daemon is too old to say.
    #[serde(default)]
    pub(crate) bus: Option<BusLine>,
    /// What it can send calls to.
    pub(crate) deployments: Vec<DeploymentLine>,
    /// Providers that it could use.
    #[serde(default)]
    pub(crate) absent: Vec<AbsentLine>,
    /// The operator's routes.
    #[serde(default)]
    pub(crate) routes: Vec<String>,
}

/// Where sessions are kept.
#[derive(Debug, Deserialize)]
pub(crate) struct BusLine {
    /// How many the key has, as far as they were counted.
    pub(crate) sessions: u64,
    /// Whether there are more.
    #[serde(default)]
    pub(crate) and_more: bool,
    /// Bytes of the file.
    pub(crate) bytes: Option<u64>,
}

/// A deployment.
#[derive(Debug, Deserialize)]
pub(crate) struct DeploymentLine {
    /// `provider/model`.
    pub(crate) id: String,
    /// Its tier.
    pub(crate) tier: String,
    /// Whether `auto` uses it.
    pub(crate) in_auto: bool,
    /// Where it runs.
    #[serde(rename = "where")]
    pub(crate) place: String,
    /// Under whose law.
    pub(crate) law: String,
    /// How it is.
    pub(crate) state: String,
    /// Prompt and answer together, in tokens.
    pub(crate) window_tokens: Option<u64>,
    /// What it can do: `yes`, `no`, `unknown`.
    #[serde(default)]
    pub(crate) abilities: BTreeMap<String, String>,
}

/// A provider that could be used.
#[derive(Debug, Deserialize)]
pub(crate) struct AbsentLine {
    /// Its name.
    pub(crate) provider: String,
    /// What to do.
    pub(crate) hint: String,
}

impl DeploymentLine {
    /// As a row of the fleet's table.
    pub(crate) fn row(&self) -> Row {
        Row {
            tier: self.tier.clone(),
            deployment: self.id.clone(),
            place: self.place.clone(),
            law: self.law.clone(),
            state: self.state.clone(),
        }
    }
}
