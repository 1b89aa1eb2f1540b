//! Headers, well-formed and hostile.

use proptest::prelude::*;

use super::*;

/// Writes a header as a model's maker would.
#[derive(Default)]
struct Writer {
    entries: Vec<u8>,
    count: u64,
    tensors: Vec<u8>,
    tensor_count: u64,
}

impl Writer {
    fn entry(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        string(&mut self.entries, key);
        self.entries.extend(kind.to_le_bytes());
        self.entries.extend(value);
        self.count += 1;
        self
    }

    fn text(self, key: &str, text: &str) -> Self {
        let mut value = Vec::new();
        string(&mut value, text);
        self.entry(key, 8, &value)
    }

    fn number(self, key: &str, number: u32) -> Self {
        self.entry(key, 4, &number.to_le_bytes())
    }

    fn texts(self, key: &str, texts: &[&str]) -> Self {
        let mut value = 8_u32.to_le_bytes().to_vec();
        value.extend((texts.len() as u64).to_le_bytes());
        texts.iter().for_each(|text| string(&mut value, text));
        self.entry(key, 9, &value)
    }

    fn tensor(mut self, name: &str, dimensions: &[u64]) -> Self {
        string(&mut self.tensors, name);
        self.tensors.extend((dimensions.len() as u32).to_le_bytes());
        dimensions.iter().for_each(|d| self.tensors.extend(d.to_le_bytes()));
        self.tensors.extend([0; 12]);
        self.tensor_count += 1;
        self
    }

    fn bytes(self) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(self.tensor_count.to_le_bytes());
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(self.entries);
        bytes.extend(self.tensors);
        bytes
    }
}

fn string(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

fn read(bytes: &[u8]) -> Result<Header, GgufError> {
    Header::read(bytes, bytes.len() as u64)
}

fn model() -> Writer {
    Writer::default()
        .number("llama.context_length", 4096)
        .text("general.architecture", "llama")
        .text("general.name", "Test")
        .number("llama.embedding_length", 64)
        .number("llama.block_count", 2)
        .number("general.file_type", 15)
        .text("general.license", "apache-2.0")
        .texts("general.languages", &["en", "de"])
        .texts("tokenizer.ggml.tokens", &["a", "b", "c"])
        .text("tokenizer.chat_template", "{{ messages }}")
        .entry("some.float", 6, &[0; 4])
        .tensor("a", &[64, 3])
        .tensor("b", &[64])
}

#[test]
fn a_model_tells_about_itself() {
    let expected = Header {
        architecture: "llama".to_owned(),
        name: Some("Test".to_owned()),
        parameters: 256,
        quantisation: Some("Q4_K_M".to_owned()),
        context_tokens: Some(4096),
        embedding_length: Some(64),
        layers: Some(2),
        vocabulary: Some(3),
        chat_template: true,
        licence: Some("apache-2.0".to_owned()),
        languages: vec!["en".to_owned(), "de".to_owned()],
        ..Header::default()
    };
    assert_eq!(read(&model().bytes()).unwrap(), expected);
}

#[test]
fn something_else_is_recognised_by_its_beginning() {
    let error = read(b"PK\x03\x04 and so on, a zip file").unwrap_err().to_string();
    assert_eq!(error, "this is no GGUF file (it begins with `PK..`): pull the GGUF variant of the model");
    assert!(matches!(read(b"GGUF\x01\0\0\0"), Err(GgufError::Version { version: 1 })));
    assert!(matches!(read(b""), Err(GgufError::Truncated)));
}

#[test]
fn every_cut_of_a_header_is_an_error() {
    let bytes = model().bytes();
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn lies_about_lengths_are_refused_before_they_cost_anything() {
    let huge = u64::MAX.to_le_bytes();
    let array = [&8_u32.to_le_bytes()[..], &huge[..]].concat();
    assert!(matches!(read(&Writer::default().entry("a", 9, &array).bytes()), Err(GgufError::Truncated)));
    assert!(matches!(read(&Writer::default().entry("a", 8, &huge).bytes()), Err(GgufError::Truncated)));
    let mut many = model().bytes();
    many[8..16].copy_from_slice(&huge);
    assert!(matches!(read(&many), Err(GgufError::Broken { .. })));
}

#[test]
fn arrays_in_arrays_end_somewhere() {
    let mut value = Vec::new();
    for _ in 0..64 {
        value.extend(9_u32.to_le_bytes());
        value.extend(1_u64.to_le_bytes());
    }
    assert!(matches!(read(&Writer::default().entry("a", 9, &value).bytes()), Err(GgufError::Broken { .. })));
}

#[test]
fn a_tensor_of_impossible_size_does_not_overflow() {
    let bytes = model().tensor("c", &[u64::MAX, u64::MAX]).bytes();
    assert_eq!(read(&bytes).unwrap().parameters, u64::MAX);
}

#[test]
fn a_header_without_an_architecture_is_broken() {
    assert!(matches!(read(&Writer::default().bytes()), Err(GgufError::Broken { .. })));
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes);
        let _ = read(&[&b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0"[..], &bytes].concat());
    }

    #[test]
    fn a_broken_byte_is_an_error_or_a_header(at: prop::sample::Index, byte: u8) {
        let mut bytes = model().bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = read(&bytes);
    }
}
