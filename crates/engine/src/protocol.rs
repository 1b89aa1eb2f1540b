//! What parent and child say to each other.
//!
//! Knows frames. Does not know processes or models. A frame is four bytes of length, least significant first, then that
//! many bytes of JSON, one closed enum for each direction:
//!
//! ```text
//! 13 00 00 00  {"Cancel":{"id":7}}
//! ```
//!
//! Parent and child are the same program, so there is one version: the first frame names it and a child of another
//! version refuses to work.

use std::io;
#[cfg(any(feature = "llama", test))]
use std::io::{Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::request::{ChatRequest, Event};

/// Grows with every change of a frame.
pub(crate) const PROTOCOL: u32 = 1;

/// Longest frame in bytes: twice the largest body that the gateway admits, because a body may grow when its text is
/// escaped. A longer frame is a bug or an attack, never a call.
pub(crate) const MAX_FRAME: usize = 64 << 20;

/// Texts in one call for embeddings, as many as OpenAI takes.
pub(crate) const MAX_TEXTS: usize = 2048;

/// From parent to child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum ToChild {
    /// The first frame.
    Load {
        protocol: u32,
        load: Load,
    },
    Chat {
        id: u64,
        request: Box<ChatRequest>,
    },
    Embed {
        id: u64,
        texts: Vec<String>,
    },
    Count {
        id: u64,
        request: Box<ChatRequest>,
    },
    Cancel {
        id: u64,
    },
}

/// From child to parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum FromChild {
    /// The model answers calls now.
    Ready(Ready),
    /// The child gives up and ends.
    LoadFailed {
        reason: String,
    },
    Event {
        id: u64,
        event: Event,
    },
    /// One vector of a call for embeddings, in order.
    Vector {
        id: u64,
        vector: Vec<f32>,
    },
    /// All vectors were sent.
    Embedded {
        id: u64,
        prompt_tokens: u32,
    },
    Counted {
        id: u64,
        tokens: u32,
    },
    Failed {
        id: u64,
        fault: Fault,
    },
    /// Work goes on, though there is nothing to show yet.
    Pulse,
    /// The child computes with this many threads from now on.
    Threads {
        threads: u32,
    },
}

/// Where the weights are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Source {
    Pilot,
    File(PathBuf),
}

/// How to load them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) source: Source,
    pub(crate) context_tokens: u32,
    pub(crate) parallel: u32,
    pub(crate) cache_bytes: u64,
    pub(crate) threads: u32,
    pub(crate) gpu_layers: Option<u32>,
    pub(crate) nice: i32,
    pub(crate) address_space_bytes: Option<u64>,
}

/// Facts of a loaded model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The window in force: prompt and answer of one conversation, in tokens.
    pub window: u32,
    /// What the model was trained for, in tokens.
    pub trained_window: u32,
    /// Tokens that fit in the cache of all conversations together.
    pub cache_tokens: u32,
    /// Conversations decoded at the same time.
    pub parallel: u32,
    /// Compute threads; the child lowers them when they get into each other's way.
    pub threads: u32,
    /// How long one embedding is.
    pub embedding_length: u32,
    /// Whether the model can chat; a pure embedding model cannot.
    pub chats: bool,
    /// What the operating system keeps the child from doing.
    pub sandbox: Sandbox,
}

/// What the operating system keeps the child from doing, as the child found by trying.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// It cannot open a socket.
    pub no_network: bool,
    /// It cannot start a program.
    pub no_programs: bool,
    /// It cannot write or create a file.
    pub no_writes: bool,
    /// While the model was loading it could read nothing but the model (Landlock).
    pub reads_only_model: bool,
    /// Since the model is loaded it cannot open any file at all.
    pub no_files: bool,
}

/// [`Sandbox`] in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxState {
    /// Everything in [`Sandbox`] holds.
    Full,
    /// Some of it holds.
    Partial,
    /// None of it holds.
    None,
}

impl Sandbox {
    /// The summary that a status line shows.
    #[must_use]
    pub fn state(&self) -> SandboxState {
        let held = [self.no_network, self.no_programs, self.no_writes, self.reads_only_model, self.no_files];
        if held.iter().all(|held| *held) {
            SandboxState::Full
        } else if held.iter().any(|held| *held) {
            SandboxState::Partial
        } else {
            SandboxState::None
        }
    }
}

/// A frame as bytes, length first.
///
/// # Errors
/// When the frame is longer than [`MAX_FRAME`].
pub(crate) fn encode<T: Serialize>(frame: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, frame)?;
    let body = bytes.len().saturating_sub(4);
    let length = u32::try_from(body).ok().filter(|_| body <= MAX_FRAME).ok_or_else(|| too_long(body))?;
    if let Some(head) = bytes.first_chunk_mut::<4>() {
        *head = length.to_le_bytes();
    }
    Ok(bytes)
}

/// The body of a frame.
///
/// # Errors
/// When it is not one of the frames of this direction.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    serde_json::from_slice(body).map_err(io::Error::from)
}

/// The length of the frame that follows these four bytes.
///
/// # Errors
/// When it is longer than [`MAX_FRAME`].
pub(crate) fn length(head: [u8; 4]) -> io::Result<usize> {
    let length = usize::try_from(u32::from_le_bytes(head)).unwrap_or(usize::MAX);
    if length > MAX_FRAME { Err(too_long(length)) } else { Ok(length) }
}

/// Reads one frame and waits for it; `None` when the other side has closed between frames.
///
/// # Errors
/// When the stream breaks inside a frame, or the frame is none.
#[cfg(any(feature = "llama", test))]
pub(crate) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut head = [0; 4];
    match from.read_exact(&mut head) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let length = length(head)?;
    // Grows with what arrives, so that a lying length costs nothing.
    let mut body = Vec::new();
    from.take(u64::try_from(length).unwrap_or(u64::MAX)).read_to_end(&mut body)?;
    if body.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    decode(&body).map(Some)
}

/// Writes one frame.
///
/// # Errors
/// When it is too long or the stream is broken.
#[cfg(any(feature = "llama", test))]
pub(crate) fn write<T: Serialize>(to: &mut impl Write, frame: &T) -> io::Result<()> {
    to.write_all(&encode(frame)?)
}

fn too_long(length: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes is longer than {MAX_FRAME}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::request::{FinishReason, TokenLogprob, TopLogprob};

    #[test]
    fn a_frame_is_its_length_and_its_body() {
        let bytes = encode(&ToChild::Cancel { id: 7 }).unwrap();
        assert_eq!(bytes, b"\x13\0\0\0{\"Cancel\":{\"id\":7}}"[..].to_vec());
    }

    #[test]
    fn a_stream_that_ends_between_frames_is_over_and_inside_one_broken() {
        let bytes = encode(&ToChild::Cancel { id: 7 }).unwrap();
        assert_eq!(read::<ToChild>(&mut &bytes[..0]).unwrap(), None);
        for cut in [5, bytes.len() - 1] {
            assert!(read::<ToChild>(&mut &bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_frame_that_claims_to_be_too_long_is_refused_unread() {
        assert!(read::<ToChild>(&mut &[0xff; 4][..]).is_err());
        let texts = vec!["x".repeat(MAX_FRAME)];
        assert!(encode(&ToChild::Embed { id: 1, texts }).is_err());
    }

    #[test]
    fn a_sandbox_is_full_when_everything_holds() {
        let mut sandbox = Sandbox::default();
        assert_eq!(sandbox.state(), SandboxState::None);
        sandbox.no_network = true;
        assert_eq!(sandbox.state(), SandboxState::Partial);
        let sandbox =
            Sandbox { no_network: true, no_programs: true, no_writes: true, reads_only_model: true, no_files: true };
        assert_eq!(sandbox.state(), SandboxState::Full);
    }

    fn logprob() -> impl Strategy<Value = TokenLogprob> {
        (".*", any::<Vec<u8>>(), -50.0_f32..0.0).prop_map(|(token, bytes, logprob)| TokenLogprob {
            top: vec![TopLogprob { token: token.clone(), bytes: bytes.clone(), logprob }],
            token,
            bytes,
            logprob,
        })
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            any::<(u32, u32)>()
                .prop_map(|(prompt_tokens, cached_tokens)| Event::Started { prompt_tokens, cached_tokens }),
            (".*", proptest::collection::vec(logprob(), 0..3))
                .prop_map(|(text, logprobs)| Event::Text { text, logprobs }),
            (any::<u32>(), ".*").prop_map(|(index, fragment)| Event::ToolCallArguments { index, fragment }),
            (".*", any::<u32>()).prop_map(|(stop, completion_tokens)| Event::Finished {
                reason: FinishReason::StopString(stop),
                completion_tokens
            }),
        ]
    }

    proptest! {
        #[test]
        fn frames_survive_the_wire(ids in proptest::collection::vec(any::<u64>(), 1..4), event in event(), vector in proptest::collection::vec(-1.0_f32..1.0, 0..20)) {
            let mut wire = Vec::new();
            for id in &ids {
                write(&mut wire, &FromChild::Event { id: *id, event: event.clone() }).unwrap();
                write(&mut wire, &FromChild::Vector { id: *id, vector: vector.clone() }).unwrap();
            }
            let mut wire = wire.as_slice();
            for id in ids {
                prop_assert_eq!(read(&mut wire).unwrap(), Some(FromChild::Event { id, event: event.clone() }));
                prop_assert_eq!(read(&mut wire).unwrap(), Some(FromChild::Vector { id, vector: vector.clone() }));
            }
            prop_assert_eq!(read::<FromChild>(&mut wire).unwrap(), None);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in any::<Vec<u8>>()) {
            let _ = read::<FromChild>(&mut bytes.as_slice());
            let _ = decode::<ToChild>(&bytes);
        }
    }
}
