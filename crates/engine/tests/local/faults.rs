//! What is left when something breaks.

use super::*;

/// Sends a signal to the child.
fn signal(model: &Model, name: &str) {
    let pid = model.report().pid.expect("a running child").to_string();
    let sent = std::process::Command::new("kill").args(["-s", name, &pid]).status().unwrap();
    assert!(sent.success());
}

/// An answer that goes on for a while, with its first text read.
async fn running(model: &Model) -> commonwatt_engine::ChatStream {
    let request = ChatRequest {
        sampling: Sampling { temperature: Some(0.0), logit_bias: NO_END.to_vec(), ..Sampling::default() },
        ..ask("Talk without end.", 4000)
    };
    let mut stream = model.chat(request).await.unwrap();
    while !matches!(stream.next().await.unwrap().unwrap(), Event::Text { .. }) {}
    stream
}

async fn fault(mut stream: commonwatt_engine::ChatStream) -> Fault {
    loop {
        match stream.next().await.expect("a fault before the end") {
            Ok(Event::Finished { .. }) => panic!("the answer ended in peace"),
            Ok(_) => {}
            Err(fault) => {
                assert!(stream.next().await.is_none(), "a fault is the last event");
                return fault;
            }
        }
    }
}

async fn lives_again(model: &Model) {
    let answer = answer(model, ask("What is Commonwatt?", 4)).await.unwrap();
    assert!(answer.tokens > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_child_ends_its_answers_and_the_next_call_starts_another() {
    let pilot = pilot();
    let stream = running(&pilot).await;
    signal(&pilot, "KILL");
    let fault = fault(stream).await;
    assert!(matches!(&fault, Fault::Crashed { reason } if reason.contains("signal 9")), "{fault}");
    assert!(fault.retryable() && !fault.caller_fault());
    assert!(matches!(pilot.state(), State::Resting { .. } | State::Idle));
    lives_again(&pilot).await;
    assert_eq!(pilot.report().starts, 2);
    assert!(pilot.report().last_failure.unwrap().contains("signal 9"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segmentation_fault_stays_in_the_child() {
    let pilot = pilot();
    let stream = running(&pilot).await;
    // Rust's own handler takes the first one for a stack overflow that it is not; a real fault would come again and
    // again.
    let pid = pilot.report().pid.unwrap().to_string();
    while matches!(pilot.state(), State::Ready(_)) {
        std::process::Command::new("kill")
            .args(["-s", "SEGV", &pid])
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
    }
    let fault = fault(stream).await;
    assert!(matches!(&fault, Fault::Crashed { reason } if reason.contains("SIGSEGV")), "{fault}");
    lives_again(&pilot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_hangs_is_killed() {
    let pilot = engine(Settings { hang: Duration::from_secs(3), ..settings() }).model("pilot", ModelSource::Pilot);
    let stream = running(&pilot).await;
    signal(&pilot, "STOP");
    assert_eq!(fault(stream).await, Fault::Hung { after: Duration::from_secs(3) });
    lives_again(&pilot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_keeps_crashing_rests_longer_each_time_and_calls_do_not_wait_for_it() {
    let pilot = pilot();
    let mut pause = Duration::ZERO;
    while pause <= Duration::from_secs(2) {
        pilot.warm().await.unwrap();
        signal(&pilot, "ABRT");
        while matches!(pilot.state(), State::Ready(_)) {
            tokio::task::yield_now().await;
        }
        if let State::Resting { pause: now, .. } = pilot.state() {
            assert!(now > pause, "{now:?} after {pause:?}");
            pause = now;
        }
    }
    let refused = pilot.chat(ask("Hello", 1)).await.map(drop).unwrap_err();
    assert!(matches!(refused, Fault::Restarting { .. }), "{refused}");
    assert!(refused.retryable());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_dropped_frees_its_slot() {
    let pilot = engine(Settings { parallel: 1, ..settings() }).model("pilot", ModelSource::Pilot);
    let stream = running(&pilot).await;
    drop(stream);
    // With one slot this waits for the other answer, unless that is gone.
    let started = std::time::Instant::now();
    let first = answer(&pilot, ask("Hello", 2)).await.unwrap();
    assert!(first.tokens > 0);
    assert!(started.elapsed() < Duration::from_secs(20));
    while pilot.report().calls > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_beyond_the_line_is_refused_as_busy() {
    let pilot = engine(Settings { parallel: 1, waiting: 1, ..settings() }).model("pilot", ModelSource::Pilot);
    let first = running(&pilot).await;
    let second = tokio::spawn({
        let pilot = pilot.clone();
        async move { pilot.chat(ask("Second", 2)).await.map(drop) }
    });
    while pilot.report().calls < 2 {
        tokio::task::yield_now().await;
    }
    let third = pilot.chat(ask("Third", 2)).await.map(drop).unwrap_err();
    assert!(matches!(third, Fault::Busy { waiting: 2 }) && third.retryable(), "{third}");
    drop(first);
    second.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_is_too_long_is_refused_with_its_length() {
    let pilot = pilot();
    let long = ask(&"How do I add a provider? ".repeat(1500), 10);
    let fault = pilot.chat(long.clone()).await.map(drop).unwrap_err();
    let Fault::ContextOverflow { prompt_tokens, window } = fault else { panic!("{fault}") };
    assert_eq!((prompt_tokens, window), (pilot.count_tokens(&long).await.unwrap(), 4096));
    assert!(prompt_tokens > window && fault.caller_fault());
    let overlong = pilot.embed(vec!["word ".repeat(9000)]).await.unwrap_err();
    assert!(matches!(overlong, Fault::ContextOverflow { .. }), "{overlong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_make_no_sense_say_what_is_wrong() {
    let pilot = pilot();
    let json = |messages: &str| ChatRequest { messages_json: messages.to_owned(), ..ChatRequest::default() };
    let image = r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:,"}}]}]"#;
    let nested = format!(r#"{{"type":"array","items":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
    let wrong = [
        (json("not json"), "`messages` is not an array"),
        (json("[]"), "`messages` is empty"),
        (json(image), "`image_url`"),
        (ChatRequest { tools_json: Some("{}".to_owned()), ..ask("a", 1) }, "`tools` is not an array"),
        (
            ChatRequest {
                tools_json: Some("[]".to_owned()),
                tool_choice: ToolChoice::Named("x".to_owned()),
                ..ask("a", 1)
            },
            "names `x`",
        ),
        (ChatRequest { response_format: ResponseFormat::JsonSchema("{".to_owned()), ..ask("a", 1) }, "no JSON"),
        (ChatRequest { response_format: ResponseFormat::JsonSchema(nested), ..ask("a", 1) }, "recursion"),
        (
            ChatRequest { sampling: Sampling { temperature: Some(-1.0), ..Sampling::default() }, ..ask("a", 1) },
            "`temperature`",
        ),
        (ChatRequest { max_tokens: Some(0), ..ask("a", 1) }, "`max_tokens`"),
    ];
    for (request, expected) in wrong {
        let fault = pilot.chat(request).await.map(drop).unwrap_err();
        assert!(fault.caller_fault(), "{fault}");
        assert!(fault.to_string().contains(expected), "{fault} should say {expected}");
    }
    lives_again(&pilot).await;
    assert_eq!(pilot.report().starts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grammar_that_no_token_fits_ends_that_answer_only() {
    let pilot = pilot();
    // Every token forbidden but one, which is no digit.
    const TOKEN: i32 = 40;
    let only = |token: i32| (0..2560).filter(|t| *t != token).map(|t| (t, -100.0)).collect::<Vec<_>>();
    let neighbour = running(&pilot).await;
    let request = ChatRequest {
        response_format: ResponseFormat::JsonSchema(r#"{"type":"integer"}"#.to_owned()),
        sampling: Sampling { temperature: Some(0.0), logit_bias: only(TOKEN), ..Sampling::default() },
        ..ask("Hello", 5)
    };
    let stuck = answer(&pilot, request).await;
    assert!(matches!(stuck, Err(Fault::Generation { .. })), "{stuck:?}");
    drop(neighbour);
    lives_again(&pilot).await;
    assert_eq!(pilot.report().starts, 1, "{:?}", pilot.report());
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_child_is_locked_in() {
    let pilot = pilot();
    let ready = pilot.warm().await.unwrap();
    // The child has tried: a socket, a program, a file.
    let sandbox = ready.sandbox;
    assert!(sandbox.no_network && sandbox.no_programs && sandbox.no_writes && sandbox.no_files, "{sandbox:?}");
    // A kernel without Landlock is possible, and then it is said.
    assert_eq!(sandbox.state() == SandboxState::Full, sandbox.reads_only_model);
    let pid = pilot.report().pid.unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line} in {status}");
    }
    // Standard input is the socket; the copy and the sealed pilot are its own.
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert!(open <= 8, "{open} descriptors");
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let names: Vec<String> = environment
        .split(|byte| *byte == 0)
        .filter_map(|entry| Some(String::from_utf8_lossy(entry).split_once('=')?.0.to_owned()))
        .collect();
    assert_eq!(names, ["GGML_NO_BACKTRACE", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_no_models_are_refused_and_the_parent_lives() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(settings());
    let garbage = folder.path().join("garbage.gguf");
    std::fs::write(&garbage, [b"GGUF\x03\0\0\0".as_slice(), &[7; 5000]].concat()).unwrap();
    // A header without its weights.
    let pilot = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/pilot/pilot.gguf")).unwrap();
    let cut = folder.path().join("cut.gguf");
    std::fs::write(&cut, &pilot[..pilot.len() / 2]).unwrap();
    let cases = [
        (garbage, "header is broken"),
        (cut, "llama.cpp cannot read it"),
        (folder.path().join("missing.gguf"), "cannot be read"),
        (folder.path().join("big-00001-of-00002.gguf"), "part 1 of 2 is missing"),
    ];
    for (path, expected) in cases {
        let model = engine.model("file", ModelSource::File(path));
        let fault = model.chat(ask("Hello", 1)).await.map(drop).unwrap_err();
        assert!(matches!(fault, Fault::LoadFailed { .. }), "{fault}");
        assert!(fault.to_string().contains(expected), "{fault} should say {expected}");
        // At once, without another child.
        assert_eq!(model.chat(ask("Hello", 1)).await.map(drop).unwrap_err(), fault);
        assert_eq!(model.report().starts, 1);
    }
    // The same bytes from a file are a model.
    let whole = folder.path().join("whole.gguf");
    std::fs::write(&whole, &pilot).unwrap();
    lives_again(&engine.model("whole", ModelSource::File(whole))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_no_child_is_a_failed_load() {
    for program in ["/bin/false", "/nonexistent"] {
        let command = ChildCommand { program: program.into(), args: vec![], env: vec![] };
        let model = Engine::new(command, settings()).model("pilot", ModelSource::Pilot);
        let fault = model.warm().await.unwrap_err();
        assert!(matches!(fault, Fault::LoadFailed { .. }), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_model_is_unloaded_and_comes_back() {
    let pilot = engine(Settings { idle: Duration::from_millis(200), ..settings() }).model("pilot", ModelSource::Pilot);
    lives_again(&pilot).await;
    while pilot.state() != State::Idle {
        tokio::task::yield_now().await;
    }
    assert_eq!(pilot.report().pid, None);
    lives_again(&pilot).await;
    assert_eq!((pilot.report().starts, pilot.report().last_failure), (2, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn unloading_ends_the_answers_and_says_so() {
    let pilot = pilot();
    pilot.unload().await;
    let stream = running(&pilot).await;
    pilot.unload().await;
    assert_eq!(fault(stream).await, Fault::Unloaded);
    assert_eq!(pilot.state(), State::Idle);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_child_ends_with_its_engine() {
    let pilot = pilot();
    pilot.warm().await.unwrap();
    let pid = pilot.report().pid.unwrap();
    drop(pilot);
    while std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(" Z ")) {
        tokio::task::yield_now().await;
    }
}
