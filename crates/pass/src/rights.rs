//! What a handoff allows: a set of limits, of which the strictest of each kind holds.

use commonwatt_core::lease::Holder;

/// What the holder of a handoff may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Read the turns up to the head.
    Read,
    /// Begin a session of one's own at the head; the session itself stays with its holder.
    Branch,
    /// Take the session over: accept the handoff and write.
    Continue,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Read, Self::Branch, Self::Continue];

    /// Its word in the token.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Branch => "branch",
            Self::Continue => "continue",
        }
    }

    /// The scope that this word means.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.word() == word)
    }

    fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Branch => 2,
            Self::Continue => 4,
        }
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scopes(u8);

impl Scopes {
    /// All there are.
    pub const ALL: Self = Self(7);

    /// These.
    #[must_use]
    pub fn of(scopes: &[Scope]) -> Self {
        scopes.iter().copied().collect()
    }

    /// Whether this one is among them.
    #[must_use]
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Those in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

/// What a holder takes away before passing a handoff on. What is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// Only this holder may use it.
    pub audience: Option<Holder>,
    /// Only these scopes.
    pub scopes: Option<Scopes>,
    /// Not from this second of Unix time on.
    pub expires_s: Option<u64>,
    /// No more than this may be spent, in millionths of the account's currency.
    pub spend_micros: Option<u64>,
}

/// One line of a token that takes something away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Audience(Holder),
    Scopes(Scopes),
    Before(u64),
    SpendAtMost(u64),
}

impl Narrowing {
    pub(crate) fn limits(&self) -> Vec<Limit> {
        let Self { audience, scopes, expires_s, spend_micros } = self;
        let limits = [
            audience.clone().map(Limit::Audience),
            scopes.map(Limit::Scopes),
            expires_s.map(Limit::Before),
            spend_micros.map(Limit::SpendAtMost),
        ];
        limits.into_iter().flatten().collect()
    }
}

/// For whom a handoff is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Anybody,
    One(Holder),
    /// It was narrowed to one and then to another.
    Nobody,
}

impl Audience {
    pub(crate) fn admits(&self, holder: Option<&Holder>) -> bool {
        match self {
            Self::Anybody => true,
            Self::One(only) => holder == Some(only),
            Self::Nobody => false,
        }
    }

    fn and(self, other: Holder) -> Self {
        match self {
            Self::Anybody => Self::One(other),
            Self::One(only) if only == other => Self::One(only),
            Self::One(_) | Self::Nobody => Self::Nobody,
        }
    }
}

/// What is allowed under all limits together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) audience: Audience,
    pub(crate) scopes: Scopes,
    pub(crate) expires_s: u64,
    pub(crate) spend_micros: Option<u64>,
}

impl Rights {
    /// Where no limit was stated.
    pub(crate) const UNLIMITED: Self =
        Self { audience: Audience::Anybody, scopes: Scopes::ALL, expires_s: u64::MAX, spend_micros: None };

    /// Under one limit more: each right shrinks or stays.
    pub(crate) fn under(self, limit: Limit) -> Self {
        match limit {
            Limit::Audience(holder) => Self { audience: self.audience.and(holder), ..self },
            Limit::Scopes(scopes) => Self { scopes: self.scopes.and(scopes), ..self },
            Limit::Before(at_s) => Self { expires_s: self.expires_s.min(at_s), ..self },
            Limit::SpendAtMost(micros) => {
                let least = self.spend_micros.map_or(micros, |before| before.min(micros));
                Self { spend_micros: Some(least), ..self }
            }
        }
    }
}
