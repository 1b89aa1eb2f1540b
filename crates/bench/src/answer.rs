//! Answers, read as cheaply as they can be and still be checked: status, framing, every word, the end of the stream.

use memchr::{memchr, memmem};

use crate::cell::{Cell, Dialect, Shape};

/// What the simulated model says: ten pieces of eight characters, no two alike, none of them escaped in JSON.
pub(crate) const ANSWER: &str = "Watts at noon: 4600 from the roof, 120 for the fridge, 90 lamps, the rest stays.";
/// Characters in a chunk of a streamed answer.
pub(crate) const CHUNK_CHARACTERS: usize = 8;

/// The most bytes that the head of an answer may have.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// An answer as it arrives.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    stage: Stage,
    /// The head, or the line of a chunk's size, as far as it is here.
    line: Vec<u8>,
    status: u16,
    body: Vec<u8>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Head,
    /// This much of a body of known length.
    Body(usize),
    /// The line with the size of a chunk.
    ChunkSize,
    /// This much of a chunk, and the line end after it.
    Chunk(usize),
    /// The lines after the last chunk, up to an empty one.
    Trailers,
    Complete,
}

impl Answer {
    /// Forgets everything, to read the next answer on the connection.
    pub(crate) fn clear(&mut self) {
        self.stage = Stage::Head;
        self.line.clear();
        self.body.clear();
        self.status = 0;
    }

    /// Whether all of it is here.
    pub(crate) fn is_complete(&self) -> bool {
        self.stage == Stage::Complete
    }

    /// The body, as far as it is here, without its framing.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Reads on.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            bytes = match self.stage {
                Stage::Head => self.head(bytes)?,
                Stage::Body(left) => {
                    let (taken, rest) = bytes.split_at(left.min(bytes.len()));
                    self.body.extend_from_slice(taken);
                    self.stage = body_left(left - taken.len());
                    rest
                }
                Stage::ChunkSize => self.line(bytes, Self::chunk_size)?,
                Stage::Chunk(left) => {
                    let (taken, rest) = bytes.split_at(left.min(bytes.len()));
                    // The last two bytes of `left` are the line end.
                    let content = left.saturating_sub(2).min(taken.len());
                    self.body.extend_from_slice(taken.get(..content).unwrap_or_default());
                    self.stage = if left == taken.len() { Stage::ChunkSize } else { Stage::Chunk(left - taken.len()) };
                    rest
                }
                Stage::Trailers => self.line(bytes, Self::trailer)?,
                Stage::Complete => return Err(format!("{} bytes came after the answer", bytes.len())),
            };
        }
        Ok(())
    }

    fn head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], String> {
        let before = self.line.len();
        self.line.extend_from_slice(bytes);
        let Some(end) = memmem::find(&self.line, b"\r\n\r\n") else {
            return if self.line.len() > HEAD_BYTES_MAX { Err("the head has no end".into()) } else { Ok(&[]) };
        };
        let head = self.line.get(..end).unwrap_or_default();
        (self.status, self.stage) = read_head(head)?;
        self.line.clear();
        Ok(bytes.get(end + 4 - before..).unwrap_or_default())
    }

    /// Takes a line, once it is whole, and hands it to `read`.
    fn line<'a>(
        &mut self,
        bytes: &'a [u8],
        read: impl FnOnce(&[u8]) -> Result<Stage, String>,
    ) -> Result<&'a [u8], String> {
        let Some(end) = memchr(b'\n', bytes) else {
            self.line.extend_from_slice(bytes);
            return Ok(&[]);
        };
        let (taken, rest) = bytes.split_at(end + 1);
        self.line.extend_from_slice(taken);
        self.stage = read(self.line.trim_ascii_end())?;
        self.line.clear();
        Ok(rest)
    }

    fn chunk_size(line: &[u8]) -> Result<Stage, String> {
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
        match size {
            Some(0) => Ok(Stage::Trailers),
            Some(size) => Ok(Stage::Chunk(size.saturating_add(2))),
            None => Err(format!("`{}` is no size of a chunk", String::from_utf8_lossy(line))),
        }
    }

    fn trailer(line: &[u8]) -> Result<Stage, String> {
        Ok(if line.is_empty() { Stage::Complete } else { Stage::Trailers })
    }
}

fn body_left(left: usize) -> Stage {
    if left == 0 { Stage::Complete } else { Stage::Body(left) }
}

/// The status, and what follows the head.
fn read_head(head: &[u8]) -> Result<(u16, Stage), String> {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(number);
    let Some(status) = status.and_then(|status| u16::try_from(status).ok()) else {
        return Err(format!("`{}` is no status line", String::from_utf8_lossy(first)));
    };
    for line in lines {
        let Some(colon) = memchr(b':', line) else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = number(value).ok_or("the content-length is no number")?;
            return Ok((status, body_left(length)));
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") && value.eq_ignore_ascii_case(b"chunked") {
            return Ok((status, Stage::ChunkSize));
        }
    }
    Err(format!("an answer of status {status} says neither its length nor that it comes in chunks"))
}

fn number(digits: &[u8]) -> Option<usize> {
    str::from_utf8(digits).ok()?.parse().ok()
}

/// What an answer must hold.
#[derive(Debug)]
pub(crate) struct Expected {
    /// In this order.
    pieces: Vec<memmem::Finder<'static>>,
}

impl Expected {
    /// What the answer of a cell must hold: every piece of the text, then the words that end a stream.
    pub(crate) fn of(cell: Cell) -> Self {
        let finder = |piece: &'static str| memmem::Finder::new(piece.as_bytes());
        let pieces = match cell.shape {
            Shape::Plain => vec![finder(ANSWER)],
            Shape::Stream => {
                let last = match cell.dialect() {
                    Dialect::OpenAi => "data: [DONE]",
                    Dialect::Anthropic => r#""message_stop""#,
                };
                chunks().chain([last]).map(finder).collect()
            }
        };
        Self { pieces }
    }

    /// Whether the first content is here.
    pub(crate) fn has_begun(&self, body: &[u8]) -> bool {
        self.pieces.first().is_none_or(|first| first.find(body).is_some())
    }

    /// Refuses an answer that is not the whole truth.
    pub(crate) fn check(&self, answer: &Answer) -> Result<(), String> {
        let shown = || String::from_utf8_lossy(&answer.body).chars().take(400).collect::<String>();
        if answer.status != 200 {
            return Err(format!("status {}: {}", answer.status, shown()));
        }
        let mut rest = answer.body();
        for piece in &self.pieces {
            let Some(at) = piece.find(rest) else {
                return Err(format!("`{}` is missing: {}", String::from_utf8_lossy(piece.needle()), shown()));
            };
            rest = rest.get(at + piece.needle().len()..).unwrap_or_default();
        }
        Ok(())
    }
}

/// The pieces in which the text is streamed.
pub(crate) fn chunks() -> impl Iterator<Item = &'static str> {
    let mut rest = ANSWER;
    std::iter::from_fn(move || {
        let (chunk, after) = rest.split_at_checked(CHUNK_CHARACTERS)?;
        rest = after;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{Size, Way};

    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\nvia: x\r\n\r\n";

    fn cell(shape: Shape) -> Cell {
        Cell { shape, size: Size::Small, way: Way::Same }
    }

    fn whole(status: u16, body: &str) -> Answer {
        let mut answer = Answer::default();
        let head = format!("HTTP/1.1 {status} OK\r\ncontent-length: {}\r\n\r\n", body.len());
        answer.feed(head.as_bytes()).unwrap();
        answer.feed(body.as_bytes()).unwrap();
        answer
    }

    #[test]
    fn the_text_is_ten_pieces_no_two_alike() {
        let mut pieces: Vec<_> = chunks().collect();
        assert_eq!(pieces.concat(), ANSWER);
        assert_eq!(pieces.len(), 10);
        pieces.sort_unstable();
        pieces.dedup();
        assert_eq!(pieces.len(), 10);
    }

    #[test]
    fn chunks_are_put_together_however_they_are_cut() {
        for size in 1..CHUNKED.len() {
            let mut answer = Answer::default();
            for piece in CHUNKED.chunks(size) {
                assert!(!answer.is_complete());
                answer.feed(piece).unwrap();
            }
            assert!(answer.is_complete());
            assert_eq!((answer.status, answer.body()), (200, b"hello, world".as_slice()), "{size}");
        }
    }

    #[test]
    fn an_answer_can_follow_another() {
        let mut answer = whole(200, "one");
        assert!(answer.is_complete());
        assert!(answer.feed(b"x").unwrap_err().contains("after the answer"));
        answer.clear();
        answer.feed(CHUNKED).unwrap();
        assert_eq!(answer.body(), b"hello, world");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (bytes, said) in [
            ("HTTP/1.0 200 OK\r\n\r\n", "no status line"),
            ("HTTP/1.1 200 OK\r\n\r\n", "neither its length"),
            ("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", "no number"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "no size"),
        ] {
            let error = Answer::default().feed(bytes.as_bytes()).unwrap_err();
            assert!(error.contains(said), "{bytes:?}: {error}");
        }
    }

    #[test]
    fn a_whole_answer_must_hold_the_whole_text() {
        let expected = Expected::of(cell(Shape::Plain));
        assert_eq!(expected.check(&whole(200, &format!("{{\"content\":\"{ANSWER}\"}}"))), Ok(()));
        let error = expected.check(&whole(200, ANSWER.split_at(40).0)).unwrap_err();
        assert!(error.contains("missing"), "{error}");
        assert!(expected.check(&whole(503, ANSWER)).unwrap_err().contains("status 503"));
    }

    #[test]
    fn a_stream_must_hold_each_piece_in_its_place_and_say_that_it_ended() {
        let expected = Expected::of(cell(Shape::Stream));
        let stream: String = chunks().map(|piece| format!("data: {{\"content\":\"{piece}\"}}\n\n")).collect();
        let ended = format!("{stream}data: [DONE]\n\n");
        assert_eq!(expected.check(&whole(200, &ended)), Ok(()));
        assert!(expected.check(&whole(200, &stream)).unwrap_err().contains("[DONE]"));
        let first = chunks().next().unwrap();
        assert!(!expected.has_begun(b"data: {\"content\":\"\"}"));
        assert!(expected.has_begun(ended.as_bytes()));
        assert!(expected.check(&whole(200, &ended.replacen(first, "", 1))).is_err());
    }
}
