//! No byte of a bundle may be changed, removed or added.
//!
//! The format leaves none to chance: a header and the padding follow from the manifest, the manifest from its signature, the
//! envelope from both. So the story is the simple one: every change of every byte is refused, and the refusal names the file
//! to which the byte belongs.

use super::samples::{bundle, written};
use crate::{BadBundle, Limits, Wrong, read};

/// Each file with where it begins (with its header) and ends (with its padding).
fn extents(bytes: &[u8]) -> Vec<(String, std::ops::Range<usize>)> {
    let mut extents = Vec::new();
    let mut at = 0;
    while bytes[at] != 0 {
        let name = String::from_utf8(bytes[at..at + 100].split(|byte| *byte == 0).next().unwrap().to_vec()).unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[at + 124..at + 135]).unwrap(), 8).unwrap();
        let end = at + 512 + length.next_multiple_of(512);
        extents.push((name, at..end));
        at = end;
    }
    extents.push(("the end".to_owned(), at..bytes.len()));
    extents
}

fn refused(bytes: &[u8]) -> BadBundle {
    read(bytes, &Limits::default(), None).unwrap_err()
}

#[test]
fn every_flipped_byte_is_refused_and_its_file_is_named() {
    let good = written(&bundle());
    let mut flips = 0;
    for (file, extent) in extents(&good) {
        for at in extent {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            let refusal = refused(&bad);
            assert_eq!(refusal.file, file, "byte {at}: {refusal}");
            flips += 1;
        }
    }
    assert_eq!(flips, good.len());
}

#[test]
fn a_bundle_cut_anywhere_is_refused_and_the_file_is_named_in_which_it_was_cut() {
    let good = written(&bundle());
    for (file, extent) in extents(&good) {
        for length in extent.step_by(37) {
            let bad = refused(&good[..length]);
            assert_eq!((bad.file.as_str(), &bad.wrong), (file.as_str(), &Wrong::CutShort), "{length} bytes");
        }
    }
}

#[test]
fn bytes_behind_the_end_are_refused() {
    let mut bytes = written(&bundle());
    bytes.push(0);
    assert_eq!(refused(&bytes).to_string(), "`the end` has bytes behind it that belong to nothing");
}
