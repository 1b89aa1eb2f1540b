//! Writes down which CPU instructions the C++ part of the engine is compiled for, so that a machine that lacks them is
//! told so instead of meeting an illegal instruction.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CXXFLAGS");
    println!("cargo::rustc-env=COMMONWATT_ENGINE_CPU={}", needed().join(","));
}

/// `native` takes what the building machine has; otherwise the compiler flags decide, and llama-cpp-sys-4 itself asks
/// for SSE 4.2 on x86-64.
#[expect(clippy::disallowed_methods, reason = "cargo tells build scripts everything through the environment")]
fn needed() -> Vec<&'static str> {
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    if var("CARGO_CFG_TARGET_ARCH") != "x86_64" || var("CARGO_FEATURE_LLAMA").is_empty() {
        return Vec::new();
    }
    let flags = var("CXXFLAGS");
    let native = !var("CARGO_FEATURE_NATIVE").is_empty() && var("TARGET") == var("HOST");
    let mut needed = vec!["sse4.2"];
    for (name, flag, here) in known() {
        if flags.split_whitespace().any(|f| f == flag) || (native && here) {
            needed.push(name);
        }
    }
    needed
}

#[cfg(target_arch = "x86_64")]
fn known() -> Vec<(&'static str, &'static str, bool)> {
    vec![
        ("avx", "-mavx", is_x86_feature_detected!("avx")),
        ("avx2", "-mavx2", is_x86_feature_detected!("avx2")),
        ("fma", "-mfma", is_x86_feature_detected!("fma")),
        ("f16c", "-mf16c", is_x86_feature_detected!("f16c")),
        ("bmi2", "-mbmi2", is_x86_feature_detected!("bmi2")),
        ("avx512f", "-mavx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", "-mavx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512dq", "-mavx512dq", is_x86_feature_detected!("avx512dq")),
        ("avx512vl", "-mavx512vl", is_x86_feature_detected!("avx512vl")),
        ("avx512vbmi", "-mavx512vbmi", is_x86_feature_detected!("avx512vbmi")),
        ("avx512vnni", "-mavx512vnni", is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", "-mavx512bf16", is_x86_feature_detected!("avx512bf16")),
        ("avxvnni", "-mavxvnni", is_x86_feature_detected!("avxvnni")),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn known() -> Vec<(&'static str, &'static str, bool)> {
    Vec::new()
}
