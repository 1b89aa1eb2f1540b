//! Stories about first runs, lost files and open doors.

use super::daemon::Daemon;
use super::*;
use commonwatt_bundle::PublicKey;
use commonwatt_grid::identity::Keyring;

fn home() -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home { dir: folder.path().join("home") };
    home.prepare().expect("can be made");
    (folder, home)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

fn knows(home: &Home, env: &Env, key: &str) -> bool {
    Keyring::new(home.keyring(env).expect("readable")).identify(Some(key)).is_ok()
}

#[test]
fn the_first_run_makes_a_key_that_only_its_owner_can_read() {
    let (_folder, home) = home();
    let env = Env::default();
    assert!(home.ensure_key(&env).expect("writable"));
    let first = home.first_key(&env).expect("readable").expect("made");
    assert_eq!(first.key.reveal().len(), "cw-".len() + 43);
    assert!(knows(&home, &env, first.key.reveal()));
    assert_eq!((mode(home.dir()), mode(&home.key_file()), mode(&home.keys_file())), (0o700, 0o600, 0o600));
    let hashes = fs::read_to_string(home.keys_file()).expect("there");
    assert!(!hashes.contains(first.key.reveal()));
    assert!(!home.ensure_key(&env).expect("writable"), "the second run makes none");
}

#[test]
fn a_key_file_that_others_can_read_is_refused_with_the_cure() {
    let (_folder, home) = home();
    home.ensure_key(&Env::default()).expect("writable");
    fs::set_permissions(home.key_file(), fs::Permissions::from_mode(0o644)).expect("ours");
    let said = home.first_key(&Env::default()).expect_err("open to others").to_string();
    assert!(said.contains("run `chmod 600 "), "{said}");
}

#[test]
fn a_key_in_the_environment_takes_the_place_of_the_first_and_is_not_stored() {
    let (_folder, home) = home();
    let preset = Env::of(&[(env::KEY, "cw-preset")]);
    assert!(!home.ensure_key(&preset).expect("writable"));
    assert!(knows(&home, &preset, "cw-preset"));
    assert!(!home.key_file().exists());

    home.ensure_key(&Env::default()).expect("writable");
    let made = home.first_key(&Env::default()).expect("readable").expect("made");
    assert!(knows(&home, &preset, "cw-preset"));
    assert!(!knows(&home, &preset, made.key.reveal()), "another first key is out of force while one is preset");
    assert!(knows(&home, &Env::default(), made.key.reveal()), "and was not overwritten");
}

#[test]
fn a_key_that_cannot_be_sent_is_refused() {
    let (_folder, home) = home();
    let said = home.first_key(&Env::of(&[(env::KEY, "two words")])).expect_err("a space").to_string();
    assert!(said.starts_with("the key in `COMMONWATT_KEY`"), "{said}");
    assert!(!said.contains("two"), "{said}");
}

#[test]
fn a_key_that_was_interrupted_between_its_two_files_is_completed() {
    let (_folder, home) = home();
    home.ensure_key(&Env::default()).expect("writable");
    fs::remove_file(home.keys_file()).expect("there");
    let first = home.first_key(&Env::default()).expect("readable").expect("made");
    assert!(!home.ensure_key(&Env::default()).expect("writable"));
    assert!(knows(&home, &Env::default(), first.key.reveal()));
}

#[test]
fn the_first_key_may_be_taken_off_the_disk() {
    let (_folder, home) = home();
    home.ensure_key(&Env::default()).expect("writable");
    let first = home.first_key(&Env::default()).expect("readable").expect("made");
    fs::remove_file(home.key_file()).expect("there");
    assert!(!home.ensure_key(&Env::default()).expect("writable"), "no other is made in its place");
    assert!(knows(&home, &Env::default(), first.key.reveal()));
}

#[test]
fn a_damaged_key_file_is_said_to_be_damaged() {
    let (_folder, home) = home();
    fs::write(home.keys_file(), "[[keys]]\nname = 3").expect("writable");
    let said = home.stored_keys().expect_err("damaged").to_string();
    assert!(said.contains("is damaged"), "{said}");
}

#[test]
fn what_signs_handoffs_is_made_once_and_is_its_owners_alone() {
    let (_folder, home) = home();
    let path = home.dir().join("handoff.key");
    let first = home.handoff_seed().expect("writable");
    assert_eq!((mode(&path), home.handoff_seed().expect("readable")), (0o600, first));
    fs::write(&path, "nonsense").expect("ours");
    let said = home.handoff_seed().expect_err("no key").to_string();
    assert!(said.contains("handoff.key") && said.contains("restore it"), "{said}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
    assert!(home.handoff_seed().expect_err("open to others").to_string().contains("run `chmod 600 "));
}

#[test]
fn a_folder_that_cannot_be_made_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("file"), "").expect("writable");
    let home = Home { dir: folder.path().join("file/home") };
    let said = home.prepare().expect_err("a file is in the way").to_string();
    assert!(said.contains("set `COMMONWATT_HOME` to another folder"), "{said}");
}

#[test]
fn a_hash_survives_being_written_down() {
    let hash = commonwatt_grid::identity::hash_key("cw-x");
    assert_eq!(parse_hash(&hash_text(&hash)), Some(hash));
    for damaged in ["", "blake3:", "blake3:zz", "sha256:00"] {
        assert_eq!(parse_hash(damaged), None);
    }
    assert_eq!(parse_hash(&format!("blake3:{}", "é".repeat(32))), None);
}

#[test]
fn a_running_daemon_is_found_and_a_dead_one_is_not() {
    let (_folder, home) = home();
    assert_eq!(home.daemon(), None);
    let announcement = home.announce("http://127.0.0.1:4600", 7).expect("writable");
    assert_eq!(home.daemon().map(|daemon| daemon.url).as_deref(), Some("http://127.0.0.1:4600"));
    drop(announcement);
    assert_eq!(home.daemon(), None);

    let mut child = std::process::Command::new("true").spawn().expect("a process");
    child.wait().expect("it ends");
    let dead = Daemon { url: "http://x".into(), pid: child.id(), version: "0".into(), started_unix_s: 0 };
    fs::write(home.daemon_file(), serde_json::to_string(&dead).expect("JSON")).expect("writable");
    assert_eq!(home.daemon(), None, "its process is gone");
}

#[test]
fn the_home_is_where_the_environment_says() {
    let at = |pairs: &[(&str, &str)]| Home::locate(&Env::of(pairs)).map(|home| home.dir);
    assert_eq!(at(&[("HOME", "/u")]).expect("known"), Path::new("/u/.commonwatt"));
    assert_eq!(at(&[("HOME", "/u"), (env::HOME, "~/w")]).expect("known"), Path::new("/u/w"));
    assert!(at(&[]).expect_err("unknown").to_string().contains("set `COMMONWATT_HOME`"));
}

#[test]
fn a_node_signs_with_one_key_and_each_caller_trusts_for_itself() {
    let (_folder, home) = home();
    let own = home.ensure_bundle_key().expect("writable");
    assert_eq!(home.ensure_bundle_key().expect("readable").to_bytes(), own.to_bytes());
    assert_eq!(mode(&home.bundle_key_file()), 0o600);
    let knows = |caller: &str, signer: &PublicKey| home.knows_signer(caller, signer).expect("readable");
    assert!(knows("ada", &PublicKey::of(&own)), "what this node signed itself");

    let other = PublicKey([7; 32]);
    assert!(!knows("ada", &other));
    for _ in 0..2 {
        home.trust_signer("ada", &other, "a \"node\"\n").expect("writable");
    }
    assert_eq!((knows("ada", &other), knows("bob", &other)), (true, false));
    assert_eq!(mode(&home.signers_file()), 0o600);
    assert_eq!(fs::read_to_string(home.signers_file()).expect("there").matches(&other.to_string()).count(), 1);
}

#[test]
fn a_signing_key_that_is_damaged_or_open_to_others_is_refused_with_the_cure() {
    let (_folder, home) = home();
    home.ensure_bundle_key().expect("writable");
    fs::set_permissions(home.bundle_key_file(), fs::Permissions::from_mode(0o644)).expect("ours");
    assert!(home.ensure_bundle_key().expect_err("open").to_string().contains("chmod 600"));
    write_private(&home.bundle_key_file(), "not a key\n").expect("writable");
    assert!(home.ensure_bundle_key().expect_err("damaged").to_string().contains("64 hexadecimal digits"));
}
