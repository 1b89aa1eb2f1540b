//! A session stays where its prompt is cached and its sealed thinking is known, while that deployment is well.

use commonwatt_core::fleet::Tier;
use tokio::time::{Duration, sleep};

use crate::world::{Ask, Scene, Supplier};

fn session(says: &str) -> Ask {
    Ask { says: says.to_owned(), ..Ask::streamed() }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_had_to_move_stays_where_it_went_and_others_do_not_follow() {
    let scene = Scene::new([Supplier::frontier("alpha").script("status=500"), Supplier::frontier("beta")]);
    let moved = session("Who is there?");
    scene.call(&moved).await.unwrap().is_complete("beta", 2);
    sleep(Duration::from_secs(120)).await;
    scene.call(&session("And who are you?")).await.unwrap().is_complete("alpha", 1);
    scene.call(&moved).await.unwrap().is_complete("beta", 1);
    let explained = scene.grid.explain(moved.arrival(&scene.grid)).await.unwrap();
    assert_eq!(&*explained.plan.candidates()[0].deployment.provider, "beta");
}

#[tokio::test(start_paused = true)]
async fn a_session_does_not_stay_with_a_lesser_tier() {
    let scene = Scene::new([Supplier::frontier("alpha").script("status=500"), Supplier::local("home")]);
    let ask = session("Who is there?");
    scene.call(&ask).await.unwrap().is_complete("home", 2);
    sleep(Duration::from_secs(120)).await;
    scene.call(&ask).await.unwrap().is_complete("alpha", 1);
}

#[tokio::test(start_paused = true)]
async fn another_principals_session_is_another_session() {
    let scene = Scene::new([Supplier::local("alpha").script("status=500"), Supplier::local("beta")]);
    let (mine, theirs) = (session("Who is there?"), Ask { key: crate::world::LOCAL_KEY, ..session("Who is there?") });
    scene.call(&mine).await.unwrap().is_complete("beta", 2);
    sleep(Duration::from_secs(120)).await;
    scene.call(&theirs).await.unwrap().is_complete("alpha", 1);
    scene.call(&mine).await.unwrap().is_complete("beta", 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_keeps_to_this_machine_makes_the_session_forget_nothing() {
    let locals = [Supplier::local("home"), Supplier::local("shed")];
    let clouds = [Supplier::frontier("alpha").script("status=500"), Supplier::frontier("beta")];
    let scene = Scene::new(clouds.into_iter().chain(locals));
    let ask = session("Who is there?");
    scene.call(&ask).await.unwrap().is_complete("beta", 2);
    sleep(Duration::from_secs(120)).await;
    scene.call(&session("And who are you?")).await.unwrap().is_complete("alpha", 1);
    let private = Ask { tiers: Some(vec![Tier::Local]), ..ask.clone() };
    scene.call(&private).await.unwrap().is_complete("home", 1);
    scene.call(&ask).await.unwrap().is_complete("beta", 1);
}
