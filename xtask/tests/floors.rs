//! Which crate stands on which floor, and what it may depend on.
//!
//! Dependencies point down only, and crates of one floor do not see each other. A crate's diet lists its direct
//! dependencies from outside: a new one is a new line here, hence a decision that a reader of the change sees.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot read `cargo metadata` fails")]

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Where a crate stands.
#[derive(Clone, Copy, PartialEq)]
enum Floor {
    /// It sees lower floors only.
    Number(u8),
    /// The binary: sees every floor, and the simulator for its hidden `sim` command.
    Roof,
    /// For developers: no floor sees it except in tests.
    Workshop,
}

struct Room {
    package: &'static str,
    floor: Floor,
    diet: &'static [&'static str],
}

const HOUSE: &[Room] = &[
    Room {
        package: "commonwatt-core",
        floor: Floor::Number(0),
        diet: &[
            "bytes", //
            "thiserror",
        ],
    },
    Room {
        package: "commonwatt-wire",
        floor: Floor::Number(1),
        diet: &[
            "base64", //
            "bytes",
            "memchr",
            "serde",
            "sha2",
            "simdutf8",
            "thiserror",
        ],
    },
    Room {
        package: "commonwatt-pass",
        floor: Floor::Number(1),
        diet: &[
            "base64", //
            "biscuit-auth",
            "thiserror",
            "zeroize",
        ],
    },
    Room {
        package: "commonwatt-bundle",
        floor: Floor::Number(2),
        diet: &[
            "base64", //
            "bytes",
            "ed25519-dalek",
            "flate2",
            "jiff",
            "serde_json",
            "sha2",
            "thiserror",
            "zip",
        ],
    },
    Room {
        package: "commonwatt-store",
        floor: Floor::Number(2),
        diet: &[
            "aws-lc-rs", //
            "base64",
            "blake3",
            "bytes",
            "rusqlite",
            "thiserror",
            "tokio",
            "zeroize",
        ],
    },
    Room {
        package: "commonwatt-engine",
        floor: Floor::Number(2),
        diet: &[
            "futures-util",
            "landlock",
            "libc",
            "llama-cpp-4",
            "rustix",
            "seccompiler",
            "serde",
            "serde_json",
            "sha2",
            "tempfile",
            "thiserror",
            "tokio",
            "tracing",
        ],
    },
    Room {
        package: "commonwatt-upstream",
        floor: Floor::Number(3),
        diet: &[
            "bytes",
            "http",
            "http-body-util",
            "httpdate",
            "hyper",
            "hyper-rustls",
            "hyper-util",
            "reqwest",
            "rustix",
            "serde",
            "serde_json",
            "sha2",
            "tempfile",
            "thiserror",
            "tokio",
            "toml",
            "tower-service",
        ],
    },
    Room {
        package: "commonwatt-grid",
        floor: Floor::Number(4),
        diet: &[
            "arc-swap", //
            "blake3",
            "bytes",
            "metrics",
            "serde_json",
            "subtle",
            "tokio",
            "tracing",
        ],
    },
    Room {
        package: "commonwatt-server",
        floor: Floor::Number(5),
        diet: &[
            "bytes",
            "futures-util",
            "http-body-util",
            "hyper",
            "hyper-util",
            "percent-encoding",
            "serde",
            "serde_json",
            "tokio",
            "tracing",
        ],
    },
    Room {
        package: "commonwatt",
        floor: Floor::Roof,
        diet: &[
            "anyhow",
            "base64",
            "clap",
            "getrandom",
            "indicatif",
            "jiff",
            "metrics-exporter-prometheus",
            "miette",
            "opentelemetry",
            "opentelemetry-otlp",
            "opentelemetry_sdk",
            "reqwest",
            "rustix",
            "rustls",
            "rustyline",
            "schemars",
            "serde",
            "serde_json",
            "tikv-jemallocator",
            "tokio",
            "toml",
            "tracing",
            "tracing-opentelemetry",
            "tracing-subscriber",
            "unicode-width",
            "uuid",
        ],
    },
    Room {
        package: "commonwatt-sim",
        floor: Floor::Workshop,
        diet: &[
            "bytes",
            "http",
            "http-body-util",
            "hyper",
            "hyper-util",
            "serde",
            "serde_json",
            "socket2",
            "thiserror",
            "tokio",
            "toml",
        ],
    },
    Room {
        package: "commonwatt-bench",
        floor: Floor::Workshop,
        diet: &[
            "anyhow",
            "bytes",
            "clap",
            "http",
            "http-body-util",
            "hyper",
            "hyper-util",
            "jiff",
            "memchr",
            "rustix",
            "serde",
            "serde_json",
            "tempfile",
            "tokio",
        ],
    },
    Room {
        package: "xtask",
        floor: Floor::Workshop,
        diet: &[
            "proc-macro2", //
        ],
    },
];

/// What tests may use on every floor, besides their crate's own diet.
const TESTS: &[&str] =
    &["commonwatt-sim", "http", "insta", "proptest", "serde_json", "tempfile", "tokio", "toml", "uuid"];

/// A direct dependency as `cargo metadata` tells it.
struct Dependency {
    name: String,
    in_tests_only: bool,
}

#[test]
fn every_crate_has_its_floor_and_every_floor_its_crate() {
    let crates = crates();
    for package in crates.keys() {
        assert!(room(package).is_some(), "`{package}` has no floor: give it a row in xtask/tests/floors.rs");
    }
    for room in HOUSE {
        let package = room.package;
        assert!(crates.contains_key(package), "`{package}` is gone: remove its row from xtask/tests/floors.rs");
    }
}

#[test]
fn dependencies_point_down() {
    let mut wrong = Vec::new();
    for (package, dependencies) in crates() {
        for dependency in dependencies {
            let (Some(upper), Some(lower)) = (room(&package), room(&dependency.name)) else { continue };
            if !may_see(upper.floor, lower.floor, dependency.in_tests_only) {
                wrong.push(format!("{package} → {}", dependency.name));
            }
        }
    }
    let wrong = wrong.join("\n    ");
    assert!(
        wrong.is_empty(),
        "\n    {wrong}\na crate sees lower floors only (the roof and tests see the simulator too): \
         let the lower crate take a value, or move the code to the floor that knows both\n",
    );
}

#[test]
fn every_dependency_is_on_its_crates_diet() {
    let mut wrong = Vec::new();
    for (package, dependencies) in crates() {
        let Some(Room { diet, .. }) = room(&package) else { continue };
        for Dependency { name, in_tests_only } in &dependencies {
            let ours = room(name).is_some();
            let allowed = diet.contains(&name.as_str()) || (*in_tests_only && TESTS.contains(&name.as_str()));
            if !ours && !allowed {
                wrong.push(format!(
                    "`{package}` depends on `{name}`: add the line to its diet, and say why in the change"
                ));
            }
        }
        for name in *diet {
            if !dependencies.iter().any(|dependency| dependency.name == *name && !dependency.in_tests_only) {
                wrong.push(format!("`{package}` no longer depends on `{name}`: remove the line from its diet"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n    {}\nthe diets are in xtask/tests/floors.rs\n", wrong.join("\n    "));
}

fn may_see(upper: Floor, lower: Floor, in_tests_only: bool) -> bool {
    match (upper, lower) {
        (Floor::Number(upper), Floor::Number(lower)) => lower < upper,
        (Floor::Number(_), Floor::Workshop) => in_tests_only,
        (Floor::Roof | Floor::Workshop, Floor::Number(_) | Floor::Workshop) => true,
        (Floor::Number(_) | Floor::Roof | Floor::Workshop, Floor::Roof) => false,
    }
}

fn room(package: &str) -> Option<&'static Room> {
    HOUSE.iter().find(|room| room.package == package)
}

/// The crates of the workspace with their direct dependencies, for building and for tests, on every system.
fn crates() -> BTreeMap<String, Vec<Dependency>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(xtask::house::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let dependency = |dependency: &Value| Dependency {
        name: dependency["name"].as_str().unwrap().to_owned(),
        in_tests_only: dependency["kind"] == "dev",
    };
    let package = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter().map(dependency).collect();
        (package["name"].as_str().unwrap().to_owned(), dependencies)
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}
