//! Streams of every dialect, read and written on in every other.
#![no_main]

use bytes::Bytes;
use commonwatt_wire::sse::Framer;
use commonwatt_wire::{AnswerReader, AnswerWriter, Dialect, Head, Keeping};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for dialect in Dialect::ALL {
        let (mut framer, mut reader, mut deltas) =
            (Framer::new(dialect.framing()), AnswerReader::new(dialect), Vec::new());
        if framer.push(Bytes::copy_from_slice(data)).is_err() {
            continue;
        }
        while let Some(event) = framer.next() {
            if reader.read(&event, &mut deltas).is_err() {
                break;
            }
        }
        for other in Dialect::ALL {
            let head = Head { id: "1".into(), model: "m".into(), created_unix_s: 1, stream_usage: true, request: None, keeping: Keeping::default() };
            let (mut writer, mut out) = (AnswerWriter::new(other, head), Vec::new());
            deltas.iter().for_each(|delta| writer.write(delta, &mut out));
            writer.finish(&mut out);
        }
    }
});
