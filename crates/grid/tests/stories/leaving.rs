//! Callers who leave, and generations that come while calls are under way.

use commonwatt_grid::relay::AnswerBody;
use commonwatt_sim::{Inside, Outcome};
use tokio::time::{Duration, sleep, timeout};

use crate::world::{Ask, Scene, Supplier, pairs};

/// Waits until the supplier has noticed that its only caller left, and tells when that was.
async fn left_ms(sim: &Inside) -> u64 {
    let left = sim.wait_for(|requests| requests.iter().all(|request| request.outcome == Outcome::ClientLeft));
    let requests = timeout(Duration::from_secs(60), left).await.expect("the supplier still plays");
    assert_eq!(requests.len(), 1);
    requests[0].ended_ms.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_before_content_ends_the_call_upstream_and_frees_its_slot() {
    for (caller, supplier) in pairs() {
        for words in ["stall after=start", "stall after=headers", "stall after=preamble"] {
            let alpha = Supplier::frontier("alpha").speaking(supplier).always(words);
            let scene = Scene::new([alpha, Supplier::free("beta")]);
            let call = scene.spawn(&Ask::new(caller, true));
            sleep(Duration::from_secs(1)).await;
            assert_eq!(scene.grid.calls_under_way(), 1);
            call.abort();
            assert!(call.await.unwrap_err().is_cancelled());
            assert_eq!(scene.grid.calls_under_way(), 0);
            assert_eq!(left_ms(scene.sim("alpha")).await, 1_000, "{words}");
            assert_eq!(scene.asked("beta"), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_after_content_is_settled_and_ends_the_call_upstream() {
    for (caller, supplier) in pairs() {
        let alpha = Supplier::frontier("alpha").speaking(supplier).with(|settings| settings.gap_ms = 400);
        let scene = Scene::new([alpha]);
        let answered = scene.grid.call(Ask::new(caller, true).arrival(&scene.grid)).await.unwrap();
        let AnswerBody::Stream(mut relay) = answered.body else { panic!("a stream was asked for") };
        assert!(relay.next().await.is_some());
        sleep(Duration::from_secs(1)).await;
        assert_eq!(scene.grid.calls_under_way(), 1);
        drop(relay);
        assert_eq!(scene.grid.calls_under_way(), 0);
        assert_eq!(left_ms(scene.sim("alpha")).await, 1_000);
        // Leaving says nothing about the supplier.
        scene.call(&Ask::new(caller, true)).await.unwrap().is_complete("alpha", 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_lets_running_streams_finish_with_the_generation_they_started_with() {
    let slow = Supplier::frontier("alpha").with(|settings| settings.gap_ms = 100);
    let scene = Scene::new([slow, Supplier::frontier("beta")]);
    let running = scene.spawn(&Ask::streamed());
    sleep(Duration::from_secs(1)).await;
    let before = scene.grid.generation();
    scene.grid.replace(scene.generation(&["beta"]));
    scene.call(&Ask::streamed()).await.unwrap().is_complete("beta", 1);
    let refusal = scene.call(&Ask::streamed().model("alpha-1")).await.unwrap_err();
    assert_eq!(refusal.kind, commonwatt_core::refusal::RefusalKind::UnknownModel);
    assert!(!running.is_finished());
    running.await.unwrap().unwrap().is_complete("alpha", 1);
    // Nobody holds the old one any more.
    assert_eq!(std::sync::Arc::strong_count(&before), 1);
}
