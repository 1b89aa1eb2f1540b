//! The providers that this program knows from the start: one TOML file each, compiled in.

use crate::spec::ProviderSpec;

/// The files, by name.
const FILES: [(&str, &str); 32] = [
    ("alibaba", include_str!("../providers/alibaba.toml")),
    ("anthropic", include_str!("../providers/anthropic.toml")),
    ("bedrock", include_str!("../providers/bedrock.toml")),
    ("berget", include_str!("../providers/berget.toml")),
    ("cerebras", include_str!("../providers/cerebras.toml")),
    ("cohere", include_str!("../providers/cohere.toml")),
    ("deepinfra", include_str!("../providers/deepinfra.toml")),
    ("deepseek", include_str!("../providers/deepseek.toml")),
    ("fireworks", include_str!("../providers/fireworks.toml")),
    ("gemini", include_str!("../providers/gemini.toml")),
    ("groq", include_str!("../providers/groq.toml")),
    ("ionos", include_str!("../providers/ionos.toml")),
    ("llama-server", include_str!("../providers/llama-server.toml")),
    ("lmstudio", include_str!("../providers/lmstudio.toml")),
    ("mistral", include_str!("../providers/mistral.toml")),
    ("moonshot", include_str!("../providers/moonshot.toml")),
    ("nebius", include_str!("../providers/nebius.toml")),
    ("nvidia-nim", include_str!("../providers/nvidia-nim.toml")),
    ("ollama", include_str!("../providers/ollama.toml")),
    ("openai", include_str!("../providers/openai.toml")),
    ("openrouter", include_str!("../providers/openrouter.toml")),
    ("ovhcloud", include_str!("../providers/ovhcloud.toml")),
    ("perplexity", include_str!("../providers/perplexity.toml")),
    ("sambanova", include_str!("../providers/sambanova.toml")),
    ("sarvam", include_str!("../providers/sarvam.toml")),
    ("scaleway", include_str!("../providers/scaleway.toml")),
    ("stackit", include_str!("../providers/stackit.toml")),
    ("together", include_str!("../providers/together.toml")),
    ("upstage", include_str!("../providers/upstage.toml")),
    ("vllm", include_str!("../providers/vllm.toml")),
    ("xai", include_str!("../providers/xai.toml")),
    ("zai", include_str!("../providers/zai.toml")),
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
    fn every_cloud_is_reached_under_tls() {
        for spec in builtin().unwrap().iter().filter(|spec| spec.local.is_none()) {
            assert!(spec.base_url.starts_with("https://") && !spec.base_url.ends_with('/'), "{}", spec.id);
        }
    }

    #[test]
    fn a_key_goes_to_one_provider_only() {
        let mut owners = std::collections::BTreeMap::new();
        for spec in builtin().unwrap() {
            for name in spec.key_env {
                let other = owners.insert(name.clone(), spec.id.clone());
                assert_eq!(other, None, "`{name}` is also the key of {}", spec.id);
            }
        }
    }

    /// `provider/model` takes the provider's id off the name, so an id that a model's name begins with would cut it.
    #[test]
    fn no_id_is_the_first_part_of_a_name_that_its_provider_passes_through() {
        for spec in builtin().unwrap() {
            let begins = format!("{}/", spec.id);
            assert!(spec.models.iter().all(|pattern| !pattern.starts_with(&begins)), "{}", spec.id);
        }
    }

    #[test]
    fn no_two_providers_of_a_tier_have_the_same_rank() {
        let mut ranks = std::collections::BTreeMap::new();
        for spec in builtin().unwrap() {
            let other = ranks.insert((spec.tier, spec.rank), spec.id.clone());
            assert_eq!(other, None, "{} has the same rank", spec.id);
        }
    }

    #[test]
    fn a_richer_dialect_is_spoken_and_its_model_is_described() {
        for spec in builtin().unwrap().iter().filter(|spec| spec.richer.is_some()) {
            let richer = spec.richer().unwrap_or_else(|| panic!("{} does not speak it", spec.id));
            assert_ne!(richer.dialect, spec.dialect, "{}", spec.id);
            assert!(spec.auto_model().is_some_and(|model| spec.model.contains_key(model)), "{}", spec.id);
            let mut moved = spec.clone();
            moved.moved();
            assert_eq!(moved.auto_model(), spec.default_model.as_ref(), "{}", spec.id);
        }
    }

    #[test]
    fn every_cloud_has_a_key_and_a_model_for_auto() {
        for spec in builtin().unwrap().iter().filter(|spec| spec.local.is_none()) {
            assert!(!spec.key_env.is_empty() && spec.default_model.is_some(), "{}", spec.id);
        }
    }
}
