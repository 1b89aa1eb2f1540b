//! Whole worlds by seed: three suppliers that fail by chance, callers of every shape, and what always holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use commonwatt_core::fleet::Tier;
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_sim::Outcome;
use commonwatt_wire::Dialect;
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::heard::{End, Told};
use crate::world::{Ask, LOCAL_KEY, Scene, Supplier, ms_since, speech};

const NAMES: [&str; 3] = ["alpha", "beta", "home"];

/// Splitmix64: the same numbers for the same seed, everywhere.
struct Chance(u64);

impl Chance {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()].clone()
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

fn suppliers(seed: u64) -> [Supplier; 3] {
    let rates = |name, tier, dialect, error_rate, chaos_rate| {
        let salt = u64::from(name == "alpha") + 2 * u64::from(name == "beta");
        Supplier::new(name, tier).speaking(dialect).with(|settings| {
            settings.seed = seed * 10 + salt;
            settings.error_rate = error_rate;
            settings.chaos_rate = chaos_rate;
            settings.headers_ms = 120;
            settings.first_token_ms = 250;
            settings.gap_ms = 20;
            settings.jitter = 0.5;
        })
    };
    [
        rates("alpha", Tier::Frontier, Dialect::OpenAiChat, 0.1, 0.5),
        rates("beta", Tier::Free, Dialect::AnthropicMessages, 0.1, 0.4),
        rates("home", Tier::Local, Dialect::OpenAiChat, 0.0, 0.2),
    ]
}

/// A call of any shape; its number stands in its prompt, so that a supplier's memory tells whose call it was.
fn ask(number: usize, chance: &mut Chance) -> Ask {
    let ask = Ask::new(chance.pick(&Dialect::ALL), !chance.one_in(3));
    let hang = chance.pick(&["[[sim: stall after=start]]", "[[sim: stall after=headers]]", "[[sim: stall after=5]]"]);
    let hang = if chance.one_in(20) { hang } else { "" };
    let says = format!("<{number}> {}{hang}", "Who is there? ".repeat(usize::try_from(chance.below(400)).unwrap()));
    let model = chance.pick(&["auto", "auto", "auto", "alpha-1", "beta/beta-1", "local"]);
    let tiers = chance.one_in(8).then(|| vec![chance.pick(&Tier::ALL), Tier::Local]);
    let key = if chance.one_in(10) { LOCAL_KEY } else { ask.key };
    let max_tokens =
        if chance.one_in(2) { Some(200 + u32::try_from(chance.below(800)).unwrap()) } else { ask.max_tokens };
    Ask { says, tiers, key, max_tokens, ..ask.model(model) }
}

/// What is known of a run.
#[derive(Default)]
struct Log {
    /// A line for each call, in the order in which they ended.
    transcript: Vec<String>,
    /// For each call, the deployments that its plan excluded.
    excluded: HashMap<usize, Vec<String>>,
    /// Promises that were not kept.
    broken: Vec<String>,
}

/// One call from its start to its end, or until its caller leaves.
async fn one(scene: Arc<Scene>, log: Arc<Mutex<Log>>, number: usize, ask: Ask, stays: Duration) {
    let began = Instant::now();
    // Explaining and calling happen without a pause between them, so both see the same breakers.
    if ask.tiers.is_none()
        && let Ok(explained) = scene.grid.explain(ask.arrival(&scene.grid)).await
    {
        let ids = explained.plan.excluded().iter().map(|exclusion| exclusion.deployment.id.to_string()).collect();
        log.lock().unwrap().excluded.insert(number, ids);
    }
    let outcome = timeout(stays, scene.call(&ask)).await;
    let mut log = log.lock().unwrap();
    let line = match &outcome {
        Err(_) => "left".to_owned(),
        Ok(Err(refusal)) => format!("{:?} after {:?} ms: {}", refusal.kind, refusal.retry_after_ms, refusal.message),
        Ok(Ok(told)) => {
            let hash = blake3::hash(&told.raw).to_hex();
            let served = &told.served;
            format!(
                "{} {} {:?} {:?} {hash}",
                served.deployment.as_ref().unwrap(),
                served.attempts,
                served.failed,
                told.end
            )
        }
    };
    log.transcript.push(format!("<{number}> {} ms: {line}", ms_since(began)));
    if let Some(broken) = outcome.ok().and_then(|outcome| broken_promise(&ask, &outcome)) {
        log.broken.push(format!("<{number}> {broken}: {line}"));
    }
}

/// Every call ends as a whole answer, as an error after content that says so, or as a refusal of the suppliers' making.
fn broken_promise(ask: &Ask, outcome: &Result<Told, Refusal>) -> Option<String> {
    let told = match outcome {
        Ok(told) => told,
        Err(Refusal {
            kind: RefusalKind::RateLimited | RefusalKind::UpstreamFailed | RefusalKind::UpstreamTimeout,
            ..
        }) => {
            return None;
        }
        Err(refusal) => return Some(format!("refused as {:?}", refusal.kind)),
    };
    let speech = speech(told.by());
    let kept_in =
        ask.key != LOCAL_KEY && ask.tiers.as_ref().is_none_or(|tiers| tiers.contains(&told.served.tier.unwrap()));
    if !kept_in && told.served.tier != Some(Tier::Local) {
        return Some("it left its tiers".to_owned());
    }
    match &told.end {
        End::Complete if told.text == speech => None,
        End::Complete => Some(format!("a complete answer lacks something: {}", told.text)),
        End::Error(_) if speech.starts_with(&told.text) => None,
        End::Error(_) => Some(format!("what came before the error was not said: {}", told.text)),
        End::Silence => Some("it ended in silence".to_owned()),
        End::Nonsense(_) => Some("it cannot be read".to_owned()),
    }
}

/// A world of that seed and `calls` calls, some of them at the same time.
async fn run(seed: u64, calls: usize) -> Log {
    let scene = Scene::new(suppliers(seed));
    let log = Arc::new(Mutex::new(Log::default()));
    let mut chance = Chance(seed);
    let mut tasks = Vec::new();
    for number in 0..calls {
        sleep(Duration::from_millis(chance.below(4_000))).await;
        let ask = ask(number, &mut chance);
        let stays = Duration::from_millis(if chance.one_in(8) { chance.below(2_000) } else { 3_600_000 });
        tasks.push(tokio::spawn(one(Arc::clone(&scene), Arc::clone(&log), number, ask, stays)));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let mut log = std::mem::take(&mut *log.lock().unwrap());
    if scene.grid.calls_under_way() != 0 {
        log.broken.push(format!("{} slots are still held", scene.grid.calls_under_way()));
    }
    for name in NAMES {
        let idle = scene.sim(name).wait_for(|requests| requests.iter().all(|r| r.outcome != Outcome::Playing));
        let Ok(requests) = timeout(Duration::from_secs(1), idle).await else {
            log.broken.push(format!("{name} still plays for nobody"));
            continue;
        };
        for request in requests {
            let body = String::from_utf8_lossy(&request.body);
            // A caller that left while its prompt was being sent has no number there.
            let Some(number) = body.split_once('<').and_then(|(_, rest)| rest.split_once('>')?.0.parse().ok()) else {
                continue;
            };
            let id = format!("{name}/{name}-1");
            if log.excluded.get(&number).is_some_and(|excluded| excluded.contains(&id)) {
                log.broken.push(format!("<{number}> was sent to {id}, which its plan excludes"));
            }
        }
    }
    log
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_grid_run() {
    let first = run(1, 200).await.transcript;
    let again = run(1, 200).await.transcript;
    let other = run(2, 200).await.transcript;
    for (line, same) in first.iter().zip(&again) {
        assert_eq!(line, same);
    }
    assert_eq!((first.len(), again.len()), (200, 200));
    assert_ne!(first, other);
    // The run is worth replaying: everything happens in it.
    for word in ["left", "Complete", "Error(", "alpha/alpha-1 1", "home/home-1 3", "UpstreamFailed", "timeout"] {
        assert!(first.iter().any(|line| line.contains(word)), "nothing is `{word}`");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_a_call_ends_honestly_and_leaves_nothing_behind() {
    let mut broken = Vec::new();
    for seed in 10..30 {
        let promises = run(seed, 80).await.broken;
        broken.extend(promises.into_iter().map(|promise| format!("seed {seed}: {promise}")));
    }
    assert!(broken.is_empty(), "{} promises broken:\n{}", broken.len(), broken.join("\n"));
}
