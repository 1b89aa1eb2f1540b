//! The framer: any split of the bytes gives the same events, and their raw bytes are the bytes that went in.
#![no_main]

use bytes::Bytes;
use commonwatt_wire::sse::{Framer, Framing};
use libfuzzer_sys::fuzz_target;

fn framed(framing: Framing, chunks: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (mut framer, mut data, mut raw) = (Framer::new(framing), Vec::new(), Vec::new());
    for chunk in chunks {
        framer.push(Bytes::copy_from_slice(chunk)).expect("small");
        while let Some(event) = framer.next() {
            raw.extend_from_slice(&event.raw);
            data.push(event.data().to_vec());
        }
    }
    if let Some(event) = framer.finish() {
        raw.extend_from_slice(&event.raw);
        data.push(event.data().to_vec());
    }
    (data, raw)
}

fuzz_target!(|data: &[u8]| {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let (head, tail) = bytes.split_at(usize::from(cut).min(bytes.len()));
    for framing in [Framing::Events, Framing::Lines] {
        let (whole, raw) = framed(framing, &[bytes]);
        assert_eq!(framed(framing, &[head, tail]).0, whole);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(framed(framing, &single).0, whole);
        assert!(bytes.starts_with(&raw), "raw bytes are what came in");
    }
});
