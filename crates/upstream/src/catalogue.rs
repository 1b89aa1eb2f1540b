//! The providers that this program knows from the start: one TOML file each, compiled in.

use crate::spec::ProviderSpec;

/// The files, by name.
const FILES: [(&str, &str); 11] = [
    ("anthropic", include_str!("../providers/anthropic.toml")),
    ("deepseek", include_str!("../providers/deepseek.toml")),
    ("gemini", include_str!("../providers/gemini.toml")),
    ("groq", include_str!("../providers/groq.toml")),
    ("llama-server", include_str!("../providers/llama-server.toml")),
    ("lmstudio", include_str!("../providers/lmstudio.toml")),
    ("mistral", include_str!("../providers/mistral.toml")),
    ("ollama", include_str!("../providers/ollama.toml")),
    ("openai", include_str!("../providers/openai.toml")),
    ("openrouter", include_str!("../providers/openrouter.toml")),
    ("vllm", include_str!("../providers/vllm.toml")),
];

/// A provider file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the built-in provider file `{name}` cannot be read: {source}")]
pub struct BrokenFile {
    name: &'static str,
    source: toml::de::Error,
}

/// All of them, in alphabetical order.
///
/// # Errors
/// When a file is broken; a test holds that none is.
pub fn builtin() -> Result<Vec<ProviderSpec>, BrokenFile> {
    FILES.iter().map(|(name, text)| toml::from_str(text).map_err(|source| BrokenFile { name, source })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_read_and_named_after_its_provider() {
        let specs = builtin().unwrap();
        let names: Vec<&str> = specs.iter().map(|spec| spec.id.as_str()).collect();
        assert_eq!(names, FILES.map(|(name, _)| name));
    }

    #[test]
    fn every_fact_has_a_source_and_a_date() {
        for spec in builtin().unwrap() {
            let facts = spec.facts.facts(None);
            let all = [
                facts.operator,
                facts.seat,
                facts.owner_country,
                facts.region,
                facts.retention,
                facts.trains_on_inputs,
            ];
            for fact in all.into_iter().flatten() {
                assert!(
                    fact.source.starts_with("https://") || fact.source == "configuration",
                    "{}: {}",
                    spec.id,
                    fact.source
                );
                assert_eq!(fact.as_of.len(), "2026-11-20".len(), "{}", spec.id);
            }
        }
    }

    #[test]
    fn every_cloud_has_a_key_and_a_model_for_auto() {
        for spec in builtin().unwrap().iter().filter(|spec| spec.local.is_none()) {
            assert!(!spec.key_env.is_empty() && spec.default_model.is_some(), "{}", spec.id);
        }
    }
}
