//! How fast requests are looked over, read and translated, beside `serde_json` on the same bytes.
//!
//! ```text
//! cargo run --release -p commonwatt-wire --example scan_speed
//! ```

#![expect(clippy::print_stdout, reason = "printing is what it does")]

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use commonwatt_wire::sse::Framer;
use commonwatt_wire::{AnswerReader, AnswerWriter, Dialect, Head, Keeping, Quirks, decode, encode, open};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

fn main() -> Result<(), Box<dyn Error>> {
    let prose = "The quick brown fox jumps over the lazy dog, and then it does so again. ";
    let code = "fn main() {\\n    let greeting = \\\"hello\\\";\\n    println!(\\\"{greeting}\\\");\\n}\\n";
    let accents = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. ";
    println!(
        "{:>10} {:>9} {:>14} {:>9} {:>11} {:>11} {:>11}",
        "text", "bytes", "", "open", "RawValue", "IgnoredAny", "decode"
    );
    for (name, text) in [("prose", prose), ("code", code), ("accents", accents)] {
        for size in [1 << 10, 64 << 10, 1 << 20] {
            let body = request(text, size);
            let speeds = [
                speed(&body, |body| open(Dialect::OpenAiChat, None, body).is_ok()),
                speed(&body, |body| serde_json::from_slice::<&RawValue>(body).is_ok()),
                speed(&body, |body| serde_json::from_slice::<IgnoredAny>(body).is_ok()),
                speed(&body, |body| decode(Dialect::OpenAiChat, body).is_ok()),
            ];
            let [open, raw, ignored, decoded] = speeds.map(|speed| format!("{speed:.0}"));
            println!("{name:>10} {:>9} {:>14} {open:>9} {raw:>11} {ignored:>11} {decoded:>11}", body.len(), "MB/s");
        }
    }
    let body = request(prose, 64 << 10);
    let call = decode(Dialect::OpenAiChat, &body)?;
    let quirks = Quirks::default();
    let both = took(|| {
        let call = decode(Dialect::OpenAiChat, black_box(&body));
        call.is_ok_and(|call| encode(Dialect::AnthropicMessages, &call, "m", &quirks).is_ok())
    });
    let one = took(|| encode(Dialect::AnthropicMessages, black_box(&call), "m", &quirks).is_ok());
    println!("64 KiB to the other dialect: {both:?} a request, of which writing {one:?}");
    stream();
    Ok(())
}

/// What an event of a stream costs: cut, read, and written in the other dialect.
fn stream() {
    let chunk = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"a word or two"},"finish_reason":null}]}"#;
    let events = 1_000;
    let bytes = Bytes::from(format!("data: {chunk}\n\n").repeat(events));
    let head = Head {
        id: "1".to_owned(),
        model: "m".to_owned(),
        created_unix_s: 0,
        stream_usage: false,
        request: None,
        keeping: Keeping::default(),
    };
    let run = |write: bool| {
        let (mut framer, mut reader) = (Framer::default(), AnswerReader::new(Dialect::OpenAiChat));
        let mut writer = AnswerWriter::new(Dialect::AnthropicMessages, head.clone());
        let (mut deltas, mut out) = (Vec::new(), Vec::new());
        let mut fine = framer.push(bytes.clone()).is_ok();
        while let Some(event) = framer.next() {
            fine &= reader.read(&event, &mut deltas).is_ok();
            if write {
                deltas.iter().for_each(|delta| writer.write(delta, &mut out));
                out.clear();
            }
            deltas.clear();
        }
        fine
    };
    let each = |took: Duration| took.as_nanos() / events as u128;
    println!("a stream event: {} ns read, {} ns read and written", each(took(|| run(false))), each(took(|| run(true))));
}

/// A conversation of about `size` bytes, in messages of at most 16 KiB.
fn request(text: &str, size: usize) -> Bytes {
    let one = text.repeat((16 << 10) / text.len());
    let mut body = String::from(r#"{"model":"auto","stream":true,"messages":["#);
    while body.len() < size {
        let left = (size - body.len()).max(text.len()) / text.len() * text.len();
        let said = one.get(..left.min(one.len())).unwrap_or(&one);
        let comma = if body.ends_with('[') { "" } else { "," };
        body.push_str(&format!(r#"{comma}{{"role":"user","content":[{{"type":"text","text":"{said}"}}]}}"#));
    }
    body.push_str("]}");
    body.into()
}

/// Megabytes a second.
fn speed(body: &Bytes, work: impl Fn(&Bytes) -> bool) -> f64 {
    body.len() as f64 / took(|| work(black_box(body))).as_secs_f64() / 1e6
}

/// The fastest of several rounds, so that a busy machine shows less.
fn took(work: impl Fn() -> bool) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        let mut rounds = 0;
        while start.elapsed() < Duration::from_millis(10) {
            assert!(black_box(work()), "the work must succeed");
            rounds += 1;
        }
        best = best.min(start.elapsed() / rounds);
    }
    best
}
