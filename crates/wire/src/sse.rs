//! Server-sent events from chunks of bytes; and lines of JSON, which Ollama sends instead.
//!
//! ```text
//! event: content_block_delta\n      the name, if there is one
//! data: {"type":"content_block…\n   the data; several `data` lines are joined by line feeds
//! : anything\n                      a comment
//! \n                                a blank line ends the event
//! ```
//!
//! Lines end in LF, CRLF or CR (WHATWG HTML, section 9.2). However the bytes are split into chunks, the same events come
//! out, and the raw bytes of all of them together are the bytes that went in. An event that lies in one chunk is not
//! copied.

mod array;

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

pub use array::JsonArray;

/// The largest event: 16 MiB, since a provider may send an image or a whole file in one.
pub const EVENT_BYTES_MAX: usize = 16 << 20;

/// An event, and the bytes it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Exactly the bytes, blank line included; to be forwarded as they are.
    pub raw: Bytes,
    name: Option<Range<usize>>,
    data: Data,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Data {
    /// One line: a range of the raw bytes.
    Line(Range<usize>),
    /// Several lines, joined.
    Lines(Vec<u8>),
}

impl Event {
    /// The value of its last `event` line.
    #[must_use]
    pub fn name(&self) -> Option<&[u8]> {
        self.raw.get(self.name.clone()?)
    }

    /// The values of its `data` lines, joined by line feeds; empty for a comment.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        match &self.data {
            Data::Line(range) => self.raw.get(range.clone()).unwrap_or_default(),
            Data::Lines(joined) => joined,
        }
    }

    /// A line of JSON without its end.
    fn line(raw: Bytes) -> Self {
        let len = raw.trim_ascii_end().len();
        Self { name: None, data: Data::Line(0..len), raw }
    }

    fn parsed(raw: Bytes, first: bool) -> Self {
        let start = if first && raw.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let (mut name, mut data) = (None, None);
        for line in lines(&raw, start) {
            let (field, value) = parted(&raw, line);
            match raw.get(field) {
                Some(b"data") => data = Some(joined(&raw, data, value)),
                Some(b"event") => name = Some(value),
                Some(_) | None => {}
            }
        }
        Self { name, data: data.unwrap_or(Data::Line(0..0)), raw }
    }
}

/// The lines of an event, as ranges, blank ones left out.
fn lines(raw: &[u8], start: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = start;
    std::iter::from_fn(move || {
        while at < raw.len() {
            let rest = raw.get(at..).unwrap_or_default();
            let len = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let line = at..at + len;
            at += len + 1;
            if len > 0 {
                return Some(line);
            }
        }
        None
    })
}

/// A line's field name and value; one space after the colon is not part of the value.
fn parted(raw: &[u8], line: Range<usize>) -> (Range<usize>, Range<usize>) {
    let text = raw.get(line.clone()).unwrap_or_default();
    let Some(colon) = memchr::memchr(b':', text) else { return (line.clone(), line.end..line.end) };
    let space = usize::from(text.get(colon + 1) == Some(&b' '));
    (line.start..line.start + colon, line.start + colon + 1 + space..line.end)
}

fn joined(raw: &[u8], so_far: Option<Data>, value: Range<usize>) -> Data {
    let mut text = match so_far {
        None => return Data::Line(value),
        Some(Data::Line(range)) => raw.get(range).unwrap_or_default().to_vec(),
        Some(Data::Lines(text)) => text,
    };
    text.push(b'\n');
    text.extend_from_slice(raw.get(value).unwrap_or_default());
    Data::Lines(text)
}

/// An event grew past [`EVENT_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {EVENT_BYTES_MAX} bytes")]
pub struct TooLarge;

/// Cuts chunks into events.
#[derive(Debug, Default)]
pub struct Framer {
    framing: Framing,
    /// What is not yet cut, when it lies in one chunk.
    chunk: Bytes,
    /// What is not yet cut, when it came in several; then `chunk` is empty.
    gathered: BytesMut,
    /// Where in the uncut bytes the next line end is looked for.
    looked: usize,
    /// Where the current line begins.
    line: usize,
    /// Whether the event so far has a line that is not blank.
    has_line: bool,
    /// Whether an event has come out.
    begun: bool,
}

/// How a stream is cut into events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    #[default]
    Events,
    /// A line of JSON each.
    Lines,
}

impl Framer {
    /// A framer for such a stream.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self { framing, ..Self::default() }
    }

    /// Adds bytes. Take all events out before adding more.
    ///
    /// # Errors
    /// [`TooLarge`] when what is held is one unfinished event past the limit.
    pub fn push(&mut self, chunk: Bytes) -> Result<(), TooLarge> {
        if self.held().len() > EVENT_BYTES_MAX {
            return Err(TooLarge);
        }
        if self.held().is_empty() {
            self.chunk = chunk;
            return Ok(());
        }
        if !self.chunk.is_empty() {
            self.gathered.extend_from_slice(&self.chunk);
            self.chunk = Bytes::new();
        }
        self.gathered.extend_from_slice(&chunk);
        Ok(())
    }

    /// The next complete event.
    #[expect(clippy::should_implement_trait, reason = "a framer that has no event now may have one after a push")]
    pub fn next(&mut self) -> Option<Event> {
        if self.framing == Framing::Lines {
            return self.next_line();
        }
        loop {
            let held = self.held();
            let rest = held.get(self.looked..)?;
            let Some(len) = memchr::memchr2(b'\n', b'\r', rest) else {
                self.looked = held.len();
                return None;
            };
            let end = self.looked + len;
            // A CR at the end of what is here may be the first half of a CRLF.
            let after = match (held.get(end), held.get(end + 1)) {
                (Some(b'\r'), None) => {
                    self.looked = end;
                    return None;
                }
                (Some(b'\r'), Some(b'\n')) => end + 2,
                _ => end + 1,
            };
            let blank = end == self.line || (!self.begun && held.get(..end) == Some(b"\xef\xbb\xbf"));
            (self.looked, self.line) = (after, after);
            if blank && self.has_line {
                return Some(self.cut(after));
            }
            self.has_line |= !blank;
        }
    }

    fn next_line(&mut self) -> Option<Event> {
        let held = self.held();
        match memchr::memchr(b'\n', held.get(self.looked..)?) {
            Some(len) => {
                let end = self.looked + len + 1;
                Some(self.cut(end))
            }
            None => {
                self.looked = held.len();
                None
            }
        }
    }

    /// What is left after the last chunk, as an event, for servers that leave out the last blank line.
    pub fn finish(&mut self) -> Option<Event> {
        let partial = self.has_partial();
        let all = self.held().len();
        partial.then(|| self.cut(all))
    }

    /// Whether an event has begun and not ended.
    #[must_use]
    pub fn has_partial(&self) -> bool {
        self.has_line || self.held().iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
    }

    fn held(&self) -> &[u8] {
        if self.gathered.is_empty() { &self.chunk } else { &self.gathered }
    }

    fn cut(&mut self, end: usize) -> Event {
        let raw =
            if self.gathered.is_empty() { self.chunk.split_to(end) } else { self.gathered.split_to(end).freeze() };
        (self.looked, self.line, self.has_line) = (0, 0, false);
        if !self.gathered.has_remaining() {
            // Gives the memory back with the last event that shares it.
            self.gathered = BytesMut::new();
        }
        match self.framing {
            Framing::Events => Event::parsed(raw, !std::mem::replace(&mut self.begun, true)),
            Framing::Lines => Event::line(raw),
        }
    }
}

#[cfg(test)]
mod tests;
