//! The rules of the house, held against the house.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the tree fails")]

use xtask::house::House;
use xtask::tidy::{self, Breach};

fn check(rule: fn(&House) -> Vec<Breach>) {
    let breaches: Vec<_> = rule(&House::here().unwrap()).iter().map(ToString::to_string).collect();
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

#[test]
fn each_crate_says_what_it_knows_and_what_it_does_not_know() {
    check(tidy::crates_say_what_they_know);
}

#[test]
fn core_types_are_no_format() {
    check(tidy::core_is_not_serialised);
}

#[test]
fn pure_crates_see_no_clock_no_chance_and_no_environment() {
    check(tidy::the_lower_floors_are_pure);
}

#[test]
fn only_the_binary_reads_the_environment() {
    check(tidy::only_the_binary_reads_the_environment);
}

#[test]
fn unsafe_code_lives_in_the_engine_only() {
    check(tidy::only_the_engine_is_unsafe);
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    check(tidy::invariants_have_tests);
}

#[test]
fn every_trap_names_tests_that_exist() {
    check(tidy::traps_have_tests);
}

#[test]
fn no_note_to_oneself_is_left() {
    check(tidy::nothing_is_left_over);
}

#[test]
fn files_have_600_lines_at_most_before_their_tests() {
    check(tidy::files_are_short);
}

#[test]
fn functions_have_70_lines_at_most() {
    check(tidy::functions_are_short);
}

#[test]
fn the_request_path_has_200_lines_at_most() {
    check(tidy::the_request_path_is_one_story);
}

#[test]
fn every_crate_obeys_the_workspace_lints() {
    check(tidy::lints_are_the_workspaces);
}

#[test]
fn every_relative_link_leads_somewhere() {
    check(tidy::links_lead_somewhere);
}

#[test]
fn no_rule_is_forgotten_here() {
    let held = include_str!("tidy.rs").matches("check(tidy::").count() - 1;
    assert_eq!(held, tidy::RULES.len(), "every rule in RULES has a test in this file");
}
