//! Whole answers and errors of every dialect, and what is written of them.
#![no_main]

use commonwatt_core::answer::Answer;
use commonwatt_wire::{Dialect, Head, Keeping, read_fault, read_whole, write_whole};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for dialect in Dialect::ALL {
        let _ = read_fault(dialect, 400, None, data);
        let Ok(deltas) = read_whole(dialect, data) else { continue };
        let mut answer = Answer::default();
        deltas.into_iter().for_each(|delta| answer.push(delta));
        for other in Dialect::ALL {
            let head = Head { id: "1".into(), model: "m".into(), created_unix_s: 1, stream_usage: true, request: None, keeping: Keeping::default() };
            let _ = write_whole(other, &answer, &head);
        }
    }
});
