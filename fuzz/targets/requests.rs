//! Requests in every dialect: looked over, read, and written in every other. What we write must be valid.
#![no_main]

use bytes::Bytes;
use commonwatt_wire::{Dialect, InPath, Quirks, decode, encode, engine_messages, open};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    let path = InPath { model: "m".to_owned(), stream: true };
    for dialect in Dialect::ALL {
        let in_path = Some(&path).filter(|_| dialect == Dialect::Gemini);
        if let Ok(envelope) = open(dialect, in_path, &body) {
            let _ = envelope.adapted(&body, "another", &Quirks::default());
        }
        let Ok(call) = decode(dialect, &body) else { continue };
        let _ = engine_messages(&call);
        for other in Dialect::OUT {
            let Ok(encoded) = encode(other, &call, "m", &Quirks::default()) else { continue };
            let in_path = Some(&path).filter(|_| other == Dialect::Gemini);
            assert!(open(other, in_path, &encoded.body).is_ok(), "{dialect} to {other}");
        }
    }
});
