//! Bundles that somebody made to do harm, or by mistake. Most are signed: a valid signature says who, not that it is right.

use std::collections::BTreeMap;

use commonwatt_core::turn::{Party, TurnId};

use super::samples::{blob, bundle, empty_session, key, say, written};
use crate::manifest::{Listed, MANIFEST, Manifest};
use crate::seal::{self, SIGNATURE};
use crate::{Blobs, Bundle, Limits, NotWritten, PublicKey, SigningKey, TurnState, Wrong, read, tar, write};

/// An archive of these files, as they are.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        tar::put(&mut out, name, bytes).unwrap();
    }
    tar::finish(&mut out).unwrap();
    out
}

/// A bundle of these files with a manifest that lists them and a good signature.
fn signed(files: &[(&str, &[u8])], turns: u64) -> Vec<u8> {
    let listed = |(name, bytes): &(&str, &[u8])| Listed {
        name: (*name).to_owned(),
        bytes: bytes.len() as u64,
        sha256: seal::sha256(bytes),
    };
    let manifest = Manifest {
        issuer: "mallory".to_owned(),
        key: PublicKey::of(&key()),
        made_unix_s: 1,
        turns,
        files: files.iter().map(listed).collect(),
    };
    with_manifest(&manifest.bytes().unwrap(), files)
}

fn with_manifest(manifest: &[u8], files: &[(&str, &[u8])]) -> Vec<u8> {
    let envelope = seal::seal(manifest, &key());
    let mut all = vec![(MANIFEST, manifest), (SIGNATURE, &envelope)];
    all.extend_from_slice(files);
    archive(&all)
}

fn told(bytes: &[u8]) -> String {
    told_within(bytes, &Limits::default())
}

fn told_within(bytes: &[u8], limits: &Limits) -> String {
    read(bytes, limits, None).unwrap_err().to_string()
}

/// The files of the sample, by name.
fn sample() -> BTreeMap<String, Vec<u8>> {
    let bytes = written(&bundle());
    let mut files = BTreeMap::new();
    let mut at = 0;
    while bytes[at] != 0 {
        let name = String::from_utf8(bytes[at..at + 100].split(|byte| *byte == 0).next().unwrap().to_vec()).unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[at + 124..at + 135]).unwrap(), 8).unwrap();
        files.insert(name, bytes[at + 512..at + 512 + length].to_vec());
        at += 512 + length.next_multiple_of(512);
    }
    files
}

/// The sample with its session changed, signed anew.
fn with_session(edit: impl Fn(&str) -> String) -> Vec<u8> {
    let files = sample();
    let edited: Vec<(String, Vec<u8>)> = files
        .into_iter()
        .filter(|(name, _)| name != MANIFEST && name != SIGNATURE)
        .map(|(name, bytes)| match name.as_str() {
            "sessions/0198c0de-baker.jsonl" => (name, edit(std::str::from_utf8(&bytes).unwrap()).into_bytes()),
            _ => (name, bytes),
        })
        .collect();
    let files: Vec<(&str, &[u8])> = edited.iter().map(|(name, bytes)| (name.as_str(), &**bytes)).collect();
    signed(&files, 5)
}

#[test]
fn a_bundle_without_a_signature_is_refused() {
    let files = sample();
    let left: Vec<(&str, &[u8])> =
        files.iter().filter(|(name, _)| *name != SIGNATURE).map(|(name, bytes)| (name.as_str(), &**bytes)).collect();
    let mut left = left;
    left.sort_by_key(|(name, _)| *name != MANIFEST);
    assert_eq!(told(&archive(&left)), "`signature.dsse.json` is missing: the bundle is not signed");
    assert_eq!(told(&archive(&[])), "`manifest.json` is missing");
    assert_eq!(told(&[]), "`manifest.json` is cut short");
    assert_eq!(told(b"PK\x03\x04 a zip"), "`manifest.json` is cut short");
}

#[test]
fn a_signature_over_another_manifest_or_by_another_key_is_refused() {
    let files = sample();
    let other = SigningKey::from_bytes(&[8; 32]);
    let forged = seal::seal(b"{}", &other);
    let bytes = archive(&[(MANIFEST, &files[MANIFEST]), (SIGNATURE, &forged)]);
    assert_eq!(told(&bytes), "`manifest.json` does not have the SHA-256 that was signed");
    let stolen = seal::seal(&files[MANIFEST], &other);
    let bytes = archive(&[(MANIFEST, &files[MANIFEST]), (SIGNATURE, &stolen)]);
    assert!(told(&bytes).ends_with("its issuer is not who signed it"), "{}", told(&bytes));
    let claimed = String::from_utf8(stolen).unwrap();
    let claimed = claimed.replace(&PublicKey::of(&other).to_string(), &PublicKey::of(&key()).to_string());
    let bytes = archive(&[(MANIFEST, &files[MANIFEST]), (SIGNATURE, claimed.as_bytes())]);
    assert_eq!(told(&bytes), "`signature.dsse.json` is not a signature by the key that it names");
}

#[test]
fn a_signer_who_was_not_expected_is_refused_before_anything_is_looked_into() {
    let bytes = with_manifest(b"no manifest at all", &[]);
    let expected = PublicKey::of(&SigningKey::from_bytes(&[9; 32]));
    let bad = read(&*bytes, &Limits::default(), Some(&expected)).unwrap_err();
    assert_eq!(bad.wrong, Wrong::Signer(PublicKey::of(&key())));
    assert!(told(&bytes).starts_with("`manifest.json` is not written as the format prescribes"), "{}", told(&bytes));
}

#[test]
fn a_newer_version_is_named() {
    let manifest = String::from_utf8(sample()[MANIFEST].clone()).unwrap().replace("\"version\":1", "\"version\":2");
    let told = told(&with_manifest(manifest.as_bytes(), &[]));
    assert_eq!(told, "`manifest.json` has format version 2; this Commonwatt reads version 1");
}

#[test]
fn names_that_lead_elsewhere_are_refused_even_when_signed() {
    let long = format!("sessions/{}.jsonl", "a".repeat(65));
    for name in ["../etc/passwd", "/etc/passwd", "sessions/../x.jsonl", "sessions/a/b.jsonl", "sessions/.jsonl", &long]
    {
        let bytes = signed(&[(name, b"")], 0);
        assert!(told(&bytes).ends_with("is not a name that a bundle may hold"), "{}", told(&bytes));
    }
    let upper = format!("blobs/sha256/{}", "AB".repeat(32));
    assert!(told(&signed(&[(&upper, b"")], 0)).ends_with("may hold"));
    let unlisted = with_manifest(&sample()[MANIFEST], &[("../../x", b"")]);
    assert_eq!(told(&unlisted), "`../../x` is not a name that a bundle may hold");
    let bell = with_manifest(&sample()[MANIFEST], &[("\u{7}\u{1b}[2J", b"")]);
    assert_eq!(told(&bell), "`\\u{7}\\u{1b}[2J` is not in the manifest, so nobody vouches for it");
}

#[test]
fn a_file_that_is_missing_or_extra_is_named() {
    let files = sample();
    let sessions: Vec<(&str, &[u8])> = files
        .iter()
        .filter(|(name, _)| name.starts_with("sessions/"))
        .map(|(name, bytes)| (name.as_str(), &**bytes))
        .collect();
    let without_blob = with_manifest(&files[MANIFEST], &sessions);
    assert!(told(&without_blob).starts_with("`blobs/sha256/"), "{}", told(&without_blob));
    assert!(told(&without_blob).ends_with("is missing"), "{}", told(&without_blob));
    assert_eq!(told(&with_manifest(&files[MANIFEST], &[])), told(&without_blob));
    let mut all: Vec<(&str, &[u8])> = files
        .iter()
        .filter(|(name, _)| *name != MANIFEST && *name != SIGNATURE)
        .map(|(name, bytes)| (name.as_str(), &**bytes))
        .collect();
    all.push(("notes.txt", b"x"));
    let extra = "`notes.txt` is not in the manifest, so nobody vouches for it";
    assert_eq!(told(&with_manifest(&files[MANIFEST], &all)), extra);
    let (hash, bytes) = blob(b"stray");
    let stray = format!("blobs/sha256/{}", TurnId(hash));
    assert_eq!(told(&signed(&[(&stray, &bytes)], 0)), format!("`{stray}` is named by no turn"));
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let bytes = written(&bundle());
    let limits = Limits::default();
    let cases = [
        (
            Limits { manifest_bytes: 100, ..limits },
            "`manifest.json` is too large: bytes of the manifest may be at most 100",
        ),
        (Limits { files: 2, ..limits }, "`manifest.json` is too large: files may be at most 2"),
        (Limits { turns: 4, ..limits }, "`manifest.json` is too large: turns may be at most 4"),
        (Limits { file_bytes: 200, ..limits }, "is too large: bytes of one file may be at most 200"),
        (Limits { bytes: 300, ..limits }, "is too large: bytes of all files may be at most 300"),
    ];
    for (limits, sentence) in cases {
        assert!(told_within(&bytes, &limits).ends_with(sentence), "{}", told_within(&bytes, &limits));
    }
    let promised = tar::header(MANIFEST, limits.manifest_bytes);
    assert_eq!(told(&promised), "`manifest.json` is cut short", "memory grows with what comes");
}

#[test]
fn archives_that_tar_would_unpack_differently_are_refused() {
    let mut link = archive(&[(MANIFEST, b"")]);
    link[156] = b'2';
    link[157..168].copy_from_slice(b"/etc/passwd");
    let sum: u32 = link[..512]
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    link[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(told(&link), "`manifest.json` has a damaged header in the archive");
}

#[test]
fn a_turn_that_says_something_else_than_its_id_is_named() {
    let id = bundle().sessions[0].turns[4].id;
    let told = told(&with_session(|text| text.replace("Two hours.", "Ten hours.")));
    let file = "`sessions/0198c0de-baker.jsonl`";
    assert_eq!(told, format!("{file} has the turn {id}, and that is not the hash of what it says"));
}

#[test]
fn a_parent_a_head_or_a_root_that_is_not_there_is_named() {
    let sample = bundle();
    let session = &sample.sessions[0];
    let nobody = TurnId([9; 32]);
    let first = session.turns[0].id.to_string();
    let orphaned = told(&with_session(|text| {
        text.lines()
            .filter(|line| !line.contains(&format!("\"id\":\"{first}\"")))
            .map(|line| format!("{line}\n"))
            .collect()
    }));
    assert!(orphaned.ends_with(&format!("but not its parent {first}")), "{orphaned}");
    let head = session.head.to_string();
    let headless =
        told(&with_session(|text| text.replace(&format!("\"head\":\"{head}\""), &format!("\"head\":\"{nobody}\""))));
    assert!(headless.ends_with(&format!("has the head {nobody}, but no such turn")), "{headless}");
    let root = session.root().to_string();
    let rootless = told(&with_session(|text| {
        text.replacen(&format!("\"root\":\"{root}\""), &format!("\"root\":\"{nobody}\""), 1)
    }));
    assert!(rootless.ends_with("has a root that is not the hash of its salt"), "{rootless}");
}

#[test]
fn lines_that_say_the_same_in_other_bytes_are_refused() {
    type Edit = fn(&str) -> String;
    let edits: [(Edit, &str); 6] = [
        (|text| text.replace("\"made_ms\":5", "\"made_ms\": 5"), "line 8 says it in other bytes"),
        (|text| text.replace("\"state\":\"unfinished\"", "\"state\":\"unfinished\",\"x\":1"), "line 7 says it"),
        (|text| text.replace("\"party\":\"tool\"", "\"party\":\"tool\",\"party\":\"tool\""), "line 6 says it"),
        (|text| text.trim_end().to_owned(), "line 8 says it"),
        (|text| text.replace("\"deployment\":\"claude-eu\"", "\"deployment\":\"other\""), "line 3 says it"),
        (|text| text.replace("{\"branches\"", "{\"branch\""), "line 1: not the line of a session"),
    ];
    for (edit, sentence) in edits {
        let told = told(&with_session(edit));
        assert!(told.contains(sentence), "{told}");
    }
}

#[test]
fn what_does_not_hold_together_is_not_written() {
    let refused = |edit: fn(&mut Bundle)| {
        let mut bundle = bundle();
        edit(&mut bundle);
        let mut out = Vec::new();
        let Err(NotWritten::Bad(bad)) = write(&bundle, &key(), &mut out) else { panic!("it was written") };
        assert!(out.is_empty());
        bad.to_string()
    };
    type Edit = fn(&mut Bundle);
    let cases: [(Edit, &str); 8] = [
        (|bundle| bundle.sessions[0].id.0 = "../x".into(), "may hold"),
        (|bundle| bundle.sessions[1].id = bundle.sessions[0].id.clone(), "stands there twice"),
        (|bundle| bundle.sessions[0].turns[2].id = TurnId([1; 32]), "not the hash of what it says"),
        (|bundle| bundle.sessions[0].turns.extend_from_within(..1), "twice"),
        (|bundle| bundle.blobs.clear(), "is not there"),
        (|bundle| bundle.blobs.extend([blob(b"stray")]), "is named by no turn"),
        (|bundle| bundle.made_unix_s = u64::MAX, "its time is beyond 2⁵³−1 seconds"),
        (|bundle| bundle.sessions[0].turns[1].made_ms = Some(u64::MAX), "a time is beyond 2⁵³−1 milliseconds"),
    ];
    for (edit, sentence) in cases {
        assert!(refused(edit).ends_with(sentence), "{}", refused(edit));
    }
}

#[test]
fn a_turn_with_more_in_it_than_the_canonical_form_is_refused() {
    let mut session = empty_session("s", [1; 32]);
    let root = session.root();
    say((&mut session, &mut Blobs::new()), root, (Party::Model, Vec::new()), (None, TurnState::Complete));
    let text = String::from_utf8(session.turns[0].canonical.to_vec()).unwrap();
    let more = text.replace("\"v\":1", "\"secret\":\"x\",\"v\":1");
    session.turns[0].id = commonwatt_wire::turns::id_of(more.as_bytes());
    session.turns[0].canonical = more.into();
    let bundle = Bundle { sessions: vec![session], blobs: Blobs::new(), ..bundle() };
    let told = write(&bundle, &key(), Vec::new()).unwrap_err().to_string();
    assert!(told.ends_with("says more than its canonical form may"), "{told}");
}

/// A disk that fails after so many bytes.
struct Failing(usize);

impl std::io::Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        if taken == 0 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl std::io::Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::TimedOut.into())
    }
}

#[test]
fn a_disk_that_fails_is_told_and_what_it_kept_is_no_bundle() {
    let told = write(&bundle(), &key(), Failing(3_000)).unwrap_err().to_string();
    assert!(told.starts_with("the bundle could not be written"), "{told}");
    let bad = read(Failing(0), &Limits::default(), None).unwrap_err();
    assert_eq!(bad.wrong, Wrong::Unreadable(std::io::ErrorKind::TimedOut));
    assert_eq!(bad.file, MANIFEST);
}
