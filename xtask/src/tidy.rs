//! The rules. Each is a function from the house to its breaches; [`RULES`] lists them all.
//!
//! A breach says where, what is wrong, and what to do. To allow an exception, write it into the table beside the rule:
//! that is a visible decision.

use std::collections::BTreeSet;
use std::fmt;

use crate::house::House;
use crate::source::{Function, Source, is_test_file};

/// Lines that a file may have before its tests.
const FILE_LINES: usize = 600;
/// Lines that a function may have.
const FUNCTION_LINES: usize = 70;
/// Lines that the path of a request may have: it is read from top to bottom, by everybody.
const REQUEST_PATH: (&str, usize) = ("crates/grid/src/request.rs", 200);

/// Files that were longer when the rule came, with their length then. They may shrink, not grow.
const LONG_FILES: &[(&str, usize)] = &[];
/// Functions that were longer when the rule came: file, name, length then. They may shrink, not grow.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// Crates below floor 2: they get time, chance and bytes as arguments.
const PURE: &[&str] = &["crates/core/src/", "crates/pass/src/", "crates/wire/src/"];

/// Where a rule was broken, how, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The file, relative to the root of the repository.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub wrong: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, wrong, remedy } = self;
        write!(f, "{file}:{line}: {wrong}\n    {remedy}")
    }
}

/// A rule: its name and its check.
pub type Rule = (&'static str, fn(&House) -> Vec<Breach>);

/// All of them, in the order in which they are told.
pub const RULES: &[Rule] = &[
    ("crates say what they know", crates_say_what_they_know),
    ("core is not serialised", core_is_not_serialised),
    ("the lower floors are pure", the_lower_floors_are_pure),
    ("only the binary reads the environment", only_the_binary_reads_the_environment),
    ("only the engine is unsafe", only_the_engine_is_unsafe),
    ("invariants have tests", invariants_have_tests),
    ("traps have tests", traps_have_tests),
    ("nothing is left over", nothing_is_left_over),
    ("files are short", files_are_short),
    ("functions are short", functions_are_short),
    ("the request path is one story", the_request_path_is_one_story),
    ("lints are the workspace's", lints_are_the_workspaces),
    ("links lead somewhere", links_lead_somewhere),
];

/// Each crate begins by saying what it knows and what it does not know.
#[must_use]
pub fn crates_say_what_they_know(house: &House) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for folder in house.crates() {
        let roots = [format!("{folder}/src/lib.rs"), format!("{folder}/src/main.rs")];
        let Some((file, text)) = roots.iter().find_map(|file| house.text(file).map(|text| (file, text))) else {
            continue;
        };
        let doc: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        for words in ["*Knows:*", "*Does not know:*"] {
            if !doc.contains(words) {
                breaches.push(Breach {
                    file: file.clone(),
                    line: 1,
                    wrong: format!("the crate's first comment has no paragraph `{words}`"),
                    remedy: "open the file with `//! What it does.`, `//! *Knows:* …` and `//! *Does not know:* …`"
                        .into(),
                });
            }
        }
    }
    breaches
}

/// A core type with `Serialize` would be a promise to strangers.
#[must_use]
pub fn core_is_not_serialised(house: &House) -> Vec<Breach> {
    let forbidden: &[&[&str]] = &[&["Serialize"], &["Deserialize"], &["serde"]];
    names(house, &["crates/core/src/"], forbidden, |name| {
        (
            format!("core names `{name}`: its types are no format"),
            "write the type that is stored or sent in the crate that does it, and convert there".into(),
        )
    })
}

/// Below floor 2 there is no clock, no chance, no environment and no I/O.
#[must_use]
pub fn the_lower_floors_are_pure(house: &House) -> Vec<Breach> {
    let forbidden: &[&[&str]] = &[
        &["std", "env"],
        &["std", "fs"],
        &["std", "net"],
        &["std", "process"],
        &["std", "thread"],
        &["SystemTime", "now"],
        &["Instant", "now"],
        &["rand"],
        &["fastrand"],
        &["getrandom"],
        &["tokio"],
    ];
    names(house, PURE, forbidden, |name| {
        (
            format!("`{name}` below floor 2, where time, chance and the world are arguments"),
            "take the value as an argument; whoever calls from floor 2 or above has it".into(),
        )
    })
}

/// Configuration has one way in.
#[must_use]
pub fn only_the_binary_reads_the_environment(house: &House) -> Vec<Breach> {
    let forbidden: &[&[&str]] =
        &[&["env", "var"], &["env", "var_os"], &["env", "vars"], &["env", "vars_os"], &["env", "set_var"]];
    let mut breaches = names(house, &["crates/"], forbidden, |name| {
        (
            format!("`{name}` outside crates/commonwatt, which alone reads the environment"),
            "add a field to the crate's settings and let crates/commonwatt fill it".into(),
        )
    });
    // Cargo speaks to build scripts through the environment.
    breaches.retain(|breach| !breach.file.starts_with("crates/commonwatt/") && !breach.file.ends_with("/build.rs"));
    breaches
}

/// Danger lives in one room.
#[must_use]
pub fn only_the_engine_is_unsafe(house: &House) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (file, text) in house.rust("").filter(|(file, _)| !file.starts_with("crates/engine/")) {
        let Some(source) = Source::read(file, text) else { continue };
        if let Some(line) = source.line_of(&["unsafe"]) {
            breaches.push(Breach {
                file: file.into(),
                line,
                wrong: "`unsafe` outside crates/engine".into(),
                remedy: "use a safe crate for it (rustix, socket2), or move it into the engine's child process".into(),
            });
        }
    }
    breaches
}

/// Each row of the invariants in `ARCHITECTURE.md` names, in backticks, a test that exists.
#[must_use]
pub fn invariants_have_tests(house: &House) -> Vec<Breach> {
    const FILE: &str = "ARCHITECTURE.md";
    let breach = |line, wrong: String| Breach {
        file: FILE.into(),
        line,
        wrong,
        remedy: "write the row as `| I1 | what always holds | `name_of_the_test` |`, with a test function of that name"
            .into(),
    };
    let Some(text) = house.text(FILE) else {
        return vec![breach(1, "there is no such file".into())];
    };
    let tests = tests_of(house);
    let mut breaches = Vec::new();
    let mut rows = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let Some(id) = invariant(line) else { continue };
        rows += 1;
        let named = named_last(line);
        if named.is_empty() {
            breaches.push(breach(number, format!("{id} names no test in its last column")));
        }
        for name in named.iter().filter(|name| !tests.contains(**name)) {
            breaches.push(breach(number, format!("{id} names `{name}`, and there is no such test")));
        }
    }
    if rows == 0 {
        breaches.push(breach(1, "there is no table of invariants".into()));
    }
    breaches
}

/// Where the traps of other gateways stand, each with the tests that hold it.
const TRAPS: &str = "docs/reference/traps.md";
/// The traps that must be there: the letter of a group, its first number and its last.
const GROUPS: [(char, u32, u32); 6] =
    [('A', 1, 14), ('B', 15, 22), ('C', 23, 32), ('D', 33, 38), ('E', 39, 43), ('G', 48, 50)];

/// Each row of the traps names, in backticks, tests that exist or examples of translations; none is missing.
#[must_use]
pub fn traps_have_tests(house: &House) -> Vec<Breach> {
    let breach = |line, wrong: String| Breach {
        file: TRAPS.into(),
        line,
        wrong,
        remedy: "write the row as `| A1 | the trap | what is done | `name_of_a_test`, `request-case.dialect` |`".into(),
    };
    let Some(text) = house.text(TRAPS) else {
        return vec![breach(1, "there is no such file".into())];
    };
    let tests = tests_of(house);
    let mut missing: BTreeSet<String> =
        GROUPS.iter().flat_map(|(group, first, last)| (*first..=*last).map(move |at| format!("{group}{at}"))).collect();
    let mut breaches = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let Some((_, id)) = numbered(line) else { continue };
        missing.remove(id);
        let named = named_last(line);
        if named.is_empty() {
            breaches.push(breach(number, format!("{id} names no test in its last column")));
        }
        for name in named.iter().filter(|name| !tests.contains(**name) && !is_example(house, name)) {
            breaches.push(breach(number, format!("{id} names `{name}`, and there is no such test or example")));
        }
    }
    breaches.extend(missing.iter().map(|id| breach(1, format!("{id} is missing"))));
    breaches
}

/// Whether it is the name of a file in the examples of translations, without its ending.
fn is_example(house: &House, name: &str) -> bool {
    ["json", "sse", "ndjson"].iter().any(|ending| house.has(&format!("crates/wire/tests/golden/{name}.{ending}")))
}

/// The names of all tests.
fn tests_of(house: &House) -> BTreeSet<String> {
    let sources = house.rust("").filter_map(|(file, text)| Source::read(file, text));
    let functions = sources.flat_map(|source| source.test_functions);
    functions.filter(|function| function.is_test).map(|function| function.name).collect()
}

/// What the last column of a row names in backticks.
fn named_last(line: &str) -> Vec<&str> {
    let last_column = line.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default();
    last_column.split('`').skip(1).step_by(2).map(last_word).collect()
}

/// `I7` of a row that begins `| I7 |` or `| **I7** |`.
fn invariant(line: &str) -> Option<&str> {
    numbered(line).filter(|(group, _)| *group == 'I').map(|(_, id)| id)
}

/// The letter, and the letter with its number, of a row that begins with them.
fn numbered(line: &str) -> Option<(char, &str)> {
    let id = line.strip_prefix('|')?.split('|').next()?.trim().trim_matches('*');
    let group = id.chars().next().filter(char::is_ascii_uppercase)?;
    let digits = id.strip_prefix(group)?;
    (!digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())).then_some((group, id))
}

fn last_word(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path).trim_end_matches("()")
}

/// No note to oneself stays in the code: it is an issue, a line in `SHORTCOMINGS.md`, or done.
#[must_use]
pub fn nothing_is_left_over(house: &House) -> Vec<Breach> {
    // In two parts, so that this file does not accuse itself.
    let notes = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let code = [".rs", ".toml", ".py", ".mjs", ".ts", ".sh", ".yml", "dev", "run"];
    let mut breaches = Vec::new();
    for (file, text) in house.texts(&code) {
        for (number, line) in (1..).zip(text.lines()) {
            let words: Vec<_> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            if let Some(note) = notes.iter().find(|note| words.contains(note)) {
                breaches.push(Breach {
                    file: file.into(),
                    line: number,
                    wrong: format!("a `{note}` is left"),
                    remedy: "do it now, or say in SHORTCOMINGS.md what is missing and why".into(),
                });
            }
        }
    }
    breaches
}

/// Files have 600 lines at most before their tests.
#[must_use]
pub fn files_are_short(house: &House) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (file, text) in house.rust("").filter(|(file, _)| !is_test_file(file)) {
        let Some(source) = Source::read(file, text) else { continue };
        let lines = source.tests_from.map_or(text.lines().count(), |line| line - 1);
        let allowed = LONG_FILES.iter().find(|(long, _)| *long == file).map_or(FILE_LINES, |(_, lines)| *lines);
        if lines > allowed {
            breaches.push(Breach {
                file: file.into(),
                line: lines,
                wrong: format!("{lines} lines before its tests, {allowed} are allowed"),
                remedy: "split it at a joint into a folder of the same name".into(),
            });
        } else if allowed > FILE_LINES && lines < allowed {
            breaches.push(loosened(file, 1, lines, allowed, "LONG_FILES"));
        }
    }
    breaches
}

/// Functions have 70 lines at most.
#[must_use]
pub fn functions_are_short(house: &House) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (file, text) in house.rust("").filter(|(file, _)| !is_test_file(file)) {
        let Some(source) = Source::read(file, text) else { continue };
        for Function { name, line, lines, .. } in source.functions {
            let long = LONG_FUNCTIONS.iter().find(|(long, function, _)| *long == file && *function == name);
            let allowed = long.map_or(FUNCTION_LINES, |(_, _, lines)| *lines);
            if lines > allowed {
                breaches.push(Breach {
                    file: file.into(),
                    line,
                    wrong: format!("`{name}` has {lines} lines, {allowed} are allowed"),
                    remedy: "split it where one step ends and the next begins".into(),
                });
            } else if allowed > FUNCTION_LINES && lines < allowed {
                breaches.push(loosened(file, line, lines, allowed, "LONG_FUNCTIONS"));
            }
        }
    }
    breaches
}

/// The ratchet turns one way.
fn loosened(file: &str, line: usize, lines: usize, allowed: usize, table: &str) -> Breach {
    Breach {
        file: file.into(),
        line,
        wrong: format!("it shrank to {lines} lines, and the exception still allows {allowed}"),
        remedy: format!("lower the figure in {table} in xtask/src/tidy.rs, or remove the row"),
    }
}

/// The path of a request fits in one file that is read from top to bottom.
#[must_use]
pub fn the_request_path_is_one_story(house: &House) -> Vec<Breach> {
    let (file, allowed) = REQUEST_PATH;
    let lines = house.text(file).map_or(0, |text| text.lines().count());
    if lines <= allowed {
        return Vec::new();
    }
    vec![Breach {
        file: file.into(),
        line: lines,
        wrong: format!("the request path has {lines} lines, {allowed} are allowed"),
        remedy: "it tells the steps; move how a step works into that step's module".into(),
    }]
}

/// Every crate of this workspace obeys `[workspace.lints]`; one that is a workspace of its own (`fuzz`) cannot.
#[must_use]
pub fn lints_are_the_workspaces(house: &House) -> Vec<Breach> {
    let manifests = house.crates().map(|folder| format!("{folder}/Cargo.toml"));
    let is_apart = |text: &str| text.lines().any(|line| line.trim() == "[workspace]");
    let obeys = |text: &str| {
        text.lines()
            .skip_while(|line| line.trim() != "[lints]")
            .nth(1)
            .is_some_and(|line| line.trim() == "workspace = true")
    };
    manifests
        .filter(|file| house.text(file).is_some_and(|text| !obeys(text) && !is_apart(text)))
        .map(|file| Breach {
            file,
            line: 1,
            wrong: "the crate does not obey the workspace's lints".into(),
            remedy: "add `[lints]` with `workspace = true`; for an exception use #[expect(…, reason = \"…\")]".into(),
        })
        .collect()
}

/// A relative link in a page leads to a file of the repository.
#[must_use]
pub fn links_lead_somewhere(house: &House) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (file, text) in house.texts(&[".md"]) {
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut in_code = false;
        for (number, line) in (1..).zip(text.lines()) {
            in_code ^= line.trim_start().starts_with("```");
            if in_code {
                continue;
            }
            for link in links(line) {
                if !house.has(&resolve(folder, link)) {
                    breaches.push(Breach {
                        file: file.into(),
                        line: number,
                        wrong: format!("the link `{link}` leads nowhere"),
                        remedy: "links are relative to the page they stand on".into(),
                    });
                }
            }
        }
    }
    breaches
}

/// The relative targets of `[text](target)` in a line, without their anchors and outside `code`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let prose = line.split('`').step_by(2);
    prose
        .flat_map(|part| part.split("](").skip(1))
        .filter_map(|rest| rest.split([')', ' ', '#']).next())
        .filter(|link| !link.is_empty() && !link.contains("://") && !link.starts_with("mailto:"))
}

fn resolve(folder: &str, link: &str) -> String {
    let start = if link.starts_with('/') { "" } else { folder };
    let mut parts: Vec<&str> = Vec::new();
    for part in start.split('/').chain(link.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The first use of each forbidden name in each file below `folders`, outside test code.
fn names(
    house: &House,
    folders: &[&str],
    forbidden: &[&[&str]],
    say: impl Fn(&str) -> (String, String),
) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (file, text) in folders.iter().flat_map(|folder| house.rust(folder)) {
        let Some(source) = Source::read(file, text) else { continue };
        for path in forbidden {
            if let Some(line) = source.line_of(path) {
                let (wrong, remedy) = say(&path.join("::"));
                breaches.push(Breach { file: file.into(), line, wrong, remedy });
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests;
