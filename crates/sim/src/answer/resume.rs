//! Going on where an answer stopped.
//!
//! A gateway that rescues a cut answer asks another deployment to continue, either by ending the conversation with the
//! partial answer (prefill), or by a message of the user that quotes its last words (anchor). A simulated model does
//! as a good real one would, so that a rescue can be compared byte for byte with the unbroken answer.

use crate::asked::{Speaker, Turn};
use crate::settings::{AnswerSettings, Prefill};

/// Fewest characters that count as a quotation.
const SHORTEST_ANCHOR: usize = 8;
/// Most characters that are looked for.
const LONGEST_ANCHOR: usize = 240;

/// The answer's text for `turns`, given the function that makes up whole answers.
pub(crate) fn continued(turns: &[Turn], settings: &AnswerSettings, whole: impl Fn(&[Turn]) -> String) -> String {
    if let [before @ .., last] = turns
        && last.speaker == Speaker::Assistant
        && last.calls.is_empty()
        && settings.prefill == Prefill::Continue
        && let Some(rest) = whole(before).strip_prefix(last.text.as_str())
    {
        return rest.to_owned();
    }
    if let [before @ .., partial, request] = turns
        && settings.resume
        && (partial.speaker, request.speaker) == (Speaker::Assistant, Speaker::User)
        && partial.calls.is_empty()
        && let Some(rest) = whole(before).strip_prefix(partial.text.as_str())
        && !rest.is_empty()
        && let Some(anchor) = anchor(&partial.text, &request.text)
    {
        return format!("{anchor}{rest}");
    }
    whole(turns)
}

/// The longest end of `partial` that `request` quotes. The quotation may lack white space at its end.
fn anchor<'a>(partial: &'a str, request: &str) -> Option<&'a str> {
    let starts = partial.char_indices().rev().take(LONGEST_ANCHOR).map(|(at, _)| at);
    let quoted = |start: &usize| partial.get(*start..).is_some_and(|end| request.contains(end.trim_end()));
    let start = starts.take_while(quoted).last()?;
    let anchor = partial.get(start..)?;
    let long_enough = anchor.trim_end().chars().count() >= SHORTEST_ANCHOR || start == 0;
    (long_enough && !anchor.trim_end().is_empty()).then_some(anchor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "The well is old, but the water in it is clear — and cold.";

    fn check(partial: &str, request: Option<&str>, expected: &str) {
        let mut turns = vec![
            Turn::new(Speaker::User, "Tell me of the well.".to_owned()),
            Turn::new(Speaker::Assistant, partial.to_owned()),
        ];
        turns.extend(request.map(|text| Turn::new(Speaker::User, text.to_owned())));
        // An answer to anything but the first message is another one.
        let whole = |turns: &[Turn]| if turns.len() == 1 { WHOLE.to_owned() } else { "other".to_owned() };
        assert_eq!(continued(&turns, &AnswerSettings::default(), whole), expected);
    }

    #[test]
    fn a_prefilled_answer_is_continued_at_every_character() {
        for (at, _) in WHOLE.char_indices() {
            check(&WHOLE[..at], None, &WHOLE[at..]);
        }
        check("Something else", None, "other");
    }

    #[test]
    fn a_quoted_answer_is_resumed_with_the_quotation() {
        check(
            "The well is old, but the water",
            Some("Go on after “but the water”."),
            "but the water in it is clear — and cold.",
        );
        check(
            "The well is old, but the ",
            Some("Go on after “ld, but the”"),
            "ld, but the water in it is clear — and cold.",
        );
        check("The", Some("Please go on; you had said: The"), WHOLE);
    }

    #[test]
    fn a_conversation_that_goes_on_is_not_a_request_to_resume() {
        check("The well is old, but the water", Some("Thanks. And the mill?"), "other");
        check(WHOLE, Some("What do you mean by “clear — and cold.”?"), "other");
    }
}
