//! A client that sees what is really on the wire: raw TCP, no HTTP library.

use std::io::ErrorKind;
use std::time::Duration;

use commonwatt_sim::{Dialect, Running, Settings, Sim};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::spoken::spoken;

/// How long a client waits for more before it calls a connection silent.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a client saw.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    /// Status line and headers, in lower case; empty if none came.
    pub(crate) head: String,
    /// The body, with the chunked encoding taken off.
    pub(crate) body: Vec<u8>,
    /// The sizes of its chunks.
    pub(crate) chunks: Vec<usize>,
    pub(crate) end: End,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum End {
    /// A complete HTTP message.
    Complete,
    /// FIN within the message.
    Closed,
    /// RST.
    Reset,
    /// Nothing more came.
    Silent,
}

impl Seen {
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What an error says, in any dialect.
    pub(crate) fn error(&self) -> String {
        let body = self.json();
        let message = body.pointer("/error/message").unwrap_or(&body["error"]);
        message.as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A simulator with default settings, changed by `change`.
pub(crate) async fn sim(change: impl FnOnce(&mut Settings)) -> Running {
    let mut settings = Settings::default();
    change(&mut settings);
    Sim::start(settings).await.unwrap()
}

/// A question as for Chat Completions.
pub(crate) fn question(stream: bool) -> Value {
    json!({
        "model": "m", "max_tokens": 4000, "stream": stream,
        "messages": [{ "role": "user", "content": "Which coat do I need in Zürich?" }],
    })
}

/// Asks for an answer to a question as for Chat Completions, in its dialect; `headers` are whole lines.
pub(crate) async fn ask(sim: &Running, dialect: Dialect, chat: &Value, headers: &[&str]) -> Seen {
    let (target, body) = spoken(dialect, chat);
    send(sim, "POST", &target, body.to_string().as_bytes(), headers).await
}

/// Asks for an answer with the fault in the header.
pub(crate) async fn ask_with(sim: &Running, dialect: Dialect, stream: bool, fault: &str) -> Seen {
    ask(sim, dialect, &question(stream), &[&format!("x-sim-fault: {fault}")]).await
}

pub(crate) async fn send(sim: &Running, method: &str, path: &str, body: &[u8], headers: &[&str]) -> Seen {
    let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
    write(&mut stream, method, path, body, headers).await;
    read(&mut stream).await
}

pub(crate) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    method: &str,
    path: &str,
    body: &[u8],
    headers: &[&str],
) {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: sim\r\ncontent-length: {}\r\n", body.len());
    if path.starts_with("/v1/messages") && !headers.contains(&"no-version: 1") {
        head.push_str("anthropic-version: 2023-06-01\r\n");
    }
    headers.iter().for_each(|line| head.push_str(&format!("{line}\r\n")));
    stream.write_all(&[head.as_bytes(), b"\r\n", body].concat()).await.unwrap();
}

/// Reads one HTTP message, or as much of it as there is.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Seen {
    let mut raw = Vec::new();
    let mut buffer = vec![0; 65536];
    loop {
        if let Some(seen) = parsed(&raw, End::Silent).filter(|seen| seen.end == End::Complete) {
            return seen;
        }
        let end = match timeout(PATIENCE, stream.read(&mut buffer)).await {
            Err(_) => End::Silent,
            Ok(Ok(0)) => End::Closed,
            Ok(Ok(count)) => {
                raw.extend_from_slice(&buffer[..count]);
                continue;
            }
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionReset => End::Reset,
            Ok(Err(error)) => panic!("{error}"),
        };
        return parsed(&raw, end).unwrap_or(Seen { head: String::new(), body: raw, chunks: Vec::new(), end });
    }
}

/// Takes the message apart; `end` is how it ended if it is not complete. None without a head.
fn parsed(raw: &[u8], end: End) -> Option<Seen> {
    let at = raw.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&raw[..at]).to_lowercase();
    let mut rest = &raw[at + 4..];
    let mut seen = Seen { head, body: Vec::new(), chunks: Vec::new(), end };
    if let Some(length) = seen.header("content-length").map(|length| length.parse::<usize>().unwrap()) {
        seen.body = rest[..rest.len().min(length)].to_vec();
        if seen.body.len() == length {
            seen.end = End::Complete;
        }
        return Some(seen);
    }
    while let Some(line) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        let Some(chunk) = rest.get(line + 2..line + 2 + size) else { break };
        if size == 0 {
            seen.end = End::Complete;
            break;
        }
        seen.body.extend_from_slice(chunk);
        seen.chunks.push(size);
        rest = rest.get(line + 4 + size..).unwrap_or_default();
    }
    Some(seen)
}
