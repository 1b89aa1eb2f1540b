//! What waiting costs: hangs, benches, probes, `Retry-After`.

use commonwatt_core::fleet::Tier;
use commonwatt_core::refusal::RefusalKind;
use commonwatt_wire::Dialect;
use tokio::time::{Duration, Instant, sleep};

use crate::world::{Ask, Scene, Supplier, ms_since};

/// A supplier that takes the call and never says a word.
const HANG: &str = "stall after=start";

async fn pass_ms(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

#[tokio::test(start_paused = true)]
async fn a_hang_before_headers_costs_the_header_wait_and_then_the_next_tier_answers() {
    for (stream, wait_ms, tier) in
        [(true, 10_000, Tier::Free), (false, 45_000, Tier::Free), (false, 45_000, Tier::Local)]
    {
        let scene = Scene::new([Supplier::frontier("alpha").always(HANG), Supplier::new("beta", tier)]);
        let ask = Ask::new(Dialect::OpenAiChat, stream);
        let told = scene.call(&ask).await.unwrap();
        told.is_complete("beta", 2);
        assert_eq!(told.took_ms, wait_ms + ask.reading_ms());
        assert_eq!(told.served.failed, ["alpha/alpha-1=headers_timeout"]);
        let next = scene.call(&ask).await.unwrap();
        next.is_complete("beta", 1);
        assert_eq!((next.took_ms, scene.asked("alpha")), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn one_hang_never_uses_up_all_the_patience_of_a_call() {
    let scene = Scene::new([Supplier::frontier("alpha").always(HANG), Supplier::free("beta")]);
    let ask = Ask { max_tokens: Some(4_000), ..Ask::new(Dialect::OpenAiChat, false) };
    let told = scene.call(&ask).await.unwrap();
    told.is_complete("beta", 2);
    assert_eq!(told.took_ms, 10_000 + 4_000 * 50 + ask.reading_ms());
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_wants_little_waits_little() {
    let scene = Scene::new([Supplier::frontier("alpha").always(HANG), Supplier::free("beta")]);
    let ask = Ask { max_tokens: Some(100), ..Ask::new(Dialect::OpenAiChat, false) };
    let told = scene.call(&ask).await.unwrap();
    told.is_complete("beta", 2);
    assert_eq!(told.took_ms, 10_000 + 100 * 50 + ask.reading_ms());
}

#[tokio::test(start_paused = true)]
async fn after_its_bench_time_one_call_probes_while_the_others_skip() {
    let scene = Scene::new([Supplier::frontier("alpha").script(HANG), Supplier::free("beta")]);
    let ask = Ask::streamed();
    scene.call(&ask).await.unwrap().is_complete("beta", 2);
    pass_ms(14_999).await;
    scene.call(&ask).await.unwrap().is_complete("beta", 1);
    assert_eq!(scene.asked("alpha"), 1);
    pass_ms(1).await;
    scene.sim("alpha").script(commonwatt_sim::Script::from_words(HANG).unwrap()).unwrap();
    let probe = scene.spawn(&ask);
    pass_ms(1).await;
    for _ in 0..3 {
        let other = scene.call(&ask).await.unwrap();
        other.is_complete("beta", 1);
        assert_eq!(other.took_ms, 0);
    }
    assert_eq!(scene.asked("alpha"), 2);
    probe.await.unwrap().unwrap().is_complete("beta", 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_benches_longer_and_a_good_one_opens_the_way() {
    let scene = Scene::new([Supplier::frontier("alpha").script(&[HANG, HANG].join("\n")), Supplier::free("beta")]);
    let ask = Ask::streamed();
    scene.call(&ask).await.unwrap().is_complete("beta", 2);
    pass_ms(15_000).await;
    scene.call(&ask).await.unwrap().is_complete("beta", 2);
    pass_ms(29_999).await;
    scene.call(&ask).await.unwrap().is_complete("beta", 1);
    pass_ms(1).await;
    scene.call(&ask).await.unwrap().is_complete("alpha", 1);
    scene.call(&ask).await.unwrap().is_complete("alpha", 1);
    assert_eq!(scene.asked("alpha"), 4);
}

#[tokio::test(start_paused = true)]
async fn one_blip_under_fifty_calls_benches_no_longer_than_under_one() {
    for calls in [1, 50] {
        let slow = Supplier::frontier("alpha").with(|settings| settings.headers_ms = 100);
        let blip = "status=500\n".repeat(calls);
        let scene = Scene::new([slow.script(&blip), Supplier::free("beta")]);
        let running: Vec<_> = (0..calls).map(|_| scene.spawn(&Ask::streamed())).collect();
        for call in running {
            call.await.unwrap().unwrap().is_complete("beta", 2);
        }
        assert_eq!(scene.asked("alpha"), calls as u64);
        pass_ms(999).await;
        scene.call(&Ask::streamed()).await.unwrap().is_complete("beta", 1);
        pass_ms(1).await;
        scene.call(&Ask::streamed()).await.unwrap().is_complete("alpha", 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_caller_left_does_not_bench_for_ever() {
    let scene = Scene::new([Supplier::frontier("alpha").script(&[HANG, HANG].join("\n")), Supplier::free("beta")]);
    let ask = Ask::streamed();
    scene.call(&ask).await.unwrap().is_complete("beta", 2);
    pass_ms(15_000).await;
    let probe = scene.spawn(&ask);
    pass_ms(1_000).await;
    scene.call(&ask).await.unwrap().is_complete("beta", 1);
    probe.abort();
    assert!(probe.await.unwrap_err().is_cancelled());
    scene.call(&ask).await.unwrap().is_complete("alpha", 1);
    assert_eq!(scene.asked("alpha"), 3);
}

#[tokio::test(start_paused = true)]
async fn somebody_else_who_leaves_does_not_end_the_probe() {
    let scene = Scene::new([Supplier::frontier("alpha").always(HANG), Supplier::free("beta")]);
    let ask = Ask::streamed();
    // Two calls wait for it; the first one's fault benches it for 15 s, the second asked more and waits longer.
    let patient = Ask { says: "Please ".repeat(300_000), ..Ask::streamed() };
    let patient = scene.spawn(&patient);
    scene.call(&ask).await.unwrap().is_complete("beta", 2);
    pass_ms(15_000).await;
    let probe = scene.spawn(&ask);
    pass_ms(1).await;
    assert_eq!(scene.asked("alpha"), 3);
    patient.abort();
    assert!(patient.await.unwrap_err().is_cancelled());
    scene.call(&ask).await.unwrap().is_complete("beta", 1);
    assert_eq!(scene.asked("alpha"), 3);
    probe.await.unwrap().unwrap().is_complete("beta", 2);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_one_supplier_while_another_is_idle() {
    let scene = Scene::new([Supplier::frontier("alpha").always("status=429 retry_after_s=62"), Supplier::free("beta")]);
    let told = scene.call(&Ask::streamed()).await.unwrap();
    told.is_complete("beta", 2);
    assert_eq!(told.took_ms, 0);
    pass_ms(61_999).await;
    scene.call(&Ask::streamed()).await.unwrap().is_complete("beta", 1);
    pass_ms(1).await;
    scene.call(&Ask::streamed()).await.unwrap().is_complete("beta", 2);
    assert_eq!(scene.asked("alpha"), 2);
}

#[tokio::test(start_paused = true)]
async fn the_only_supplier_is_waited_for_when_it_asks_for_a_second() {
    let scene = Scene::new([Supplier::frontier("alpha").script("status=429 retry_after_s=1")]);
    let told = scene.call(&Ask::streamed()).await.unwrap();
    told.is_complete("alpha", 2);
    assert_eq!((told.took_ms, told.served.failed.len()), (1_000, 1));
}

#[tokio::test(start_paused = true)]
async fn the_only_supplier_that_asks_for_half_a_minute_is_not_waited_for_and_not_asked_again() {
    let scene = Scene::new([Supplier::frontier("alpha").script("status=429 retry_after_s=30")]);
    let began = Instant::now();
    let refusal = scene.call(&Ask::streamed()).await.unwrap_err();
    assert_eq!((refusal.kind, refusal.retry_after_ms, ms_since(began)), (RefusalKind::RateLimited, Some(30_000), 0));
    let refusal = scene.call(&Ask::streamed()).await.unwrap_err();
    assert_eq!((refusal.kind, refusal.retry_after_ms), (RefusalKind::RateLimited, Some(30_000)));
    pass_ms(12_000).await;
    let refusal = scene.call(&Ask::streamed()).await.unwrap_err();
    assert_eq!((refusal.retry_after_ms, scene.asked("alpha")), (Some(18_000), 1));
    pass_ms(18_000).await;
    scene.call(&Ask::streamed()).await.unwrap().is_complete("alpha", 1);
}

#[tokio::test(start_paused = true)]
async fn when_patience_ends_only_the_local_tier_is_asked() {
    let hanging = ["a", "b", "c", "d", "e"];
    let suppliers = hanging.map(|name| Supplier::frontier(name).always(HANG));
    let last = [Supplier::free("idle"), Supplier::local("home")];
    let scene = Scene::new(suppliers.into_iter().chain(last));
    let ask = Ask::streamed();
    let told = scene.call(&ask).await.unwrap();
    told.is_complete("home", 6);
    assert_eq!(told.took_ms, 5 * (10_000 + ask.reading_ms()));
    assert!(hanging.iter().all(|name| scene.asked(name) == 1));
    assert_eq!((scene.asked("idle"), told.served.tier), (0, Some(Tier::Local)));
}

#[tokio::test(start_paused = true)]
async fn headers_without_content_cost_the_wait_for_content() {
    for after in ["headers", "preamble"] {
        let alpha = Supplier::frontier("alpha").always(&format!("stall after={after}"));
        let scene = Scene::new([alpha, Supplier::free("beta")]);
        let ask = Ask::streamed();
        let told = scene.call(&ask).await.unwrap();
        told.is_complete("beta", 2);
        assert_eq!(
            (told.took_ms, told.served.failed[0].as_str()),
            (20_000 + ask.reading_ms(), "alpha/alpha-1=first_content_timeout")
        );
    }
}
