//! One pass over JSON text: checks it, skips its strings at the speed of memory, and tells a [`Sink`] where things are.
//!
//! What is accepted is RFC 8259, exactly as `serde_json` accepts it, nesting limit included. Nothing is allocated and
//! nothing is decoded: a string is reported as a range of bytes and whether it holds escapes.
//!
//! The loop over a string is written so that the compiler turns it into vector instructions: it looks at 32 bytes at a
//! time for a quote, a backslash or a control byte, and only in the block that holds one does it look for the place.

use std::ops::Range;

/// Levels of objects and arrays; `serde_json` stops at the same depth.
const DEPTH_MAX: u32 = 127;

/// What kind of container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    Object,
    Array,
}

/// What kind of value that holds no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// The range lies inside the quotes.
    String {
        escaped: bool,
    },
    Number,
    True,
    False,
    Null,
}

/// Is told where things are, in the order of the text.
pub(crate) trait Sink {
    /// An object or array opens at byte `at`.
    fn open(&mut self, container: Container, at: usize);
    /// The innermost one closes; `end` is the byte after it.
    fn close(&mut self, end: usize);
    /// A member's key; the range lies inside the quotes.
    fn key(&mut self, text: Range<usize>, escaped: bool);
    /// A value that holds no others.
    fn scalar(&mut self, scalar: Scalar, at: Range<usize>);
}

/// Where and why text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// The byte.
    pub(crate) at: usize,
    /// What is wrong there, as a clause.
    pub(crate) what: &'static str,
}

impl SyntaxError {
    /// The clause and the place, for people.
    pub(crate) fn told(self, text: &[u8]) -> String {
        let before = text.get(..self.at.min(text.len())).unwrap_or_default();
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        let column = self.at - memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1) + 1;
        format!("{} at line {line}, column {column} (byte {})", self.what, self.at)
    }
}

/// Reads one JSON value and the space around it. With `CHECK_UTF8`, strings are checked to be UTF-8 on the way; without,
/// the caller has done so.
pub(crate) fn scan<const CHECK_UTF8: bool>(text: &[u8], sink: &mut impl Sink) -> Result<(), SyntaxError> {
    let mut scanner = Scanner::<CHECK_UTF8> { text, at: 0, nesting: Nesting::default() };
    loop {
        scanner.space();
        if scanner.value(sink)? {
            continue;
        }
        if scanner.after_value(sink)? {
            return Ok(());
        }
    }
}

/// Which containers are open: a bit each, an object is 1.
#[derive(Clone, Copy, Default)]
struct Nesting {
    objects: u128,
    depth: u32,
}

impl Nesting {
    fn push(&mut self, container: Container) -> bool {
        self.objects = (self.objects << 1) | u128::from(container == Container::Object);
        self.depth += 1;
        self.depth <= DEPTH_MAX
    }

    fn pop(&mut self) {
        self.objects >>= 1;
        self.depth -= 1;
    }

    fn in_object(self) -> bool {
        self.objects & 1 == 1
    }
}

struct Scanner<'a, const CHECK_UTF8: bool> {
    text: &'a [u8],
    at: usize,
    nesting: Nesting,
}

impl<const CHECK_UTF8: bool> Scanner<'_, CHECK_UTF8> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn wrong<T>(&self, what: &'static str) -> Result<T, SyntaxError> {
        let what = if self.at >= self.text.len() { "the text ends too early" } else { what };
        Err(SyntaxError { at: self.at, what })
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Reads a scalar, or the opening of a container. True when a value must follow at once.
    #[inline]
    fn value(&mut self, sink: &mut impl Sink) -> Result<bool, SyntaxError> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => {
                let (range, escaped) = self.string()?;
                sink.scalar(Scalar::String { escaped }, range);
            }
            Some(b'{') => return self.open(Container::Object, sink),
            Some(b'[') => return self.open(Container::Array, sink),
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
                sink.scalar(Scalar::Number, start..self.at);
            }
            Some(b't') => self.literal(b"true", Scalar::True, sink)?,
            Some(b'f') => self.literal(b"false", Scalar::False, sink)?,
            Some(b'n') => self.literal(b"null", Scalar::Null, sink)?,
            Some(_) | None => return self.wrong("a value is expected"),
        }
        Ok(false)
    }

    fn open(&mut self, container: Container, sink: &mut impl Sink) -> Result<bool, SyntaxError> {
        if !self.nesting.push(container) {
            return self.wrong("nesting is too deep");
        }
        sink.open(container, self.at);
        self.at += 1;
        self.space();
        match (container, self.peek()) {
            (Container::Object, Some(b'}')) | (Container::Array, Some(b']')) => Ok(false),
            (Container::Object, _) => self.key(sink).map(|()| true),
            (Container::Array, _) => Ok(true),
        }
    }

    /// What may follow a value: a comma and the next one, or the end of its container. True at the end of the text.
    #[inline]
    fn after_value(&mut self, sink: &mut impl Sink) -> Result<bool, SyntaxError> {
        loop {
            self.space();
            if self.nesting.depth == 0 {
                return if self.at == self.text.len() { Ok(true) } else { self.wrong("nothing may follow the value") };
            }
            let in_object = self.nesting.in_object();
            match self.peek() {
                Some(b'}') if in_object => self.close(sink),
                Some(b']') if !in_object => self.close(sink),
                Some(b',') => {
                    self.at += 1;
                    if in_object {
                        self.space();
                        self.key(sink)?;
                    }
                    return Ok(false);
                }
                Some(_) | None if in_object => return self.wrong("a comma or `}` is expected"),
                Some(_) | None => return self.wrong("a comma or `]` is expected"),
            }
        }
    }

    fn close(&mut self, sink: &mut impl Sink) {
        self.at += 1;
        self.nesting.pop();
        sink.close(self.at);
    }

    #[inline]
    fn key(&mut self, sink: &mut impl Sink) -> Result<(), SyntaxError> {
        if self.peek() != Some(b'"') {
            return self.wrong("a key in quotes is expected");
        }
        let (range, escaped) = self.string()?;
        sink.key(range, escaped);
        self.space();
        if self.peek() != Some(b':') {
            return self.wrong("a colon is expected");
        }
        self.at += 1;
        Ok(())
    }

    /// From the opening quote to after the closing one; the range inside, and whether there are escapes.
    #[inline]
    fn string(&mut self) -> Result<(Range<usize>, bool), SyntaxError> {
        self.at += 1;
        let (start, mut escaped, mut foreign) = (self.at, false, false);
        loop {
            let (plain, beyond_ascii) = plain_run(self.text.get(self.at..).unwrap_or_default());
            self.at += plain;
            foreign |= beyond_ascii;
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(_) | None => return self.wrong("a control character must be escaped"),
            }
            escaped = true;
        }
        let range = start..self.at;
        self.at += 1;
        if CHECK_UTF8 && foreign {
            let inside = self.text.get(range.clone()).unwrap_or_default();
            if let Err(error) = simdutf8::compat::from_utf8(inside) {
                return Err(SyntaxError { at: start + error.valid_up_to(), what: "a string is not UTF-8" });
            }
        }
        Ok((range, escaped))
    }

    fn escape(&mut self) -> Result<(), SyntaxError> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                for _ in 0..4 {
                    self.at += 1;
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return self.wrong("four hexadecimal digits are expected");
                    }
                }
                self.at += 1;
            }
            Some(_) | None => return self.wrong("no such escape"),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), SyntaxError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(_) | None => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), SyntaxError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { self.wrong("a digit is expected") } else { Ok(()) }
    }

    fn literal(&mut self, word: &[u8], scalar: Scalar, sink: &mut impl Sink) -> Result<(), SyntaxError> {
        let start = self.at;
        for letter in word {
            if self.peek() != Some(*letter) {
                return self.wrong("a value is expected");
            }
            self.at += 1;
        }
        sink.scalar(scalar, start..self.at);
        Ok(())
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// How many bytes come before the first quote, backslash or control byte, and whether one of them is beyond ASCII.
#[inline]
pub(crate) fn plain_run(bytes: &[u8]) -> (usize, bool) {
    // Keys, short values and lines of code end within a few words.
    let (mut at, mut high) = (0, 0);
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*word);
        let mark = marks(word);
        if mark != 0 {
            return (at + place(mark), (high | below(word, mark)) & HIGHS != 0);
        }
        high |= word;
        at += 8;
        if at == SHORT {
            let (run, foreign) = long_run(bytes.get(at..).unwrap_or_default());
            return (at + run, foreign || high & HIGHS != 0);
        }
    }
    let (run, foreign) = short_run(bytes.get(at..).unwrap_or_default());
    (at + run, foreign || high & HIGHS != 0)
}

/// From here on, a run is taken for a long one.
const SHORT: usize = 64;

/// The same for a text of any length, 32 bytes at a time.
fn long_run(bytes: &[u8]) -> (usize, bool) {
    let (blocks, _) = bytes.as_chunks::<32>();
    let (mut at, mut high) = (0, 0_u8);
    for block in blocks {
        let (mut special, mut all) = (0_u8, 0_u8);
        for &byte in block {
            special |= u8::from(byte == b'"') | u8::from(byte == b'\\') | u8::from(byte < 0x20);
            all |= byte;
        }
        if special != 0 {
            break;
        }
        high |= all;
        at += 32;
    }
    let mut high = u64::from(high) << 56;
    let (words, rest) = bytes.get(at..).unwrap_or_default().as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        let mark = marks(word);
        if mark != 0 {
            return (at + place(mark), (high | below(word, mark)) & HIGHS != 0);
        }
        high |= word;
        at += 8;
    }
    let (run, foreign) = short_run(rest);
    (at + run, foreign || high & HIGHS != 0)
}

/// The same for a text of a few bytes.
fn short_run(bytes: &[u8]) -> (usize, bool) {
    let run = bytes.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20).unwrap_or(bytes.len());
    (run, bytes.iter().take(run).any(|byte| !byte.is_ascii()))
}

/// The high bit of each byte that is a quote, a backslash or a control byte. Bits above the lowest may be false.
#[inline]
fn marks(word: u64) -> u64 {
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let quotes = zeros(word ^ (ONES * b'"' as u64));
    let backslashes = zeros(word ^ (ONES * b'\\' as u64));
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (quotes | backslashes | controls) & HIGHS
}

/// Which byte the lowest mark is at.
#[inline]
fn place(marks: u64) -> usize {
    (marks.trailing_zeros() / 8) as usize
}

/// The bytes of `word` before the lowest mark.
#[inline]
fn below(word: u64, marks: u64) -> u64 {
    word & ((marks & marks.wrapping_neg()) >> 7).wrapping_sub(1)
}

#[cfg(test)]
mod tests;
