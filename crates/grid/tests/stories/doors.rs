//! Who is let in, and where a call may go: room, loops, policy, counting.

use commonwatt_core::fleet::Tier;
use commonwatt_core::refusal::RefusalKind;
use commonwatt_grid::count::TokenCount;
use commonwatt_wire::Dialect;
use tokio::time::{Duration, sleep};

use crate::world::{Ask, LOCAL_KEY, Scene, Supplier};

fn three_tiers() -> [Supplier; 3] {
    [Supplier::frontier("alpha"), Supplier::free("beta"), Supplier::local("home")]
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_room_are_refused_at_once_and_told_when_to_come_back() {
    let scene = Scene::with_room_for(2, [Supplier::frontier("alpha").with(|settings| settings.gap_ms = 100)]);
    let running = [scene.spawn(&Ask::streamed()), scene.spawn(&Ask::streamed())];
    sleep(Duration::from_millis(1)).await;
    assert_eq!(scene.grid.calls_under_way(), 2);
    let refusal = scene.call(&Ask::streamed()).await.unwrap_err();
    assert_eq!((refusal.kind, refusal.retry_after_ms), (RefusalKind::Busy, Some(1_000)));
    for call in running {
        call.await.unwrap().unwrap().is_complete("alpha", 1);
    }
    assert_eq!(scene.grid.calls_under_way(), 0);
    scene.call(&Ask::streamed()).await.unwrap().is_complete("alpha", 1);
    assert_eq!(scene.asked("alpha"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_comes_back_is_a_loop() {
    let scene = Scene::new(three_tiers());
    let me = scene.grid.via().to_owned();
    for path in [me.clone(), format!("far, {me}"), format!("{me},near")] {
        let ask = Ask { via: Some(path), ..Ask::streamed() };
        assert_eq!(scene.call(&ask).await.unwrap_err().kind, RefusalKind::Loop);
    }
    assert_eq!(scene.grid.calls_under_way(), 0);
    let ask = Ask { via: Some("far, near".to_owned()), ..Ask::streamed() };
    scene.call(&ask).await.unwrap().is_complete("alpha", 1);
    let request = &scene.sim("alpha").requests()[0];
    let sent = request.headers.iter().find(|(name, _)| name == "x-commonwatt-via").map(|(_, path)| path.clone());
    assert_eq!(sent, Some(format!("far, near, {me}")));
}

#[tokio::test(start_paused = true)]
async fn a_key_for_the_local_tier_never_leaves_it() {
    let scene = Scene::new(three_tiers());
    for model in ["auto", "alpha-1", "beta/beta-1"] {
        let ask = Ask { key: LOCAL_KEY, ..Ask::streamed().model(model) };
        scene.call(&ask).await.unwrap().is_complete("home", 1);
    }
    assert_eq!((scene.asked("alpha"), scene.asked("beta")), (0, 0));
    let scene = Scene::new([Supplier::frontier("alpha"), Supplier::free("beta")]);
    let ask = Ask { key: LOCAL_KEY, ..Ask::streamed() };
    assert_eq!(scene.call(&ask).await.unwrap_err().kind, RefusalKind::Forbidden);
    assert_eq!((scene.asked("alpha"), scene.asked("beta")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_may_ask_for_less_than_its_key_allows_and_never_for_more() {
    let scene = Scene::new(three_tiers());
    let kept_to = |tiers: &[Tier], key| Ask { tiers: Some(tiers.to_vec()), key, ..Ask::streamed() };
    let anywhere = crate::world::KEY;
    scene.call(&kept_to(&[Tier::Free], anywhere)).await.unwrap().is_complete("beta", 1);
    scene.call(&kept_to(&[Tier::Local, Tier::Free], anywhere)).await.unwrap().is_complete("beta", 1);
    scene.call(&kept_to(&[Tier::Frontier, Tier::Local], LOCAL_KEY)).await.unwrap().is_complete("home", 1);
    for (tiers, key) in [(&[Tier::Frontier][..], LOCAL_KEY), (&[], anywhere)] {
        assert_eq!(scene.call(&kept_to(tiers, key)).await.unwrap_err().kind, RefusalKind::Forbidden);
    }
    assert_eq!(scene.asked("alpha"), 0);
}

#[tokio::test(start_paused = true)]
async fn strangers_are_asked_for_a_key_and_take_no_room() {
    let scene = Scene::with_room_for(1, [Supplier::frontier("alpha")]);
    for stranger in [None, Some(""), Some("cw-nobody")] {
        assert_eq!(scene.grid.identify(stranger).unwrap_err().kind, RefusalKind::Unauthenticated);
    }
    assert_eq!((scene.grid.calls_under_way(), scene.asked("alpha")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn tokens_are_counted_by_a_supplier_that_can_and_estimated_elsewhere() {
    let scene = Scene::new([Supplier::frontier("alpha").speaking(Dialect::AnthropicMessages)]);
    let ask = Ask::new(Dialect::AnthropicMessages, false);
    let counted = scene.grid.count_tokens(ask.arrival(&scene.grid)).await.unwrap();
    assert!(!counted.estimated && counted.tokens > 0);
    let longer = Ask { says: "Who is there? ".repeat(100), ..ask.clone() };
    assert!(scene.grid.count_tokens(longer.arrival(&scene.grid)).await.unwrap().tokens > counted.tokens + 100);
    let request = &scene.sim("alpha").requests()[0];
    assert_eq!((request.path.as_str(), scene.asked("alpha")), ("/v1/messages/count_tokens", 0));

    let estimate = |ask: &Ask| TokenCount { tokens: ask.body().len().div_ceil(4) as u64, estimated: true };
    let foreign = Ask::new(Dialect::OpenAiChat, false);
    assert_eq!(scene.grid.count_tokens(foreign.arrival(&scene.grid)).await.unwrap(), estimate(&foreign));
    let scene = Scene::new([Supplier::frontier("alpha")]);
    assert_eq!(scene.grid.count_tokens(ask.arrival(&scene.grid)).await.unwrap(), estimate(&ask));
    assert_eq!(scene.grid.calls_under_way(), 0);
}
