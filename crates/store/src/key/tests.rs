//! Where a node key comes from, and what is refused in its place.

use super::*;
use tempfile::TempDir;

fn command(script: &str) -> Result<NodeKey, NodeKeyError> {
    NodeKey::from_command(&["sh".into(), "-c".into(), script.into()])
}

fn sh() -> String {
    "sh".into()
}

#[test]
fn an_absent_file_is_made_once_and_for_its_owner_only() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("node.key");
    let made = NodeKey::from_file(&path).unwrap();
    assert_eq!(NodeKey::from_file(&path).unwrap().bytes(), made.bytes());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    let other = NodeKey::from_file(&folder.path().join("other.key")).unwrap();
    assert_ne!(other.bytes(), made.bytes());
}

#[test]
fn a_file_that_others_may_read_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("node.key");
    NodeKey::from_file(&path).unwrap();
    for mode in [0o640, 0o604, 0o660] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = NodeKey::from_file(&path).unwrap_err();
        assert_eq!(refused, NodeKeyError::Exposed { path: path.clone(), mode });
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    NodeKey::from_file(&path).unwrap();
}

#[test]
fn a_file_without_a_key_is_refused_and_stays_as_it_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("node.key");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
    file.write_all(b"hunter2").unwrap();
    let refused = NodeKey::from_file(&path).unwrap_err();
    assert_eq!(refused, NodeKeyError::NotAKeyFile(path.clone()));
    assert!(!refused.to_string().contains("hunter2"));
    assert_eq!(fs::read(&path).unwrap(), b"hunter2");
}

#[test]
fn a_key_is_understood_in_each_spelling() {
    let hex = "00".repeat(31) + "fF";
    let spellings = [
        hex.clone(),
        format!("\n {hex} \n"),
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAP8=".into(),
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAP8".into(),
    ];
    for spelling in spellings {
        let key = NodeKey::parse(spelling.as_bytes()).unwrap();
        assert_eq!((key.bytes()[0], key.bytes()[31]), (0, 255), "{spelling}");
    }
    for wrong in ["", "zz", &"0".repeat(63), &"0".repeat(65), &"xy".repeat(32), "AAAA"] {
        assert!(NodeKey::parse(wrong.as_bytes()).is_none(), "{wrong}");
    }
}

#[test]
fn a_command_prints_the_key() {
    let key = command("printf '%064d' 1").unwrap();
    assert_eq!(key.bytes()[31], 1);
}

#[test]
fn a_command_that_does_not_print_a_key_is_refused_without_its_words() {
    assert_eq!(command("echo hunter2").unwrap_err(), NodeKeyError::CommandPrintedNoKey { program: sh() });
    assert!(!command("echo hunter2").unwrap_err().to_string().contains("hunter2"));
    let failed = command("printf '%064d' 1; exit 3").unwrap_err();
    assert_eq!(failed, NodeKeyError::CommandFailed { program: sh(), status: "exit status: 3".into() });
    assert_eq!(NodeKey::from_command(&[]).unwrap_err(), NodeKeyError::NoCommand);
    let absent = NodeKey::from_command(&["/no/such/program".into()]).unwrap_err();
    assert!(matches!(absent, NodeKeyError::Command { .. }), "{absent}");
}

#[test]
fn a_key_is_not_shown() {
    assert_eq!(format!("{:?}", NodeKey::new([0x5a; 32])), "NodeKey(…)");
}
