//! `cargo xtask tidy`: checks the house and says what to do.

use std::io::{self, Write};
use std::process::ExitCode;

use xtask::house::House;
use xtask::tidy::RULES;

fn main() -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => tidy(&mut out),
        _ => {
            writeln!(out, "cargo xtask tidy   checks the rules of the house (its tests do too)")?;
            Ok(ExitCode::from(2))
        }
    }
}

fn tidy(out: &mut impl Write) -> io::Result<ExitCode> {
    let house = House::here()?;
    let breaches: Vec<_> = RULES.iter().flat_map(|(_, rule)| rule(&house)).collect();
    for breach in &breaches {
        writeln!(out, "{breach}")?;
    }
    if breaches.is_empty() {
        writeln!(out, "tidy: {} rules, nothing to say", RULES.len())?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "tidy: {} breaches", breaches.len())?;
    Ok(ExitCode::FAILURE)
}
