//! What a good answer looks like on the wire, and what the simulator remembers of it.

use std::time::Duration;

use commonwatt_sim::{Dialect, Outcome, Sim};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::client::{End, ask, ask_with, question, read, send, sim, write};

#[tokio::test]
async fn a_stream_is_chunked_and_complete_in_every_dialect() {
    let sim = sim(|settings| settings.answer.text = Some("0123456789".repeat(8))).await;
    for (dialect, last) in [
        (Dialect::ChatCompletions, "data: [DONE]\n\n"),
        (Dialect::Messages, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
        (Dialect::Responses, ",\"sequence_number\":17}\n\n"),
        (Dialect::Gemini, "}]}}\r\n\r\n"),
        (Dialect::OllamaChat, ",\"eval_duration\":400000000}\n"),
        (Dialect::OllamaGenerate, ",\"eval_duration\":400000000}\n"),
        (Dialect::Completions, "data: [DONE]\n\n"),
    ] {
        let seen = ask(&sim, dialect, &question(true), &[]).await;
        assert_eq!((seen.status(), seen.end), (200, End::Complete));
        let is_ollama = matches!(dialect, Dialect::OllamaChat | Dialect::OllamaGenerate);
        let content_type = if is_ollama { "application/x-ndjson" } else { "text/event-stream; charset=utf-8" };
        assert_eq!(seen.header("content-type"), Some(content_type));
        assert_eq!(seen.header("transfer-encoding"), Some("chunked"));
        assert!(seen.text().ends_with(last), "{}", seen.text());
        let events =
            seen.text().lines().filter(|line| line.starts_with(if is_ollama { "{" } else { "data: " })).count();
        assert_eq!(seen.chunks.len(), events, "an event is a chunk");
        let id = seen.header("x-request-id").or(seen.header("request-id"));
        assert_eq!(id.is_some(), !is_ollama && dialect != Dialect::Gemini);
    }
    assert_eq!(sim.calls(), 7);
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_has_a_length() {
    let sim = sim(|_| {}).await;
    for dialect in Dialect::ALL {
        let seen = ask(&sim, dialect, &question(false), &[]).await;
        assert_eq!(
            (seen.status(), seen.end, seen.header("content-type")),
            (200, End::Complete, Some("application/json"))
        );
        assert_eq!(seen.header("content-length"), Some(seen.body.len().to_string().as_str()));
        let body = seen.json();
        assert!(body["usage"].is_object() || body["usageMetadata"].is_object() || body["eval_count"].is_u64());
    }
}

#[tokio::test]
async fn a_connection_serves_one_call_after_the_other() {
    let sim = sim(|_| {}).await;
    let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
    for _ in 0..3 {
        for body in [question(true), question(false)] {
            write(&mut stream, "POST", "/chat/completions", body.to_string().as_bytes(), &[]).await;
            assert_eq!(read(&mut stream).await.end, End::Complete);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_takes_the_time_that_was_set() {
    let sim = sim(|settings| {
        settings.answer.text = Some("x".repeat(80));
        settings.first_token_ms = 300;
        settings.gap_ms = 50;
    })
    .await;
    for stream in [true, false] {
        let started = Instant::now();
        assert_eq!(ask(&sim, Dialect::Messages, &question(stream), &[]).await.end, End::Complete);
        let took = started.elapsed().as_millis();
        assert!((750..800).contains(&took), "{took}");
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_run() {
    let mut runs = Vec::new();
    for seed in [1, 1, 2] {
        tokio::time::pause();
        let sim = sim(|settings| {
            settings.seed = seed;
            settings.error_rate = 0.2;
            settings.chaos_rate = 0.7;
        })
        .await;
        let mut run = Vec::new();
        for index in 0..60 {
            let dialect = Dialect::ALL[index % Dialect::ALL.len()];
            run.push(ask(&sim, dialect, &question(index % 3 != 0), &[]).await);
        }
        tokio::time::resume();
        runs.push(run);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    assert!(runs[0].iter().any(|seen| seen.end != End::Complete), "something went wrong, by chance");
}

#[tokio::test]
async fn what_was_received_is_remembered_as_it_was() {
    let sim = sim(|_| {}).await;
    ask(&sim, Dialect::Messages, &question(true), &["X-Trace: a", "x-trace: b"]).await;
    ask_with(&sim, Dialect::Messages, true, "reset after=2").await;
    let requests = sim.wait_for(|requests| requests.iter().all(|request| request.outcome != Outcome::Playing)).await;
    let first = &requests[0];
    assert_eq!((first.method.as_str(), first.path.as_str(), first.status), ("POST", "/v1/messages", Some(200)));
    assert_eq!(first.body, question(true).to_string());
    let traces: Vec<_> =
        first.headers.iter().filter(|(name, _)| name == "x-trace").map(|(_, value)| value.as_str()).collect();
    assert_eq!(traces, ["a", "b"]);
    assert_eq!((first.outcome, requests[1].outcome, requests[1].number), (Outcome::Finished, Outcome::Broken, 2));
    assert_eq!(requests[1].faults.len(), 1);

    let shown = send(&sim, "GET", "/sim/requests", b"", &[]).await.json();
    assert_eq!((&shown["calls"], &shown["requests"][1]["outcome"]), (&json!(2), &json!("broken")));
    assert_eq!(shown["requests"][0]["body"]["text"], question(true).to_string());
    send(&sim, "POST", "/sim/reset", b"", &[]).await;
    assert_eq!((sim.calls(), sim.requests().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_noticed_at_once() {
    let sim = sim(|settings| settings.gap_ms = 20).await;
    for (fault, chunks) in
        [("pass", 1..50), ("stall after=3", 4..5), ("stall after=start", 0..1), ("stall after=headers", 0..1)]
    {
        sim.reset();
        let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
        let header = format!("x-sim-fault: {fault}");
        let body = question(true).to_string();
        write(&mut stream, "POST", Dialect::ChatCompletions.path(), body.as_bytes(), &[&header]).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let left = Instant::now();
        drop(stream);
        let enough = |requests: &[commonwatt_sim::Received]| {
            requests.iter().any(|r| r.outcome == Outcome::ClientLeft && r.ended_ms.is_some())
        };
        let requests = tokio::time::timeout(Duration::from_secs(5), sim.wait_for(enough)).await.unwrap();
        assert!(left.elapsed() < Duration::from_millis(100), "{fault}: {:?}", left.elapsed());
        assert!(chunks.contains(&requests[0].chunks_sent), "{fault}: {}", requests[0].chunks_sent);
    }
}

#[tokio::test]
async fn a_stopped_simulator_refuses_connections_and_its_port_can_be_taken_again() {
    let first = sim(|_| {}).await;
    let addr = first.addr();
    assert_eq!(ask(&first, Dialect::ChatCompletions, &question(true), &[]).await.end, End::Complete);
    first.stop().await;
    assert!(TcpStream::connect(addr).await.is_err());
    let again = sim(|settings| settings.listen = addr).await;
    assert_eq!(ask(&again, Dialect::ChatCompletions, &question(true), &[]).await.end, End::Complete);
    let taken =
        Sim::start(commonwatt_sim::Settings { listen: addr, ..Default::default() }).await.unwrap_err().to_string();
    assert!(taken.contains(&addr.to_string()) && taken.contains("choose another"), "{taken}");
}

#[tokio::test]
async fn canned_answers_are_the_same_whatever_was_asked() {
    let sim = sim(|settings| {
        settings.canned = true;
        settings.record = false;
        settings.answer.text = Some("ten chunks".repeat(8));
    })
    .await;
    for dialect in Dialect::ALL {
        let mut prompt = question(true);
        prompt["messages"][0]["content"] = Value::from("[[sim: empty]] ".repeat(70_000));
        let first = ask(&sim, dialect, &prompt, &[]).await;
        assert_eq!((first.status(), first.end), (200, End::Complete));
        assert_eq!(ask(&sim, dialect, &prompt, &[]).await, first);
        assert_eq!(ask_with(&sim, dialect, true, "status=500").await.status(), 500);
    }
    assert!(sim.requests().is_empty());
    assert_eq!(sim.calls(), 21);
}

#[tokio::test]
async fn hypers_own_client_reads_it_too() {
    use http_body_util::{BodyExt, Full};
    let sim = sim(|_| {}).await;
    let get = |fault: &'static str| {
        let addr = sim.addr();
        async move {
            let stream = TcpStream::connect(addr).await.unwrap();
            let io = hyper_util::rt::TokioIo::new(stream);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            let request =
                http::Request::post("/v1/chat/completions").header("host", "sim").header("x-sim-fault", fault);
            let body = Full::new(bytes::Bytes::from(question(true).to_string()));
            let mut response = sender.send_request(request.body(body).unwrap()).await?;
            let mut frames = 0;
            while let Some(frame) = response.frame().await {
                frame?;
                frames += 1;
            }
            Ok::<_, hyper::Error>(frames)
        }
    };
    assert!(get("pass").await.unwrap() > 50);
    assert_eq!(get("eof after=4").await.unwrap(), 5);
    assert!(get("reset after=4").await.is_err());
    assert!(get("close after=4").await.unwrap_err().is_body_write_aborted() || get("close after=4").await.is_err());
    assert!(get("refuse").await.is_err());
    assert!(get("wrong_length").await.is_err());
}
