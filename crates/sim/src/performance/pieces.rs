//! How content is divided into chunks.

use crate::answer::{Answer, Block};
use crate::dialect::Piece;
use crate::fault::Part;

/// How content is divided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Division {
    /// Characters of a piece.
    pub(super) characters: usize,
    /// A tool call is one piece, however long.
    pub(super) whole_calls: bool,
}

/// Divides the content of `answer` into pieces.
///
/// A `boundary` asks for a division after so many bytes of content (of one part only, if it names one); within a
/// character, before it; where calls come whole, before the call. The second value is then the number of pieces, of
/// that part, before the boundary.
pub(super) fn pieces(
    answer: &Answer,
    division: Division,
    boundary: Option<(Option<Part>, usize)>,
) -> (Vec<Piece<'_>>, Option<usize>) {
    let mut pieces = Vec::new();
    let mut left = boundary.map(|(_, bytes)| bytes);
    let mut before = 0;
    for (index, block) in answer.blocks.iter().enumerate() {
        let part = block.part();
        let content = block.content();
        let counted = boundary.is_some_and(|(wanted, _)| counts(wanted, part));
        let split = match left {
            Some(bytes) if counted => {
                left = bytes.checked_sub(content.len()).filter(|left| *left > 0);
                content.floor_char_boundary(bytes)
            }
            _ => 0,
        };
        let (head, tail) = content.split_at(split);
        if division.whole_calls && part == Part::ToolCall {
            before += usize::from(tail.is_empty());
            pieces.push(Piece { block: index, part, text: content });
            continue;
        }
        before += chunks(head, division.characters).count();
        let texts = chunks(head, division.characters).chain(chunks(tail, division.characters));
        pieces.extend(texts.map(|text| Piece { block: index, part, text }));
    }
    (pieces, boundary.map(|_| before))
}

/// Keeps only the first `chunks` pieces of the answer.
pub(super) fn keep(answer: &mut Answer, chunk_characters: usize, chunks: usize) {
    let mut left = chunks.saturating_mul(chunk_characters);
    for block in &mut answer.blocks {
        let content = block.content_mut();
        let length = content.chars().count();
        if let Some((end, _)) = content.char_indices().nth(left) {
            content.truncate(end);
        }
        left = left.saturating_sub(length.next_multiple_of(chunk_characters.max(1)));
    }
    // A filtered answer calls no tool.
    answer.blocks.retain(|block| !block.content().is_empty() && !matches!(block, Block::Call { .. }));
}

/// Whether a place that asks for `wanted` counts pieces of `part`.
pub(super) fn counts(wanted: Option<Part>, part: Part) -> bool {
    match wanted {
        None => true,
        Some(Part::Json) => part == Part::Text,
        Some(wanted) => wanted == part,
    }
}

fn chunks(text: &str, characters: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = rest.char_indices().nth(characters.max(1)).map_or(rest.len(), |(end, _)| end);
        let (chunk, after) = rest.split_at(end);
        rest = after;
        (!chunk.is_empty()).then_some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Stop, Usage};

    fn answer() -> Answer {
        let blocks = vec![
            Block::Reasoning { text: "hmm, hmm".to_owned(), signature: String::new() },
            Block::Text("Zürich und Köln".to_owned()),
        ];
        Answer { identity: 0, seal: String::new(), blocks, stop: Stop::End, usage: Usage::default() }
    }

    fn check(boundary: Option<(Option<Part>, usize)>, expected: &[&str], before: Option<usize>) {
        let answer = answer();
        let division = Division { characters: 4, whole_calls: false };
        let (pieces, found) = pieces(&answer, division, boundary);
        let texts: Vec<_> = pieces.iter().map(|piece| piece.text).collect();
        assert_eq!((texts.as_slice(), found), (expected, before), "{boundary:?}");
    }

    #[test]
    fn content_is_divided_by_characters() {
        check(None, &["hmm,", " hmm", "Züri", "ch u", "nd K", "öln"], None);
    }

    #[test]
    fn a_boundary_divides_at_a_byte_but_never_within_a_character() {
        check(Some((None, 8)), &["hmm,", " hmm", "Züri", "ch u", "nd K", "öln"], Some(2));
        check(Some((None, 10)), &["hmm,", " hmm", "Z", "üric", "h un", "d Kö", "ln"], Some(3));
        check(Some((Some(Part::Text), 2)), &["hmm,", " hmm", "Z", "üric", "h un", "d Kö", "ln"], Some(1));
        check(Some((Some(Part::Text), 0)), &["hmm,", " hmm", "Züri", "ch u", "nd K", "öln"], Some(0));
        check(Some((None, 999)), &["hmm,", " hmm", "Züri", "ch u", "nd K", "öln"], Some(6));
    }

    #[test]
    fn a_call_that_comes_whole_comes_after_its_last_byte_or_not_at_all() {
        let call = Block::Call { identity: 1, name: "n".to_owned(), arguments: "{\"a\":12345}".to_owned() };
        let mut answer = answer();
        answer.blocks.push(call);
        let division = Division { characters: 8, whole_calls: true };
        for (bytes, before) in [(0, 0), (1, 0), (10, 0), (11, 1), (99, 1)] {
            let (pieces, found) = pieces(&answer, division, Some((Some(Part::ToolCall), bytes)));
            assert_eq!(pieces.iter().filter(|piece| piece.part == Part::ToolCall).count(), 1);
            assert_eq!(found, Some(before), "{bytes}");
        }
    }

    #[test]
    fn a_filter_keeps_the_first_pieces() {
        let mut answer = answer();
        keep(&mut answer, 4, 3);
        let contents: Vec<_> = answer.blocks.iter().map(Block::content).collect();
        assert_eq!(contents, ["hmm, hmm", "Züri"]);
    }
}
