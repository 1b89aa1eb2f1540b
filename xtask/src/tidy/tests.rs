//! Each rule fires on a small house that breaks it, and is silent on one that does not.

use super::*;

/// The lines, and what is wrong there, that a rule finds.
fn check(rule: fn(&House) -> Vec<Breach>, files: &[(&str, &str)], expected: &[&str]) {
    let found: Vec<_> = rule(&House::of(files)).iter().map(|b| format!("{}:{} {}", b.file, b.line, b.wrong)).collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found:?} does not contain {expected:?}");
    }
}

#[test]
fn a_crate_that_does_not_say_what_it_does_not_know_is_told() {
    let manifest = ("crates/x/Cargo.toml", "");
    check(
        crates_say_what_they_know,
        &[manifest, ("crates/x/src/lib.rs", "//! *Knows:* a.\n//! *Does not know:* b.")],
        &[],
    );
    check(crates_say_what_they_know, &[manifest, ("crates/x/src/lib.rs", "//! *Knows:* a.")], &["*Does not know:*"]);
    check(crates_say_what_they_know, &[manifest, ("crates/x/src/main.rs", "")], &["*Knows:*", "*Does not know:*"]);
}

#[test]
fn a_serialised_core_type_is_found_and_a_comment_is_not() {
    check(
        core_is_not_serialised,
        &[("crates/core/src/a.rs", "// Serialize\n#[derive(Serialize)]\nstruct A;")],
        &["a.rs:2"],
    );
    check(core_is_not_serialised, &[("crates/wire/src/a.rs", "#[derive(Serialize)] struct A;")], &[]);
}

#[test]
fn a_clock_is_found_below_floor_two_only() {
    let clock = "fn now() -> Instant { Instant::now() }";
    check(the_lower_floors_are_pure, &[("crates/wire/src/a.rs", clock)], &["`Instant::now`"]);
    check(the_lower_floors_are_pure, &[("crates/grid/src/a.rs", clock)], &[]);
    check(the_lower_floors_are_pure, &[("crates/core/src/tests.rs", clock)], &[]);
}

#[test]
fn the_environment_is_read_by_the_binary_only() {
    let read = "fn f() { let _ = std::env::var(\"A\"); }";
    check(only_the_binary_reads_the_environment, &[("crates/grid/src/a.rs", read)], &["`env::var`"]);
    check(only_the_binary_reads_the_environment, &[("crates/commonwatt/src/a.rs", read)], &[]);
}

#[test]
fn unsafe_is_found_outside_the_engine() {
    let block = "fn f() { unsafe { g() } }";
    check(only_the_engine_is_unsafe, &[("crates/grid/src/a.rs", block)], &["`unsafe`"]);
    check(only_the_engine_is_unsafe, &[("crates/engine/src/a.rs", block)], &[]);
    check(only_the_engine_is_unsafe, &[("crates/grid/src/a.rs", "#![forbid(unsafe_code)] // unsafe")], &[]);
}

#[test]
fn an_invariant_without_its_test_is_told() {
    let test = ("crates/x/src/lib.rs", "#[cfg(test)] mod tests { #[test] fn it_holds() {} fn no_test() {} }");
    let table = |cell: &str| format!("| | Invariant | Test |\n|---|---|---|\n| I1 | `a` holds | {cell} |");
    check(invariants_have_tests, &[test, ("ARCHITECTURE.md", &table("`x::tests::it_holds`"))], &[]);
    check(invariants_have_tests, &[test, ("ARCHITECTURE.md", &table("`no_test`"))], &["`no_test`"]);
    check(invariants_have_tests, &[test, ("ARCHITECTURE.md", &table("by hand"))], &["names no test"]);
    check(invariants_have_tests, &[test, ("ARCHITECTURE.md", "# Map")], &["no table"]);
    check(invariants_have_tests, &[test], &["no such file"]);
}

#[test]
fn a_trap_without_its_test_is_told_and_so_is_one_that_was_forgotten() {
    let test = ("crates/x/src/lib.rs", "#[cfg(test)] mod tests { #[test] fn it_holds() {} }");
    let example = ("crates/wire/tests/golden/stream-cut.openai.sse", "data: {}");
    let table = |skipped: &str, cell: &str| -> String {
        let ids = GROUPS.iter().flat_map(|(group, first, last)| (*first..=*last).map(move |at| format!("{group}{at}")));
        ids.filter(|id| id != skipped).map(|id| format!("| {id} | a trap | not yet: `a` | {cell} |\n")).collect()
    };
    let held = "`it_holds`, `stream-cut.openai`";
    check(traps_have_tests, &[test, example, (TRAPS, &table("", held))], &[]);
    check(traps_have_tests, &[test, example, (TRAPS, &table("A9", held))], &["A9 is missing"]);
    let one_more = |cell: &str| table("", held) + &format!("| J57 | a trap | mended | {cell} |");
    check(traps_have_tests, &[test, example, (TRAPS, &one_more("`stream-cut`"))], &["`stream-cut`"]);
    check(traps_have_tests, &[test, example, (TRAPS, &one_more("by hand"))], &["names no test"]);
    check(traps_have_tests, &[test], &["no such file"]);
}

#[test]
fn a_note_to_oneself_is_found() {
    let note = concat!("// TO", "DO: later");
    check(nothing_is_left_over, &[("crates/x/src/lib.rs", note)], &["is left"]);
    check(nothing_is_left_over, &[("crates/x/src/lib.rs", "// METHODOLOGY")], &[]);
}

#[test]
fn a_file_counts_until_its_tests() {
    let long = "fn f() {}\n".repeat(FILE_LINES + 1);
    let tested = format!("{}#[cfg(test)]\nmod tests {{ {long} }}", "fn f() {}\n".repeat(FILE_LINES));
    check(files_are_short, &[("crates/x/src/a.rs", &long)], &["601 lines"]);
    check(files_are_short, &[("crates/x/src/a.rs", &tested)], &[]);
    check(files_are_short, &[("crates/x/tests/a.rs", &long)], &[]);
}

#[test]
fn a_function_of_71_lines_is_too_long() {
    let function = |lines: usize| format!("fn f() {{\n{}}}", "g();\n".repeat(lines - 2));
    check(functions_are_short, &[("crates/x/src/a.rs", &function(71))], &["`f` has 71 lines"]);
    check(functions_are_short, &[("crates/x/src/a.rs", &function(70))], &[]);
}

#[test]
fn the_request_path_may_not_grow() {
    let (file, allowed) = REQUEST_PATH;
    check(the_request_path_is_one_story, &[(file, &"\n".repeat(allowed + 1))], &["201 lines"]);
    check(the_request_path_is_one_story, &[(file, &"\n".repeat(allowed))], &[]);
}

#[test]
fn a_crate_with_its_own_lints_is_told() {
    check(lints_are_the_workspaces, &[("crates/x/Cargo.toml", "[lints]\nworkspace = true")], &[]);
    check(lints_are_the_workspaces, &[("crates/x/Cargo.toml", "[lints.rust]\nunsafe_code = \"allow\"")], &["lints"]);
    check(lints_are_the_workspaces, &[("fuzz/Cargo.toml", "[package]\n\n[workspace]\n")], &[]);
}

#[test]
fn a_dead_link_is_found_and_a_foreign_one_is_not_followed() {
    let page = |link: &str| format!("See [it]({link}).");
    let file = ("docs/a/b.md", "");
    check(links_lead_somewhere, &[file, ("docs/c.md", &page("a/b.md#part"))], &[]);
    check(links_lead_somewhere, &[file, ("docs/a/c.md", &page("../../docs/a"))], &[]);
    check(links_lead_somewhere, &[file, ("docs/c.md", &page("b.md"))], &["`b.md`"]);
    check(links_lead_somewhere, &[("c.md", &page("https://example.org/x"))], &[]);
    check(links_lead_somewhere, &[("c.md", "```\n[a](b)\n```\nand `[a](b)`")], &[]);
}
