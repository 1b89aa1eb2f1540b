//! The simulator behind pipes: the same bytes as on a port, and times that are exact on a paused clock.

use std::time::Duration;

use commonwatt_sim::{Dialect, Inside, Outcome, Script, Settings, Sim};
use tokio::time::{Instant, sleep, timeout};

use crate::client::{End, Seen, ask, question, read, sim, write};
use crate::spoken::spoken;

fn inside(change: impl FnOnce(&mut Settings)) -> Inside {
    let mut settings = Settings::default();
    change(&mut settings);
    Sim::inside(settings).unwrap()
}

async fn ask_inside(sim: &Inside, dialect: Dialect, stream: bool) -> Seen {
    let mut pipe = sim.connect();
    let (target, body) = spoken(dialect, &question(stream));
    write(&mut pipe, "POST", &target, body.to_string().as_bytes(), &[]).await;
    read(&mut pipe).await
}

#[tokio::test]
async fn a_pipe_carries_what_a_port_does() {
    let (port, pipe) = (sim(|_| {}).await, inside(|_| {}));
    for dialect in Dialect::ALL {
        for stream in [true, false] {
            let expected = ask(&port, dialect, &question(stream), &[]).await;
            let seen = ask_inside(&pipe, dialect, stream).await;
            assert_eq!((seen.end, seen.head, seen.body), (End::Complete, expected.head, expected.body));
        }
    }
    assert_eq!((pipe.calls(), pipe.requests().len()), (14, 14));
    pipe.reset();
    assert_eq!(pipe.calls(), 0);
}

#[tokio::test]
async fn what_was_sent_before_a_reset_arrives_and_then_the_pipe_ends() {
    let sim = inside(|_| {});
    for words in ["refuse", "reset after=headers", "reset after=3", "close after=3", "reset after=999"] {
        sim.script(Script::from_words(words).unwrap()).unwrap();
        let broken = ask_inside(&sim, Dialect::ChatCompletions, true).await;
        assert_eq!(broken.end, End::Closed, "{words}");
        assert_eq!(broken.head.is_empty(), words == "refuse");
        let whole = ask_inside(&sim, Dialect::ChatCompletions, true).await;
        assert_eq!(whole.end, End::Complete);
        assert!(whole.body.starts_with(&broken.body), "{words}");
        let sent = sim.requests().iter().rev().nth(1).unwrap().chunks_sent;
        assert_eq!(broken.chunks.len() as u64, sent, "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn inside_the_process_every_time_is_exact() {
    let sim = inside(|settings| {
        settings.answer.text = Some("x".repeat(80));
        settings.headers_ms = 100;
        settings.first_token_ms = 300;
        settings.gap_ms = 50;
    });
    sleep(Duration::from_millis(7)).await;
    for stream in [true, false] {
        let began = Instant::now();
        assert_eq!(ask_inside(&sim, Dialect::Messages, stream).await.end, End::Complete);
        assert_eq!(began.elapsed(), Duration::from_millis(100 + 300 + 9 * 50));
    }
    let times = sim.requests().iter().map(|r| (r.arrived_ms, r.ended_ms)).collect::<Vec<_>>();
    assert_eq!(times, [(7, Some(857)), (857, Some(1_707))]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_drops_its_end_has_left_and_a_provider_that_is_dropped_has_ended() {
    let sim = inside(|settings| settings.gap_ms = 100);
    let mut pipe = sim.connect();
    write(&mut pipe, "POST", "/v1/messages", question(true).to_string().as_bytes(), &[]).await;
    sleep(Duration::from_secs(1)).await;
    drop(pipe);
    let left = sim.wait_for(|requests| requests.iter().any(|request| request.outcome == Outcome::ClientLeft));
    let requests = timeout(Duration::from_secs(1), left).await.unwrap();
    assert_eq!(requests[0].ended_ms, Some(1_000));

    let mut pipe = sim.connect();
    write(&mut pipe, "POST", "/v1/messages", question(true).to_string().as_bytes(), &[]).await;
    sleep(Duration::from_secs(1)).await;
    drop(sim);
    assert_eq!(read(&mut pipe).await.end, End::Closed);
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_refused_here_too() {
    let settings = Settings { jitter: 2.0, ..Settings::default() };
    assert!(Sim::inside(settings).unwrap_err().to_string().contains("from 0 to 1"));
}
