//! Stories about files that people write.

use super::*;

fn said(text: &str) -> String {
    parse("commonwatt.toml".as_ref(), text).expect_err("a mistake").to_string()
}

#[test]
fn an_empty_file_is_a_valid_one() {
    let (config, _) = parse("commonwatt.toml".as_ref(), "").expect("valid");
    assert_eq!(config.limits.body_mib, 32);
    assert!(config.routing.substitute);
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_one() {
    assert_eq!(said("lisen = \"x\""), "commonwatt.toml:1:1: unknown key `lisen` (did you mean `listen`?)");
    assert_eq!(said("[limits]\nbody_mb = 3"), "commonwatt.toml:2:1: unknown key `body_mb` (did you mean `body_mib`?)");
    assert_eq!(said("[routing]\ncolour = 3"), "commonwatt.toml:2:1: unknown key `colour` (known here: `substitute`)");
    assert_eq!(
        said("[providers.openai]\nbaseurl = 'x'"),
        "commonwatt.toml:2:1: unknown key `baseurl` (did you mean `base_url`?)"
    );
}

#[test]
fn a_value_of_the_wrong_kind_is_explained_without_the_parsers_words() {
    assert_eq!(
        said("[limits]\nbody_mib = \"big\""),
        "commonwatt.toml:2:12: the text `big` stands where a whole number from 0 is wanted"
    );
    assert_eq!(said("listen = 4600"), "commonwatt.toml:1:10: the number `4600` stands where text in quotes is wanted");
    assert_eq!(said("limits = 3"), "commonwatt.toml:1:10: the number `3` stands where a table is wanted");
    assert_eq!(
        said("[limits]\ncalls_max = -1"),
        "commonwatt.toml:2:13: the number `-1` stands where a whole number from 0 is wanted"
    );
    assert_eq!(
        said("[engine]\nenabled = \"no\""),
        "commonwatt.toml:2:11: the text `no` stands where `true` or `false` is wanted"
    );
}

#[test]
fn the_model_of_a_provider_is_pointed_to_its_key() {
    assert!(said("[providers.openai]\nmodel = \"gpt-5\"").contains("default_model"));
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(said("[routes.fast]\nsubstitute = true"), "commonwatt.toml:1:1: `candidates` is missing here");
}

#[test]
fn a_file_that_is_no_toml_is_called_so_with_its_place() {
    let said = said("listen = \"127.0.0.1\nx = 1");
    assert!(said.starts_with("commonwatt.toml:1:"), "{said}");
    assert!(said.contains("this is not TOML: "), "{said}");
}

#[test]
fn places_are_found_by_path() {
    let (_, places) = parse(
        "commonwatt.toml".as_ref(),
        "[routes.fast]\ncandidates = [\n  \"a/b\",\n  \"c/d\"]\n[providers.x]\ntier = 'local'\n",
    )
    .expect("valid");
    let at = |path: &[&str]| places.problem(path, "").position().map(|(_, line, column)| (line, column));
    assert_eq!(at(&["routes", "fast", "candidates", "1"]), Some((4, 3)));
    assert_eq!(at(&["providers", "x", "tier"]), Some((6, 8)));
    assert_eq!(at(&["providers", "x", "base_url"]), Some((5, 1)));
    let name = places.problem_with_name(&["providers", "x"], "").position().map(|(_, line, column)| (line, column));
    assert_eq!(name, Some((5, 12)));
}

#[test]
fn the_committed_schema_is_the_one_of_this_program() {
    let committed = include_str!("../../../../schema/commonwatt.schema.json");
    let is_same = committed == schema().expect("a schema");
    assert!(is_same, "run `commonwatt config schema > schema/commonwatt.schema.json`");
    assert!(!committed.contains("null"), "TOML has none");
}
