//! What a token costs in bytes and in time: `cargo test --release -p commonwatt-pass cost -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use super::*;

fn each(work: impl Fn()) -> Duration {
    let rounds = 300;
    let started = Instant::now();
    (0..rounds).for_each(|_| work());
    started.elapsed() / rounds
}

fn tell(name: &str, text: &str) {
    let time = each(|| drop(opened(text, &by("bob"))));
    println!("{name}: {} characters, opened in {time:?}", text.len());
}

#[test]
#[ignore = "it measures"]
fn cost_of_a_token() {
    let plain = minted(&grant());
    let full = minted(&Grant { audience: Some(holder("bob")), spend_micros: Some(5_000_000), ..grant() });
    let narrowing = Narrowing {
        audience: Some(holder("bob")),
        scopes: Some(Scopes::of(&[Scope::Read])),
        expires_s: Some(NOW_S + 60),
        spend_micros: Some(500),
    };
    let once = narrowed(&full, &narrowing);
    tell("for anybody", &plain);
    tell("with every limit", &full);
    tell("narrowed once", &once);
    tell("narrowed twice", &narrowed(&once, &narrowing));
    tell("narrowed once and sealed", seal(&once).unwrap().text());
    let most = (0..NARROWINGS_MAX).fold(full.clone(), |text, _| narrowed(&text, &narrowing));
    tell("narrowed as often as can be", &most);
    println!(
        "minted in {:?}, narrowed in {:?}",
        each(|| drop(minted(&grant()))),
        each(|| drop(narrowed(&full, &narrowing)))
    );

    let other = Keys::from_seed(Seed([9; 32])).public();
    println!("a foreign one refused in {:?}", each(|| drop(open(&other, &full, &by("bob")))));
    for (name, datalog) in [
        ("900 facts", (0..900).map(|n| format!("f({n});")).collect::<String>()),
        ("450 new words", (0..450).map(|n| format!("w{n}({n});")).collect()),
        ("a long sum", format!("check if {}1 == 1;", "1 + ".repeat(900))),
        ("a long word", format!("check if \"{0}\" == \"{0}\";", "w".repeat(8_000))),
    ] {
        let token = UnverifiedBiscuit::from(URL_SAFE_NO_PAD.decode(&full[4..]).unwrap()).unwrap();
        let token = token.append(BlockBuilder::new().code(datalog).unwrap()).unwrap();
        tell(name, &format!("cwh_{}", URL_SAFE_NO_PAD.encode(token.to_vec().unwrap())));
    }
}

#[test]
#[ignore = "it measures"]
fn cost_of_a_strangers_rule_in_the_library_alone() {
    let facts: String = (0..200).map(|n| format!("f({n});")).collect();
    let token = Biscuit::builder().code(format!("{facts} g($a) <- f($a), f($b), f($c);")).unwrap();
    let token = token.build(keys().pair()).unwrap();
    let millisecond = AuthorizerLimits { max_time: Duration::from_millis(1), ..AuthorizerLimits::default() };
    let mut authorizer = AuthorizerBuilder::new().set_limits(millisecond).build(&token).unwrap();
    let started = Instant::now();
    let ended = authorizer.run().map_err(|error| error.to_string());
    println!("allowed 1 ms, stopped after {:?}: {ended:?}", started.elapsed());
}
