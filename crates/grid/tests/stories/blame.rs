//! Whose fault it is: the account's, the model's, the caller's.

use commonwatt_core::refusal::RefusalKind;
use commonwatt_sim::{Fault, Script, Step};
use tokio::time::{Duration, sleep};

use crate::world::{Ask, Scene, Supplier, pairs};

/// A second model at the supplier.
const SECOND: &str = "[model.alpha-2]";

fn status(status: u16, message: Option<&str>) -> Fault {
    Fault::Status { status, retry_after_s: None, message: message.map(str::to_owned), code: None }
}

#[tokio::test(start_paused = true)]
async fn a_bad_key_benches_the_account_with_all_its_models() {
    let alpha = Supplier::frontier("alpha").spec(SECOND).script("status=401");
    let scene = Scene::new([alpha, Supplier::free("beta")]);
    scene.call(&Ask::streamed().model("alpha-1")).await.unwrap().is_complete("beta", 2);
    for model in ["alpha-1", "alpha-2", "alpha/alpha-3", "auto"] {
        scene.call(&Ask::streamed().model(model)).await.unwrap().is_complete("beta", 1);
    }
    assert_eq!(scene.asked("alpha"), 1);
    sleep(Duration::from_secs(60)).await;
    // One probe with any of its models finds out that the key was mended.
    scene.call(&Ask::streamed().model("alpha-2")).await.unwrap().is_complete("alpha", 1);
    scene.call(&Ask::streamed().model("alpha-1")).await.unwrap().is_complete("alpha", 1);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_not_found_is_benched_alone() {
    let faults = vec![status(404, None)];
    let missing = Step { model: Some("alpha-1".to_owned()), times: 0, faults, ..Step::default() };
    let alpha = Supplier::frontier("alpha").spec(SECOND).with(|settings| {
        settings.script = Script { steps: vec![missing], cycle: false };
    });
    let scene = Scene::new([alpha, Supplier::free("beta")]);
    scene.call(&Ask::streamed().model("alpha-1")).await.unwrap().is_complete("beta", 2);
    scene.call(&Ask::streamed().model("alpha-1")).await.unwrap().is_complete("beta", 1);
    scene.call(&Ask::streamed().model("alpha-2")).await.unwrap().is_complete("alpha", 1);
    assert_eq!(scene.asked("alpha"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_request_is_refused_in_the_suppliers_words_and_nobody_else_is_asked() {
    for (caller, supplier) in pairs() {
        let words = "`temperature` must be at most 2";
        let alpha = Supplier::frontier("alpha").speaking(supplier).with(|settings| {
            settings.script = Script::of([status(400, Some(words))]);
        });
        let scene = Scene::new([alpha, Supplier::local("home")]);
        let refusal = scene.call(&Ask::new(caller, true)).await.unwrap_err();
        assert_eq!((refusal.kind, refusal.message.as_str()), (RefusalKind::BadRequest, words));
        assert_eq!((scene.asked("alpha"), scene.asked("home")), (1, 0));
        // It was the caller's fault: the supplier is not benched.
        scene.call(&Ask::new(caller, true)).await.unwrap().is_complete("alpha", 1);
    }
}
