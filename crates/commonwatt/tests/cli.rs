//! The program as a person meets it: what is typed, and what is read. Nothing here needs a daemon; where one must
//! answer, a small server of our own does.

#![expect(clippy::expect_used, clippy::panic, reason = "these are tests, helpers included")]

#[path = "cli/fake.rs"]
mod fake;
#[path = "cli/sessions.rs"]
mod sessions;
#[path = "cli/terminal.rs"]
mod terminal;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use fake::Fake;
use terminal::Terminal;

/// A home folder of its own, and nothing of this machine's environment.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn home(&self) -> std::path::PathBuf {
        self.folder.path().join("home")
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("writable");
        path.display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_commonwatt"));
        command.env_clear().env("COMMONWATT_HOME", self.home()).env("HOME", self.folder.path()).args(arguments);
        // A port on which nobody listens.
        command.env("COMMONWATT_LISTEN", "127.0.0.1:9");
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        Said::of(self.command(arguments).stdin(Stdio::null()).output().expect("it starts"))
    }

    /// Runs against a daemon that answers by script.
    fn run_with(&self, fake: &Fake, arguments: &[&str], input: &str) -> Said {
        let mut command = self.command(arguments);
        command.arg("--url").arg(fake.url()).env("COMMONWATT_KEY", "cw-test");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
        Said::of(child.wait_with_output().expect("it ends"))
    }
}

/// What the program said, and how it ended.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

#[test]
fn without_a_command_the_program_says_what_it_can_do() {
    let said = Desk::new().run(&[]);
    assert_eq!(said.code, 2);
    for word in ["serve", "status", "chat", "models", "explain", "session", "config", "key", "COMMONWATT_HOME"] {
        assert!(said.err.contains(word), "{word}: {said:?}");
    }
    assert!(!said.err.contains("sim"), "{said:?}");
}

#[test]
fn a_word_that_is_misspelt_gets_the_nearest_one() {
    let said = Desk::new().run(&["sttus"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("'status'"), "{said:?}");
    let said = Desk::new().run(&["serve", "--lisen", "x"]);
    assert!(said.err.contains("'--listen'"), "{said:?}");
}

#[test]
fn whoever_asks_a_daemon_that_does_not_run_is_told_how_to_start_one() {
    let desk = Desk::new();
    let request = desk.write("request.json", r#"{"model":"auto","messages":[]}"#);
    for arguments in [&["status"][..], &["chat", "hello"], &["explain", &request]] {
        let said = desk.run(arguments);
        assert_eq!((said.code, said.out.as_str()), (1, ""));
        assert_eq!(said.err, "error: no daemon answers at http://127.0.0.1:9: start one with `commonwatt serve`\n");
    }
}

#[test]
fn a_valid_file_is_said_to_be_valid() {
    let desk = Desk::new();
    let file = desk.write("my.toml", "[limits]\nbody_mib = 8\n");
    let said = desk.run(&["config", "check", &file]);
    assert_eq!((said.code, said.out), (0, format!("`{file}` is valid\n")));
    let said = desk.run(&["config", "check"]);
    assert!(said.code == 0 && said.out.contains("none is needed"), "{said:?}");
    assert!(!desk.home().exists(), "a check leaves nothing behind");
}

#[test]
fn a_mistake_is_shown_with_its_line_and_a_suggestion() {
    let desk = Desk::new();
    let file = desk.write("my.toml", "# mine\nlisen = \"127.0.0.1:1\"\n");
    let said = desk.run(&["config", "check", &file]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    for wanted in ["unknown key `lisen`", "my.toml:2:1", "lisen = \"127.0.0.1:1\"", "did you mean `listen`?"] {
        assert!(said.err.contains(wanted), "{wanted}\n{}", said.err);
    }
    let said = desk.run(&["serve", "--config", &file]);
    assert!(said.code == 1 && said.err.contains("unknown key `lisen`"), "{said:?}");
    assert!(!desk.home().exists(), "nothing was begun");
}

#[test]
fn mistakes_are_told_to_programs_as_json() {
    let desk = Desk::new();
    let file = desk.write("my.toml", "listen = 'x'\n[routes.fast]\ncandidates = []\n");
    let said = desk.run(&["config", "check", "--json", &file]);
    let json = said.json();
    assert_eq!((said.code, json["valid"].as_bool()), (1, Some(false)));
    assert_eq!(json["problems"].as_array().map(Vec::len), Some(2));
    assert_eq!((json["problems"][1]["line"].as_u64(), json["problems"][1]["column"].as_u64()), (Some(3), Some(14)));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let said = Desk::new().run(&["config", "check", "/nowhere/my.toml"]);
    assert_eq!(said.code, 1);
    assert!(
        said.err.contains("cannot read `/nowhere/my.toml`") && said.err.contains("name a file that exists"),
        "{said:?}"
    );
}

#[test]
fn a_key_in_the_file_is_refused_and_never_shown() {
    let desk = Desk::new();
    let file = desk.write("my.toml", "[providers.openai]\nkey = \"sk-very-secret\"\n");
    let said = desk.run(&["config", "check", &file]);
    assert!(said.code == 1 && said.err.contains("a key does not belong in this file"), "{said:?}");
    assert!(!said.err.contains("secret"), "{said:?}");
}

#[test]
fn what_is_in_force_is_shown_without_keys() {
    let desk = Desk::new();
    let show = |arguments: &[&str]| {
        let mut command = desk.command(arguments);
        Said::of(command.env("OPENAI_API_KEY", "sk-very-secret").output().expect("it starts"))
    };
    let said = show(&["config", "show", "--json"]);
    assert_eq!(said.json()["providers"]["openai"]["key"], "there");
    assert!(!said.out.contains("secret"), "{said:?}");
    assert_eq!(said.json()["listen"], "127.0.0.1:9");
    let said = show(&["config", "show"]);
    assert!(said.out.contains("\n[limits]\nbody_mib = 32\n"), "{said:?}");
}

#[test]
fn the_schema_is_printed_for_editors() {
    let said = Desk::new().run(&["config", "schema"]);
    assert_eq!(said.json()["title"], "commonwatt.toml");
    let committed =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schema/commonwatt.schema.json"));
    assert!(said.out == committed.expect("committed"), "`config schema` prints what is committed");
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let mut command = Desk::new().command(&["config", "schema"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let said = Said::of(child.wait_with_output().expect("it ends"));
    assert_eq!((said.code, said.err.as_str()), (0, ""));
}

#[test]
fn keys_are_made_listed_and_removed() {
    let desk = Desk::new();
    let made = desk.run(&["key", "add", "team", "--tiers", "local,free", "--json"]).json();
    let key = made["key"].as_str().expect("shown once").to_owned();
    assert!(key.starts_with("cw-") && key.len() == 46, "{key}");
    assert!(desk.run(&["key", "add", "other"]).out.starts_with("cw-"));
    let listed = desk.run(&["key", "list", "--json"]);
    assert_eq!(listed.json()[0]["name"], "team");
    assert_eq!(listed.json()[0]["tiers"], serde_json::json!(["local", "free"]));
    assert!(!listed.out.contains(&key), "{listed:?}");
    assert!(desk.run(&["key", "add", "team"]).err.contains("there is a key of the name `team`"));
    assert_eq!(desk.run(&["key", "remove", "team"]).out, "removed `team`\n");
    assert!(desk.run(&["key", "remove", "team"]).err.contains("there is no key of the name `team`"));
    assert!(desk.run(&["key", "remove", "other"]).err.contains("is the only key"));
}

#[test]
fn a_vault_without_models_says_how_to_get_one() {
    let desk = Desk::new();
    let said = desk.run(&["models"]);
    assert_eq!(said.code, 0);
    assert!(said.out.contains("`commonwatt models pull owner/repository` fetches one"), "{said:?}");
    assert!(said.out.contains("no daemon runs"), "{said:?}");
    let said = desk.run(&["models", "verify", "pilto"]);
    assert!(said.code == 1 && said.err.contains("there is no model `pilto`"), "{said:?}");
    let said = desk.run(&["models", "pull", "pilot"]);
    assert!(said.code == 1 && said.err.contains("`pilot` names no model: write `owner/repository`"), "{said:?}");
}

#[test]
fn a_model_is_pulled_listed_and_verified() {
    let desk = Desk::new();
    let model = b"GGUF\x63\0\0\0 not quite a model";
    let hub = Fake::start(move |request| match request.path() {
        "/api/models/o/tiny" => fake::json(200, r#"{"tags":["license:mit"],"siblings":[{"rfilename":"tiny.gguf"}]}"#),
        "/o/tiny/resolve/main/tiny.gguf" => fake::reply(200, "etag: \"v1\"\r\n", model),
        _ => fake::json(404, "{}"),
    });
    let said = desk.run(&["models", "pull", "o/tiny", "--hub", &hub.url()]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("tiny pulled: "), "{said:?}");
    assert!(said.out.contains("the engine will not be able to use it: GGUF version 99"), "{said:?}");
    assert!(said.out.contains("nobody announced it"), "{said:?}");
    let listed = desk.run(&["models", "--json"]).json();
    assert_eq!(listed["models"][0]["origin"]["licence"], "mit");
    let path = desk.home().join("vault/tiny.gguf");
    let said = desk.run(&["models", "verify"]);
    assert!(said.code == 1 && said.out.starts_with("tiny  broken"), "{said:?}");
    assert_eq!(std::fs::read(path).expect("there"), model);
}

const STATUS: &str = r#"{"version":"0.1.0","started_unix_s":1,"uptime_s":11530,"listen":"127.0.0.1:4600","home":"/h",
    "key_file":"/h/key","generation":1,"calls_under_way":0,"bus":{"sessions":1000,"and_more":true,"bytes":1536},"absent":[{"provider":"openai","hint":"set `OPENAI_API_KEY`"}],
    "routes":["quick"],"deployments":[{"id":"engine/pilot","provider":"engine","model":"pilot","tier":"local","rank":9,
    "in_auto":true,"where":"this machine","law":"DE","state":"ready","window_tokens":4096,"abilities":{},"facts":{}}]}"#;

#[test]
fn status_shows_the_fleet_and_what_is_missing() {
    let fake = Fake::start(|request| match (request.path(), request.header("authorization")) {
        ("/admin/v1/status", Some("Bearer cw-test")) => fake::json(200, STATUS),
        _ => fake::json(401, r#"{"error":{"message":"this key is not known here"}}"#),
    });
    let desk = Desk::new();
    let said = desk.run_with(&fake, &["status"], "");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.starts_with("TIER   DEPLOYMENT    WHERE         LAW  STATE\nlocal  engine/pilot"), "{said:?}");
    for wanted in [
        "sessions  1000 and more of this key, 1.5 KiB on disk",
        "openai  set `OPENAI_API_KEY`",
        "running  3 h 12 min, version 0.1.0",
        "key  in /h/key",
        "routes  quick",
    ] {
        assert!(said.out.contains(wanted), "{wanted}: {said:?}");
    }
    let json = desk.run_with(&fake, &["status", "--json"], "").json();
    assert_eq!(json["deployments"][0]["rank"], 9, "everything the daemon said is there");
}

#[test]
fn a_key_that_the_daemon_does_not_know_is_said_so() {
    let fake = Fake::start(|_| fake::json(401, r#"{"error":{"message":"this key is not known here"}}"#));
    let said = Desk::new().run_with(&fake, &["status"], "");
    assert_eq!(said.code, 1);
    assert!(said.err.contains("does not know the key in `COMMONWATT_KEY`"), "{said:?}");
}

#[test]
fn another_program_on_the_port_is_not_taken_for_a_daemon() {
    let fake = Fake::start(|_| fake::reply(404, "content-type: text/html\r\n", b"<html>"));
    let said = Desk::new().run_with(&fake, &["status"], "");
    assert!(said.err.contains("that is no Commonwatt (status 404)"), "{said:?}");
}

#[test]
fn explain_sends_the_request_as_it_is_and_shows_the_plan() {
    let body = r#"{"model":"auto","max_tokens":9,"system":"s","messages":[{"role":"user","content":"hi"}]}"#;
    let fake = Fake::start(move |request| {
        assert_eq!((request.target(), request.body()), ("/admin/v1/explain?dialect=anthropic-messages", body));
        fake::json(
            200,
            r#"{"model":"auto","excluded":[],"absent":[],
            "candidates":[{"deployment":"engine/pilot","tier":"local","part":"asked","standing":"passing"}]}"#,
        )
    });
    let desk = Desk::new();
    let said = desk.run_with(&fake, &["explain", "-"], body);
    assert!(said.code == 0 && said.out.contains("1  local  engine/pilot  it was asked for  passing"), "{said:?}");
    let said = desk.run_with(&fake, &["explain", "-"], "nonsense");
    assert!(said.code == 1 && said.err.contains("holds no JSON"), "{said:?}");
}

/// A streamed answer of these pieces.
fn answer(pieces: &[&str], is_whole: bool) -> Vec<u8> {
    let mut body = String::new();
    for piece in pieces {
        let piece = serde_json::json!({ "choices": [{ "index": 0, "delta": { "content": piece } }] });
        body.push_str(&format!("data: {piece}\n\n"));
    }
    if is_whole {
        body.push_str("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
        body.push_str("data: {\"choices\":[],\"usage\":{\"completion_tokens\":37}}\n\ndata: [DONE]\n\n");
    }
    let headers = "content-type: text/event-stream\r\nx-commonwatt-deployment: engine/pilot\r\n\
                   x-commonwatt-tier: local\r\nx-commonwatt-attempts: 2\r\n";
    fake::reply(200, headers, body.as_bytes())
}

#[test]
fn one_question_gets_one_answer_and_who_gave_it_is_said_beside() {
    let fake = Fake::start(|_| answer(&["It ", "works."], true));
    let said = Desk::new().run_with(&fake, &["chat", "--model", "local", "does", "it", "work?"], "");
    assert_eq!((said.code, said.out.as_str()), (0, "It works.\n"));
    assert!(said.err.starts_with("— engine/pilot · local · 2 attempts · "), "{said:?}");
    assert!(said.err.ends_with(" · 37 tokens\n"), "{said:?}");
    let request: serde_json::Value = serde_json::from_str(fake.requests()[0].body()).expect("JSON");
    assert_eq!((request["model"].as_str(), request["stream"].as_bool()), (Some("local"), Some(true)));
    assert_eq!(request["messages"][0]["content"], "does it work?");
}

#[test]
fn each_line_of_a_pipe_is_a_question_of_one_conversation() {
    let fake = Fake::start(|_| answer(&["fine"], true));
    let said = Desk::new().run_with(&fake, &["chat"], "how are you?\n\nreally?\n");
    assert_eq!((said.code, said.out.as_str()), (0, "fine\nfine\n"));
    let second: serde_json::Value = serde_json::from_str(fake.requests()[1].body()).expect("JSON");
    let said: Vec<_> = second["messages"].as_array().expect("messages").iter().map(|m| &m["content"]).collect();
    assert_eq!(said, ["how are you?", "fine", "really?"]);
}

#[test]
fn a_dash_stands_for_everything_on_standard_input() {
    let fake = Fake::start(|_| answer(&["ok"], true));
    Desk::new().run_with(&fake, &["chat", "summarise:", "-"], "one\ntwo\n");
    let request: serde_json::Value = serde_json::from_str(fake.requests()[0].body()).expect("JSON");
    assert_eq!(request["messages"][0]["content"], "summarise: one\ntwo");
}

#[test]
fn an_answer_that_breaks_off_is_shown_and_said_to_be_broken() {
    let fake = Fake::start(|_| answer(&["It wor"], false));
    let said = Desk::new().run_with(&fake, &["chat", "does it work?"], "");
    assert_eq!((said.code, said.out.as_str()), (1, "It wor\n"));
    assert!(said.err.contains("the answer ended before it was complete"), "{said:?}");
}

#[test]
fn a_refusal_is_told_in_the_daemons_words() {
    let fake = Fake::start(|_| fake::json(404, r#"{"error":{"message":"model `x` is not known here: use `auto`"}}"#));
    let said = Desk::new().run_with(&fake, &["chat", "--model", "x", "hi"], "");
    assert_eq!((said.code, said.err.as_str()), (1, "error: model `x` is not known here: use `auto`\n"));
}

#[test]
fn an_error_in_the_middle_of_an_answer_is_told() {
    let fake = Fake::start(|_| {
        let body = b"data: {\"choices\":[{\"delta\":{\"content\":\"It\"}}]}\n\n\
                     data: {\"error\":{\"message\":\"the local model crashed\"}}\n\n";
        fake::reply(200, "content-type: text/event-stream\r\n", body)
    });
    let said = Desk::new().run_with(&fake, &["chat", "hi"], "");
    assert!(said.code == 1 && said.err.contains("the local model crashed"), "{said:?}");
}

#[test]
fn an_interrupt_stops_the_answer_and_closes_the_connection() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", server.local_addr().expect("an address"));
    let mut command = Desk::new().command(&["chat", "a long story", "--url", &url]);
    let mut chat = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let (mut line, _) = server.accept().expect("it asks");
    fake::read(&line).expect("a request");
    line.write_all(&answer_without_end("Once upon")).expect("it listens");
    let mut seen = [0; 9];
    chat.stdout.as_mut().expect("a pipe").read_exact(&mut seen).expect("it shows what comes");
    assert_eq!(&seen, b"Once upon");

    let pid = rustix::process::Pid::from_child(&chat);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    assert_eq!(chat.wait().expect("it ends").code(), Some(130));
    line.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    let mut rest = Vec::new();
    line.read_to_end(&mut rest).expect("the connection was closed");
}

fn answer_without_end(text: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    format!("{head}data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n").into_bytes()
}

#[test]
fn a_conversation_in_a_terminal_survives_whatever_happens_to_an_answer() {
    let fake = Fake::start(|request| match request.path() {
        "/admin/v1/status" => fake::json(200, STATUS),
        _ if request.body().contains("refuse") => fake::json(503, r#"{"error":{"message":"nobody can answer now"}}"#),
        _ if request.body().contains("break") => answer(&["half an ans"], false),
        _ => answer(&["a whole answer in words that ", "are wrapped"], true),
    });
    let desk = Desk::new();
    let mut command = desk.command(&["chat", "--url", &fake.url()]);
    let mut terminal = Terminal::run(command.env("COMMONWATT_KEY", "cw-test").env("TERM", "xterm"), 30);
    terminal.wait_for("asking `auto` at ");
    terminal.type_line("please break");
    terminal.wait_for("half an ans");
    terminal.wait_for("the answer ended before it was complete");
    terminal.wait_for("what came is kept; `/retry` asks again");
    terminal.type_line("please refuse");
    terminal.wait_for("nobody can answer now");
    terminal.type_line("/model local");
    terminal.wait_for("from now on `local` is asked");
    terminal.type_line("/clear");
    terminal.wait_for("forgotten");
    terminal.type_line("now answer");
    terminal.wait_for("a whole answer in words that\r\nare wrapped");
    terminal.wait_for("engine/pilot · local · 2 attempts");
    let last = fake.requests().pop().expect("asked");
    let request: serde_json::Value = serde_json::from_str(last.body()).expect("JSON");
    assert_eq!((request["model"].as_str(), request["messages"].as_array().map(Vec::len)), (Some("local"), Some(1)));
    terminal.type_line("/quit");
    assert_eq!(terminal.code(), 0);
}
