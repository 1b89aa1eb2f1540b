//! The header of a GGUF file: what a model says about itself.
//!
//! Knows the format (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>). Does not know weights: nothing after
//! the tensor table is read. A file comes from a stranger, so every count and length is checked against what is left of
//! a fixed budget before anything is done with it.
//!
//! ```text
//! 47 47 55 46   magic "GGUF"
//! 03 00 00 00   version, 2 or 3
//! <u64> <u64>   number of tensors, number of entries
//! entries       key: string, type: u32, value
//! tensors       name: string, dimensions: u32, that many u64, type: u32, offset: u64
//! ```
//!
//! A string is its length as u64 and that many bytes. All numbers have their least significant byte first.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Longest header that is read, in bytes. The largest vocabularies with their merges take about 20 MiB.
const MAX_HEADER: u64 = 256 << 20;
/// Longest string that is kept, in bytes; chat templates run to tens of kilobytes.
const MAX_STRING: u64 = 1 << 20;
/// Entries and tensors that are believed. Mixture models split into experts have some ten thousand tensors.
const MAX_COUNT: u64 = 1 << 20;
/// Dimensions of a tensor; ggml has four.
const MAX_DIMENSIONS: u32 = 4;
/// How deep arrays may hold arrays. Nobody uses more than one.
const MAX_DEPTH: u32 = 4;

/// Why a file is no model.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// It could not be read.
    #[error("`{path}` cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// It does not begin like a GGUF file.
    #[error("this is no GGUF file (it begins with `{begins}`): pull the GGUF variant of the model")]
    NotGguf {
        /// Its first bytes, as far as they can be printed.
        begins: String,
    },
    /// A version that nobody writes any more, or one from the future.
    #[error("GGUF version {version} is not supported; 2 and 3 are")]
    Version {
        /// What the file says.
        version: u32,
    },
    /// It ends too early.
    #[error("the file is cut off inside its header: pull it again")]
    Truncated,
    /// It contradicts itself or exceeds a bound.
    #[error("the header is broken: {what}")]
    Broken {
        /// What is wrong.
        what: String,
    },
}

/// What a model says about itself. What it does not say is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// Family, such as `llama` or `qwen3`; never empty.
    pub architecture: String,
    /// The name its makers gave it.
    pub name: Option<String>,
    /// Numbers in all tensors of this file. Of a split model each part has its own.
    pub parameters: u64,
    /// How most weights are stored, such as `Q4_K_M`.
    pub quantisation: Option<String>,
    /// Window it was trained for, in tokens.
    pub context_tokens: Option<u64>,
    /// Width of the model: the length of its embeddings.
    pub embedding_length: Option<u64>,
    /// Layers.
    pub layers: Option<u64>,
    /// Tokens it knows.
    pub vocabulary: Option<u64>,
    /// Whether it brings a chat template.
    pub chat_template: bool,
    /// How it pools token vectors, which only embedding models say: 1 mean, 2 first, 3 last, 4 rank.
    pub pooling: Option<u64>,
    /// SPDX identifier or name of its licence.
    pub licence: Option<String>,
    /// Long name of its licence.
    pub licence_name: Option<String>,
    /// Where its licence can be read.
    pub licence_link: Option<String>,
    /// Languages it claims, as its makers wrote them.
    pub languages: Vec<String>,
    /// Number of this part and of all parts, from 0, of a split model.
    pub split: Option<(u64, u64)>,
}

impl Header {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// [`GgufError`].
    pub fn read_file(path: &Path) -> Result<Self, GgufError> {
        let unreadable = |source| GgufError::Unreadable { path: path.display().to_string(), source };
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        Self::read(BufReader::new(file), length)
    }

    /// Reads a header from the beginning of a file of `length` bytes.
    ///
    /// # Errors
    /// [`GgufError`].
    pub fn read(from: impl Read, length: u64) -> Result<Self, GgufError> {
        Parser { left: length.min(MAX_HEADER), from, header: Self::default(), file_type: None, split: (None, None) }
            .run()
    }
}

struct Parser<R> {
    from: R,
    /// Bytes that may still be read.
    left: u64,
    header: Header,
    file_type: Option<u64>,
    split: (Option<u64>, Option<u64>),
}

/// A value as far as we want it.
enum Value {
    Number(u64),
    Text(String),
    Texts(Vec<String>),
    Length(u64),
    Other,
}

impl<R: Read> Parser<R> {
    fn run(mut self) -> Result<Header, GgufError> {
        let magic = self.bytes::<4>()?;
        if &magic != b"GGUF" {
            let begins = magic.iter().map(|b| char::from(*b)).map(|c| if c.is_ascii_graphic() { c } else { '.' });
            return Err(GgufError::NotGguf { begins: begins.collect() });
        }
        let version = self.u32()?;
        if !(2..=3).contains(&version) {
            return Err(GgufError::Version { version });
        }
        let tensors = self.count("tensors", 24)?;
        let entries = self.count("entries", 13)?;
        for _ in 0..entries {
            self.entry()?;
        }
        for _ in 0..tensors {
            self.tensor()?;
        }
        if self.header.architecture.is_empty() {
            return Err(broken("it does not name its architecture"));
        }
        self.header.quantisation = self.file_type.map(quantisation);
        if let (Some(part), Some(parts)) = self.split {
            self.header.split = (parts > 1).then_some((part, parts));
        }
        Ok(self.header)
    }

    fn entry(&mut self) -> Result<(), GgufError> {
        let key = self.string()?;
        let wanted = matches!(key.as_str(), "general.languages");
        let kind = self.u32()?;
        let value = self.value(kind, wanted, 0)?;
        let header = &mut self.header;
        match (key.as_str(), value) {
            ("general.architecture", Value::Text(text)) => header.architecture = text,
            ("general.name", Value::Text(text)) => header.name = Some(text),
            ("general.license", Value::Text(text)) => header.licence = Some(text),
            ("general.license.name", Value::Text(text)) => header.licence_name = Some(text),
            ("general.license.link", Value::Text(text)) => header.licence_link = Some(text),
            ("general.languages", Value::Texts(texts)) => header.languages = texts,
            ("general.file_type", Value::Number(number)) => self.file_type = Some(number),
            ("tokenizer.ggml.tokens", Value::Length(length)) => header.vocabulary = Some(length),
            ("tokenizer.chat_template", Value::Text(text)) => header.chat_template = !text.is_empty(),
            ("split.no", Value::Number(number)) => self.split.0 = Some(number),
            ("split.count", Value::Number(number)) => self.split.1 = Some(number),
            // These are prefixed with the architecture, which may come later.
            (key, Value::Number(number)) => match key.split_once('.').map(|(_, rest)| rest) {
                Some("context_length") => header.context_tokens = Some(number),
                Some("embedding_length") => header.embedding_length = Some(number),
                Some("block_count") => header.layers = Some(number),
                Some("pooling_type") => header.pooling = Some(number),
                Some(_) | None => {}
            },
            (_, Value::Text(_) | Value::Texts(_) | Value::Length(_) | Value::Other) => {}
        }
        Ok(())
    }

    fn value(&mut self, kind: u32, texts: bool, depth: u32) -> Result<Value, GgufError> {
        Ok(match kind {
            // uint8, bool
            0 | 7 => Value::Number(self.bytes::<1>().map(|[b]| u64::from(b))?),
            // uint16
            2 => Value::Number(u64::from(u16::from_le_bytes(self.bytes()?))),
            // uint32
            4 => Value::Number(u64::from(self.u32()?)),
            // int32, which some writers use for counts
            5 => u64::try_from(i32::from_le_bytes(self.bytes()?)).map_or(Value::Other, Value::Number),
            8 => Value::Text(self.string()?),
            9 => self.array(texts, depth)?,
            // uint64
            10 => Value::Number(self.u64()?),
            // int8, int16, float32, int64, float64
            1 | 3 | 6 | 11 | 12 => {
                let width = width(kind).unwrap_or(0);
                self.skip(width)?;
                Value::Other
            }
            _ => return Err(broken(&format!("there is no value type {kind}"))),
        })
    }

    fn array(&mut self, texts: bool, depth: u32) -> Result<Value, GgufError> {
        if depth >= MAX_DEPTH {
            return Err(broken("arrays inside arrays inside arrays"));
        }
        let kind = self.u32()?;
        let length = self.u64()?;
        // What an element takes at least; an empty array takes twelve bytes, an empty string eight.
        let least = width(kind).unwrap_or(if kind == 9 { 12 } else { 8 });
        if length.checked_mul(least).is_none_or(|bytes| bytes > self.left) {
            return Err(GgufError::Truncated);
        }
        if let Some(width) = width(kind) {
            self.skip(length * width)?;
            return Ok(Value::Length(length));
        }
        let mut kept = Vec::new();
        for _ in 0..length {
            match self.value(kind, false, depth + 1)? {
                // No model speaks more languages than there are.
                Value::Text(text) if texts && kept.len() < 1024 => kept.push(text),
                Value::Text(_) | Value::Number(_) | Value::Texts(_) | Value::Length(_) | Value::Other => {}
            }
        }
        Ok(if texts { Value::Texts(kept) } else { Value::Length(length) })
    }

    fn tensor(&mut self) -> Result<(), GgufError> {
        self.string()?;
        let dimensions = self.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return Err(broken(&format!("a tensor of {dimensions} dimensions")));
        }
        let mut size: u64 = 1;
        for _ in 0..dimensions {
            size = size.saturating_mul(self.u64()?);
        }
        self.header.parameters = self.header.parameters.saturating_add(size);
        // Type and offset.
        self.skip(12)
    }

    /// A number of things that take at least `least` bytes each.
    fn count(&mut self, what: &str, least: u64) -> Result<u64, GgufError> {
        let count = self.u64()?;
        if count > MAX_COUNT {
            return Err(broken(&format!("it claims {count} {what}")));
        }
        if count * least > self.left {
            return Err(GgufError::Truncated);
        }
        Ok(count)
    }

    /// A string. One that is too long to be kept is an error: the keys and names that we read are short.
    fn string(&mut self) -> Result<String, GgufError> {
        let length = self.u64()?;
        if length > self.left {
            return Err(GgufError::Truncated);
        }
        if length > MAX_STRING {
            return Err(broken(&format!("a text of {length} bytes")));
        }
        self.left -= length;
        let mut bytes = Vec::new();
        (&mut self.from).take(length).read_to_end(&mut bytes).map_err(|_| GgufError::Truncated)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) < length {
            return Err(GgufError::Truncated);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn skip(&mut self, bytes: u64) -> Result<(), GgufError> {
        self.left = self.left.checked_sub(bytes).ok_or(GgufError::Truncated)?;
        let skipped = io::copy(&mut (&mut self.from).take(bytes), &mut io::sink()).map_err(|_| GgufError::Truncated)?;
        if skipped < bytes { Err(GgufError::Truncated) } else { Ok(()) }
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let width = u64::try_from(N).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(width).ok_or(GgufError::Truncated)?;
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(|_| GgufError::Truncated)?;
        Ok(bytes)
    }
}

/// Bytes of a value of fixed size.
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn broken(what: &str) -> GgufError {
    GgufError::Broken { what: what.to_owned() }
}

/// The names that llama.cpp gives to its file types.
fn quantisation(file_type: u64) -> String {
    let name = match file_type {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4",
        _ => return format!("type {file_type}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests;
