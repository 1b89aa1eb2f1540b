//! What is measured: one cell for each kind of answer, size of prompt and pair of dialects.

use std::fmt;

/// One combination; every path is measured in every cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Whether the answer is streamed.
    pub(crate) shape: Shape,
    /// How large the request's body is.
    pub(crate) size: Size,
    /// Whether the provider speaks the caller's dialect.
    pub(crate) way: Way,
}

/// How the answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// In one piece.
    Plain,
    /// As ten chunks of content and what the dialect puts around them, each event in a write of its own.
    Stream,
}

/// The size of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// 1 KB: a question.
    Small,
    /// 64 KB: an agent at work.
    Large,
    /// 1 MB: an agent with a whole repository in its head.
    Huge,
}

/// Which dialects meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// An OpenAI caller and an OpenAI provider: bytes can be forwarded.
    Same,
    /// An Anthropic caller and an OpenAI provider: a gateway translates both ways. The paths that cannot translate
    /// (direct, floor) carry the same request to a provider that speaks Anthropic.
    Across,
}

/// The dialect that the caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// OpenAI Chat Completions.
    OpenAi,
    /// Anthropic Messages.
    Anthropic,
}

impl Cell {
    /// Every cell, in the order in which they are measured.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let shapes = [Shape::Plain, Shape::Stream].into_iter();
        shapes.flat_map(|shape| {
            [Way::Same, Way::Across].into_iter().flat_map(move |way| {
                [Size::Small, Size::Large, Size::Huge].into_iter().map(move |size| Self { shape, size, way })
            })
        })
    }

    /// The caller's dialect.
    pub(crate) fn dialect(self) -> Dialect {
        match self.way {
            Way::Same => Dialect::OpenAi,
            Way::Across => Dialect::Anthropic,
        }
    }

    /// The most CPU time that the gateway should spend, as a multiple of what the bare proxy spends; none where no
    /// target is set.
    pub(crate) fn ratio_target(self) -> Option<f64> {
        match (self.way, self.size) {
            (Way::Same, Size::Small) => Some(1.3),
            (Way::Same, Size::Large) => Some(1.2),
            (Way::Same, Size::Huge) => None,
            (Way::Across, Size::Small | Size::Large | Size::Huge) => Some(1.8),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = match self.shape {
            Shape::Plain => "plain",
            Shape::Stream => "stream",
        };
        let size = match self.size {
            Size::Small => "1k",
            Size::Large => "64k",
            Size::Huge => "1m",
        };
        let way = match self.way {
            Way::Same => "same",
            Way::Across => "across",
        };
        write!(f, "{shape}-{size}-{way}")
    }
}

impl Size {
    /// The size in bytes.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Small => 1 << 10,
            Self::Large => 64 << 10,
            Self::Huge => 1 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_twelve_cells_and_each_has_its_own_name() {
        let mut names: Vec<_> = Cell::all().map(|cell| cell.to_string()).collect();
        assert_eq!(names.first().map(String::as_str), Some("plain-1k-same"));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 12);
    }
}
