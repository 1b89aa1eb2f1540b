//! The provider that all paths lead to: it plays what the simulated provider performs, rendered once.
//!
//! It runs in its own process on one thread. It shares the machine with what is measured, so it does as little as it
//! can: it takes the request, looks whether a stream is asked for, and sends what is ready. Each event of a stream is a
//! write of its own, as it is with a provider whose model takes its time, but no time passes between them unless a gap
//! is asked for. Without one, a gateway under full load finds several events at each read; with one, each event
//! wakes it, which costs every gateway more and leaves less of the difference between them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use commonwatt_sim::{Action, AnswerSettings, Cue, Settings, perform};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::net::TcpListener;
use tokio::time::{Sleep, sleep};

use crate::answer::{ANSWER, CHUNK_CHARACTERS};
use crate::cell::{Cell, Dialect, Shape, Size, Way};
use crate::{children, prompt};

/// An answer that is ready to be sent.
#[derive(Clone, Debug)]
struct Rendered {
    headers: HeaderMap,
    pieces: Arc<[Bytes]>,
}

/// The four answers.
#[derive(Debug)]
struct Repertoire {
    open_ai: [Rendered; 2],
    anthropic: [Rendered; 2],
    /// What passes between two events.
    gap: Duration,
}

/// Serves until standard input ends, which is when the run that started this process does.
pub(crate) fn serve(listen: SocketAddr, gap: Duration) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let repertoire = Arc::new(Repertoire::render(gap)?);
        let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on `{listen}`"))?;
        children::announce(listener.local_addr()?);
        tokio::select! {
            done = accept(listener, repertoire) => done,
            () = children::orphaned() => Ok(()),
        }
    })
}

async fn accept(listener: TcpListener, repertoire: Arc<Repertoire>) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let repertoire = Arc::clone(&repertoire);
        let service = service_fn(move |request| {
            let repertoire = Arc::clone(&repertoire);
            async move { Ok::<_, Infallible>(respond(&repertoire, request).await) }
        });
        // A connection that ends badly is noticed by whoever waits for its answer.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn respond(repertoire: &Repertoire, request: Request<Incoming>) -> Response<Playing> {
    let (head, body) = request.into_parts();
    let answers = match (&head.method, head.uri.path()) {
        (&Method::POST, "/v1/chat/completions") => &repertoire.open_ai,
        (&Method::POST, "/v1/messages") => &repertoire.anthropic,
        _ => return refuse(StatusCode::NOT_FOUND),
    };
    let Ok(body) = body.collect().await else { return refuse(StatusCode::BAD_REQUEST) };
    let [plain, stream] = answers;
    let rendered = if wants_stream(&body.to_bytes()) { stream } else { plain };
    let mut response = Response::new(Playing::of(Arc::clone(&rendered.pieces), repertoire.gap));
    *response.headers_mut() = rendered.headers.clone();
    response
}

fn refuse(status: StatusCode) -> Response<Playing> {
    let mut response = Response::new(Playing::of(Arc::default(), Duration::ZERO));
    *response.status_mut() = status;
    response
}

/// Whether the body holds `"stream": true`. Quotes within strings are escaped, so this cannot be part of a prompt.
fn wants_stream(body: &[u8]) -> bool {
    const KEY: &[u8] = br#""stream""#;
    let after = memmem::find(body, KEY).and_then(|at| body.get(at + KEY.len()..)).unwrap_or_default();
    let value = after.trim_ascii_start().strip_prefix(b":").unwrap_or_default();
    value.trim_ascii_start().starts_with(b"true")
}

impl Repertoire {
    fn render(gap: Duration) -> anyhow::Result<Self> {
        let pair = |way| Ok::<_, anyhow::Error>([Rendered::of(way, Shape::Plain)?, Rendered::of(way, Shape::Stream)?]);
        Ok(Self { open_ai: pair(Way::Same)?, anthropic: pair(Way::Across)?, gap })
    }
}

impl Rendered {
    fn of(way: Way, shape: Shape) -> anyhow::Result<Self> {
        let cell = Cell { shape, size: Size::Small, way };
        let answer = AnswerSettings { text: Some(ANSWER.to_owned()), ..AnswerSettings::default() };
        let settings = Settings { chunk_characters: CHUNK_CHARACTERS, answer, ..Settings::default() };
        let dialect = match cell.dialect() {
            Dialect::OpenAi => commonwatt_sim::Dialect::ChatCompletions,
            Dialect::Anthropic => commonwatt_sim::Dialect::Messages,
        };
        let body = prompt::body(cell, "simulated");
        let performance = perform(&Cue { dialect, body: body.as_bytes(), settings: &settings, faults: &[], call: 1 });
        let (mut status, mut headers, mut pieces) = (StatusCode::OK, HeaderMap::new(), Vec::new());
        for action in performance.actions() {
            match action {
                Action::Head { status: said, headers: with } => (status, headers) = (*said, with.clone()),
                Action::Send(bytes) => pieces.push(bytes.clone()),
                Action::Wait(_) | Action::Reset | Action::Eof | Action::Hang => {}
            }
        }
        // Hyper says the length, or that there are chunks.
        headers.remove(header::CONTENT_LENGTH);
        let said = pieces.concat();
        anyhow::ensure!(status == StatusCode::OK, "the simulator refuses: {}", String::from_utf8_lossy(&said));
        Ok(Self { headers, pieces: pieces.into() })
    }
}

/// The body of a response.
#[derive(Debug)]
struct Playing {
    pieces: Arc<[Bytes]>,
    next: usize,
    gap: Duration,
    pause: Pause,
}

/// What comes before the next piece.
#[derive(Debug)]
enum Pause {
    /// Nothing.
    Over,
    /// The piece before has its chance to be written.
    GiveWay,
    /// Time passes.
    Asleep(Pin<Box<Sleep>>),
}

impl Playing {
    fn of(pieces: Arc<[Bytes]>, gap: Duration) -> Self {
        Self { pieces, next: 0, gap, pause: Pause::Over }
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.pause {
            Pause::Over => return Poll::Ready(()),
            Pause::GiveWay => cx.waker().wake_by_ref(),
            Pause::Asleep(sleep) => ready!(sleep.as_mut().poll(cx)),
        }
        let waited = matches!(self.pause, Pause::Asleep(_));
        self.pause = Pause::Over;
        if waited { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Body for Playing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.poll_pause(cx));
        let Some(piece) = self.pieces.get(self.next).cloned() else { return Poll::Ready(None) };
        self.next += 1;
        self.pause = if self.gap.is_zero() { Pause::GiveWay } else { Pause::Asleep(Box::pin(sleep(self.gap))) };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.next >= self.pieces.len()
    }

    fn size_hint(&self) -> SizeHint {
        match &*self.pieces {
            [] => SizeHint::with_exact(0),
            [only] => SizeHint::with_exact(u64::try_from(only.len()).unwrap_or(u64::MAX)),
            // A stream, whose length nobody knows beforehand.
            _ => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Expected;

    #[test]
    fn what_is_played_is_what_is_expected() {
        for way in [Way::Same, Way::Across] {
            for shape in [Shape::Plain, Shape::Stream] {
                let rendered = Rendered::of(way, shape).unwrap();
                let body: Vec<u8> = rendered.pieces.concat();
                let mut answer = crate::answer::Answer::default();
                answer.feed(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes()).unwrap();
                answer.feed(&body).unwrap();
                let cell = Cell { shape, size: Size::Small, way };
                assert_eq!(Expected::of(cell).check(&answer), Ok(()), "{cell}");
                assert_eq!(rendered.pieces.len() > 10, shape == Shape::Stream, "{cell}");
            }
        }
    }

    #[test]
    fn a_stream_is_seen_wherever_it_is_asked_for() {
        assert!(wants_stream(br#"{"stream":true,"messages":[]}"#));
        assert!(wants_stream(br#"{"messages":[], "stream" : true}"#));
        assert!(!wants_stream(br#"{"stream":false}"#));
        assert!(!wants_stream(br#"{"messages":[{"content":"\"stream\":true"}]}"#));
    }
}
