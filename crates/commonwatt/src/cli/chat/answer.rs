//! An answer as it arrives from the daemon, event by event.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use commonwatt_wire::sse::{Event, Framer};
use reqwest::{Method, Response};
use serde::Deserialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::conversation::Request;
use super::screen::{Screen, Voice};
use crate::admin::Admin;

/// An answer, or as much of it as came.
#[derive(Debug)]
pub(super) struct Answer {
    /// What the model said.
    pub(super) text: String,
    /// Who said it; nothing when nobody did.
    pub(super) served: Option<Served>,
    /// Tokens of the answer, where somebody counted.
    pub(super) tokens: Option<u64>,
    /// From the question to the end.
    pub(super) elapsed: Duration,
    /// How it ended.
    pub(super) ending: Ending,
}

/// Who gave an answer, by the response's headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Served {
    /// `provider/model`.
    pub(super) deployment: String,
    /// Its tier.
    pub(super) tier: String,
    /// How many were asked.
    pub(super) attempts: u64,
    /// The session in which it is kept; nothing where it is not.
    pub(super) session: String,
}

/// How an answer ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// As the model wanted.
    Complete,
    /// The user had enough.
    Stopped,
    /// The connection, or whoever answered, broke off in the middle.
    Broken(String),
    /// There was none.
    Refused(anyhow::Error),
}

/// Asks, and shows the answer as it comes. Ctrl-C ends it and closes the connection, so that nobody goes on for nothing.
///
/// # Errors
/// Only when the terminal is gone.
pub(super) async fn ask(admin: &Admin, request: &Request, screen: &mut Screen) -> anyhow::Result<Answer> {
    let started = Instant::now();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let nothing =
        |ending| Answer { text: String::new(), served: None, tokens: None, elapsed: started.elapsed(), ending };
    let mut sending = admin.request(Method::POST, "/v1/chat/completions").json(&request.body);
    if let Some((name, value)) = &request.session {
        sending = sending.header(*name, value);
    }
    let sending = admin.send(sending);
    let response = tokio::select! {
        response = sending => response,
        _ = interrupt.recv() => return Ok(nothing(Ending::Stopped)),
    };
    let response = match response {
        Ok(response) => response,
        Err(error) => return Ok(nothing(Ending::Refused(error))),
    };
    let served = Some(Served::of(&response));
    let mut reading = Reading { screen, text: String::new(), tokens: None, is_over: false };
    let ending = reading.read(response, &mut interrupt).await?;
    let Reading { text, tokens, .. } = reading;
    screen.end()?;
    Ok(Answer { text, served, tokens, elapsed: started.elapsed(), ending })
}

/// The names that a client may write in `model`.
///
/// # Errors
/// One sentence, when the daemon does not answer.
pub(super) async fn models(admin: &Admin) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Line>,
    }
    #[derive(Deserialize)]
    struct Line {
        id: String,
    }
    let response = admin.send(admin.request(Method::GET, "/v1/models")).await?;
    let list: List = response.json().await.map_err(|_| anyhow!("the daemon's list of models is not understood"))?;
    Ok(list.data.into_iter().map(|line| crate::term::tame(&line.id)).collect())
}

impl Served {
    fn of(response: &Response) -> Self {
        let header = |name: &str| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            crate::term::tame(value.unwrap_or_default())
        };
        Self {
            deployment: header("x-commonwatt-deployment"),
            tier: header("x-commonwatt-tier"),
            attempts: header("x-commonwatt-attempts").parse().unwrap_or(1),
            session: header("x-commonwatt-session"),
        }
    }
}

/// What has been read so far.
struct Reading<'a> {
    screen: &'a mut Screen,
    text: String,
    tokens: Option<u64>,
    is_over: bool,
}

impl Reading<'_> {
    async fn read(&mut self, mut response: Response, interrupt: &mut Signal) -> anyhow::Result<Ending> {
        let mut framer = Framer::default();
        loop {
            while let Some(event) = framer.next() {
                if let Some(ending) = self.take(&event)? {
                    return Ok(ending);
                }
            }
            let chunk = tokio::select! {
                chunk = response.chunk() => chunk,
                _ = interrupt.recv() => return Ok(Ending::Stopped),
            };
            match chunk {
                Ok(Some(chunk)) => {
                    if let Err(error) = framer.push(chunk) {
                        return Ok(Ending::Broken(error.to_string()));
                    }
                }
                Ok(None) if self.is_over => return Ok(Ending::Complete),
                Ok(None) => return Ok(Ending::Broken("the answer ended before it was complete".to_owned())),
                Err(_) => return Ok(Ending::Broken("the connection to the daemon broke".to_owned())),
            }
        }
    }

    /// One event; how the answer ended, when it is the last.
    fn take(&mut self, event: &Event) -> anyhow::Result<Option<Ending>> {
        let data = event.data();
        if data == b"[DONE]" {
            return Ok(Some(Ending::Complete));
        }
        if data.is_empty() {
            return Ok(None);
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk>(data) else {
            return Ok(Some(Ending::Broken("the daemon sent something that is not understood".to_owned())));
        };
        if let Some(error) = chunk.error {
            return Ok(Some(Ending::Broken(error.message)));
        }
        if let Some(usage) = chunk.usage {
            self.tokens = Some(usage.completion_tokens);
        }
        for choice in chunk.choices {
            if let Some(thought) = choice.delta.reasoning_content.filter(|text| !text.is_empty()) {
                self.screen.show(Voice::Thought, &thought)?;
            }
            if let Some(text) = choice.delta.content.filter(|text| !text.is_empty()) {
                self.screen.show(Voice::Answer, &text)?;
                self.text.push_str(&text);
            }
            self.is_over |= choice.finish_reason.is_some();
        }
        Ok(None)
    }
}

/// A chunk of a streamed answer, as far as it matters here.
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<ErrorLine>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    completion_tokens: u64,
}

#[derive(Deserialize)]
struct ErrorLine {
    message: String,
}
