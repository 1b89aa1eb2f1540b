//! What there is to send calls to: deployments, and what is known of each.

use std::fmt;
use std::sync::Arc;

/// Where a deployment stands in the order of trust and cost. The order of the variants is the order of `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// The best there is, in someone else's data centre.
    Frontier,
    /// Someone else's, free of charge, with rate limits.
    Free,
    /// On this machine or this network.
    Local,
}

impl Tier {
    /// All tiers, best first.
    pub const ALL: [Self; 3] = [Self::Frontier, Self::Free, Self::Local];

    /// The word for it in configuration, headers and tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Frontier => "frontier",
            Self::Free => "free",
            Self::Local => "local",
        }
    }

    /// The tier of that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.word() == word)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A set of tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiers([bool; Tier::ALL.len()]);

impl Tiers {
    /// Every tier.
    pub const ALL: Self = Self([true; Tier::ALL.len()]);

    /// Whether the tier is in it.
    #[must_use]
    pub fn contains(self, tier: Tier) -> bool {
        self.0.get(tier as usize).copied().unwrap_or_default()
    }

    /// Those of this set that are in the other one too.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Tier::ALL.into_iter().filter(|tier| self.contains(*tier) && other.contains(*tier)).collect()
    }
}

impl FromIterator<Tier> for Tiers {
    fn from_iter<I: IntoIterator<Item = Tier>>(tiers: I) -> Self {
        let mut set = Self([false; Tier::ALL.len()]);
        for tier in tiers {
            if let Some(place) = set.0.get_mut(tier as usize) {
                *place = true;
            }
        }
        set
    }
}

/// A deployment's name, `provider/model`, unique in the fleet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeploymentId(pub Arc<str>);

impl DeploymentId {
    /// The id of `model` at `provider`.
    #[must_use]
    pub fn new(provider: &str, model: &str) -> Self {
        Self(format!("{provider}/{model}").into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Something stated about a deployment, with where and when it was stated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What is stated.
    pub value: String,
    /// Who states it: an address, or `configuration`.
    pub source: String,
    /// When it was read, `YYYY-MM-DD`.
    pub as_of: String,
}

/// Facts about who runs a deployment and under whose law. What is not known is `None`, never a guess.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The organisation that runs it.
    pub operator: Option<Fact>,
    /// The country of the operator's seat (ISO 3166-1 alpha-2): whose law it answers to.
    pub seat: Option<Fact>,
    /// The country of whoever owns the operator.
    pub owner_country: Option<Fact>,
    /// Where the computing happens.
    pub region: Option<Fact>,
    /// How long inputs are kept.
    pub retention: Option<Fact>,
    /// Whether inputs train models.
    pub trains_on_inputs: Option<Fact>,
    /// Licence of the weights (SPDX id where there is one).
    pub licence: Option<Fact>,
}

/// Whether a deployment can do something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ability {
    /// It can.
    Yes,
    /// It cannot.
    No,
    /// Nobody has said. It is tried.
    #[default]
    Unknown,
}

/// What a deployment can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Function calling.
    pub tools: Ability,
    /// Reading images.
    pub images: Ability,
    /// Answers that obey a JSON schema.
    pub json_schema: Ability,
    /// Several answers to one question.
    pub many_choices: Ability,
    /// Vectors that stand for texts.
    pub embeddings: Ability,
    /// Documents in the order of their relevance.
    pub rerank: Ability,
}

/// A model at a provider: what a call can be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Its unique name.
    pub id: DeploymentId,
    /// The account at an endpoint that serves it.
    pub provider: Arc<str>,
    /// The model, as the provider names it.
    pub model: Arc<str>,
    /// Where it stands.
    pub tier: Tier,
    /// Preference within its tier; lower is tried first.
    pub rank: u32,
    /// Whether `auto` may choose it, or only a client that names it.
    pub in_auto: bool,
    /// What it can do.
    pub abilities: Abilities,
    /// Prompt and answer together, in tokens of its own tokenizer.
    pub window_tokens: Option<u32>,
    /// Who runs it and under whose law.
    pub facts: Facts,
}

/// A provider that takes any model name of a certain shape, known to the fleet before anybody has asked for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passthrough {
    /// Patterns with `*`, such as `gpt-*`.
    pub patterns: Vec<String>,
    /// The deployment that a matching name becomes; its id and model are replaced.
    pub template: Deployment,
}

/// A provider that is known but cannot be used, and why: so that asking for one of its models can say what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// Its name.
    pub provider: Arc<str>,
    /// Patterns of the models it would serve.
    pub patterns: Vec<String>,
    /// What is missing, as a hint: "set `OPENAI_API_KEY`".
    pub hint: String,
}

/// A route that the operator wrote: a name and the deployments or tiers behind it, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRoute {
    /// What a client writes in `model`.
    pub name: String,
    /// Deployment ids, model names, or `tier:local` and the like.
    pub candidates: Vec<String>,
    /// Whether, when all of them fail, the rest of `auto` may answer.
    pub substitute: bool,
}

/// Everything there is to send calls to, at one moment. Built whole, never changed: a reload makes another.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// All deployments, in the order of `auto`.
    pub deployments: Vec<Arc<Deployment>>,
    /// Providers that take other names as well.
    pub passthroughs: Vec<Passthrough>,
    /// Providers that are known but lack a key.
    pub absent: Vec<Absent>,
    /// The operator's routes.
    pub routes: Vec<NamedRoute>,
    /// Whether a concrete model that cannot answer may be replaced by the rest of `auto`.
    pub substitute: bool,
}

impl Fleet {
    /// Puts the deployments in the order in which `auto` tries them: by tier, then rank, then name.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.deployments.sort_by(|a, b| (a.tier, a.rank, &a.id).cmp(&(b.tier, b.rank, &b.id)));
        self
    }

    /// The deployment of that id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Deployment>> {
        self.deployments.iter().find(|deployment| deployment.id.as_str() == id)
    }
}

/// Whether `name` has the shape of `pattern`, in which `*` stands for any text. Case counts.
#[must_use]
pub fn matches_pattern(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return name.is_empty() };
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        assert!(matches_pattern("gpt-*", "gpt-5-mini"));
        assert!(matches_pattern("*", "anything"));
        assert!(matches_pattern("*:free", "meta/llama:free"));
        assert!(matches_pattern("a*b*c", "a-x-b-y-c"));
        assert!(!matches_pattern("gpt-*", "claude"));
        assert!(!matches_pattern("gpt", "gpt-5"));
        assert!(!matches_pattern("*:free", "llama:paid"));
    }
}
