//! JSON text with an index beside it: reading without building values.
//!
//! One scan writes a node for each value and key; a [`View`] walks the nodes and hands out slices of the text. A string
//! is copied only where it holds escapes, a number is parsed only where somebody asks. A tape is reused from text to
//! text, so reading one event of a stream allocates nothing.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use commonwatt_core::call::RawJson;
use commonwatt_core::text::{Text, unescaped};

use crate::scan::{Container, Scalar, Sink, SyntaxError, scan};

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    True,
    False,
    Null,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    start: u32,
    end: u32,
    /// The node after this one and all below it.
    next: u32,
    kind: Kind,
    escaped: bool,
}

/// The index of a text. Empty it is no text's.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    nodes: Vec<Node>,
    open: Vec<u32>,
}

impl Tape {
    /// Reads `text` and gives its root.
    pub(crate) fn read<'a>(&'a mut self, text: &'a [u8]) -> Result<View<'a>, SyntaxError> {
        self.view(text, None)
    }

    /// Reads a text of which parts will be kept: they share its bytes.
    pub(crate) fn read_shared<'a>(&'a mut self, text: &'a Bytes) -> Result<View<'a>, SyntaxError> {
        self.view(text, Some(text))
    }

    fn view<'a>(&'a mut self, text: &'a [u8], source: Option<&'a Bytes>) -> Result<View<'a>, SyntaxError> {
        let text = simdutf8::compat::from_utf8(text)
            .map_err(|error| SyntaxError { at: error.valid_up_to(), what: "the text is not UTF-8" })?;
        if u32::try_from(text.len()).is_err() {
            return Err(SyntaxError { at: 0, what: "the text is larger than four gigabytes" });
        }
        self.nodes.clear();
        self.open.clear();
        scan::<false>(text.as_bytes(), self)?;
        Ok(View { nodes: &self.nodes, text, source, at: 0 })
    }

    fn push(&mut self, kind: Kind, range: Range<usize>, escaped: bool) {
        let next = short(self.nodes.len() + 1);
        self.nodes.push(Node { start: short(range.start), end: short(range.end), next, kind, escaped });
    }
}

/// Positions fit: the text's length was checked.
fn short(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

impl Sink for Tape {
    fn open(&mut self, container: Container, at: usize) {
        let kind = match container {
            Container::Object => Kind::Object,
            Container::Array => Kind::Array,
        };
        self.open.push(short(self.nodes.len()));
        self.push(kind, at..at, false);
    }

    fn close(&mut self, end: usize) {
        let next = short(self.nodes.len());
        let opened = self.open.pop().and_then(|index| self.nodes.get_mut(index as usize));
        if let Some(node) = opened {
            (node.end, node.next) = (short(end), next);
        }
    }

    fn key(&mut self, text: Range<usize>, escaped: bool) {
        self.push(Kind::String, text, escaped);
    }

    fn scalar(&mut self, scalar: Scalar, at: Range<usize>) {
        match scalar {
            Scalar::String { escaped } => self.push(Kind::String, at, escaped),
            Scalar::Number => self.push(Kind::Number, at, false),
            Scalar::True => self.push(Kind::True, at, false),
            Scalar::False => self.push(Kind::False, at, false),
            Scalar::Null => self.push(Kind::Null, at, false),
        }
    }
}

/// A value in a text.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    nodes: &'a [Node],
    text: &'a str,
    /// The same text, where it is shared.
    source: Option<&'a Bytes>,
    at: u32,
}

impl<'a> View<'a> {
    fn node(&self) -> Node {
        let nothing = Node { start: 0, end: 0, next: u32::MAX, kind: Kind::Null, escaped: false };
        self.nodes.get(self.at as usize).copied().unwrap_or(nothing)
    }

    fn at(&self, at: u32) -> Self {
        Self { at, ..*self }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.node().kind
    }

    pub(crate) fn is_null(&self) -> bool {
        self.kind() == Kind::Null
    }

    /// Its bytes in the text, quotes included.
    pub(crate) fn range(&self) -> Range<usize> {
        let Node { start, end, kind, .. } = self.node();
        let quote = usize::from(kind == Kind::String);
        start as usize - quote..end as usize + quote
    }

    /// Its JSON text.
    pub(crate) fn raw(&self) -> &'a str {
        self.text.get(self.range()).unwrap_or_default()
    }

    /// Its JSON text, to be kept.
    pub(crate) fn raw_json(&self) -> RawJson {
        RawJson(self.kept(self.range()))
    }

    /// A string, to be kept.
    pub(crate) fn text(&self) -> Option<Text> {
        let node = self.node();
        (node.kind == Kind::String)
            .then(|| Text::in_json(self.kept(node.start as usize..node.end as usize), node.escaped))
    }

    /// The end of a string, to be kept: `end` is what `whole`, its characters, ends in.
    pub(crate) fn text_within(&self, whole: &str, end: &str) -> Text {
        let node = self.node();
        if node.escaped || end.len() > whole.len() {
            return end.into();
        }
        Text::in_json(self.kept(node.end as usize - end.len()..node.end as usize), false)
    }

    fn kept(&self, range: Range<usize>) -> Bytes {
        match self.source {
            Some(source) if range.end <= source.len() => source.slice(range),
            Some(_) | None => Bytes::copy_from_slice(self.text.as_bytes().get(range).unwrap_or_default()),
        }
    }

    /// A string's characters.
    pub(crate) fn string(&self) -> Option<Cow<'a, str>> {
        let node = self.node();
        if node.kind != Kind::String {
            return None;
        }
        let inside = self.text.get(node.start as usize..node.end as usize)?;
        Some(if node.escaped { Cow::Owned(unescaped(inside)) } else { Cow::Borrowed(inside) })
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match self.kind() {
            Kind::True => Some(true),
            Kind::False => Some(false),
            Kind::Object | Kind::Array | Kind::String | Kind::Number | Kind::Null => None,
        }
    }

    /// A number that is whole and not negative; `5.0` counts.
    pub(crate) fn whole(&self) -> Option<u64> {
        if self.kind() != Kind::Number {
            return None;
        }
        self.raw().parse().ok().or_else(|| {
            let number = self.number()?;
            let fits = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
            fits.then_some(number as u64)
        })
    }

    pub(crate) fn number(&self) -> Option<f64> {
        let number: f64 = (self.kind() == Kind::Number).then(|| self.raw().parse().ok())??;
        number.is_finite().then_some(number)
    }

    /// An array's values; none for anything else.
    pub(crate) fn items(&self) -> impl Iterator<Item = Self> + use<'a> {
        let (view, node) = (*self, self.node());
        let end = if node.kind == Kind::Array { node.next } else { 0 };
        let mut at = self.at + 1;
        std::iter::from_fn(move || {
            let item = view.at(at);
            (at < end).then(|| {
                at = item.node().next;
                item
            })
        })
    }

    /// An object's members in order; none for anything else.
    pub(crate) fn members(&self) -> impl Iterator<Item = (Cow<'a, str>, Self)> + use<'a> {
        let (view, node) = (*self, self.node());
        let end = if node.kind == Kind::Object { node.next } else { 0 };
        let mut at = self.at + 1;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let key = view.at(at).string()?;
            let value = view.at(at + 1);
            at = value.node().next;
            Some((key, value))
        })
    }

    /// A member that is there and is not null.
    pub(crate) fn get(&self, name: &str) -> Option<Self> {
        self.members().find(|(key, value)| key == name && !value.is_null()).map(|(_, value)| value)
    }

    /// A member that is a string.
    pub(crate) fn get_string(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name)?.string()
    }

    /// A member that is a whole number.
    /// The text of a member, to be kept.
    pub(crate) fn get_text(&self, name: &str) -> Option<Text> {
        self.get(name)?.text()
    }

    pub(crate) fn get_whole(&self, name: &str) -> Option<u64> {
        self.get(name)?.whole()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_walks_what_was_written() {
        let mut tape = Tape::default();
        let root = tape.read(br#" {"a":[1,{"b":"x\ty"},[]],"c":null,"d":{"e":true}} "#).expect("valid");
        let keys: Vec<_> = root.members().map(|(key, _)| key.into_owned()).collect();
        assert_eq!(keys, ["a", "c", "d"]);
        let items: Vec<_> = root.get("a").expect("there").items().map(|item| item.raw().to_owned()).collect();
        assert_eq!(items, ["1", r#"{"b":"x\ty"}"#, "[]"]);
        assert!(root.get("c").is_none());
        assert_eq!(root.get("d").and_then(|d| d.get("e")).and_then(|e| e.boolean()), Some(true));
    }

    #[test]
    fn numbers_are_read_where_asked() {
        let mut tape = Tape::default();
        let root = tape.read(br"[5, 5.0, -1, 1e999, 18446744073709551615]").expect("valid");
        let wholes: Vec<_> = root.items().map(|item| item.whole()).collect();
        assert_eq!(wholes, [Some(5), Some(5), None, None, Some(u64::MAX)]);
        assert_eq!(root.items().nth(3).and_then(|item| item.number()), None);
    }
}
