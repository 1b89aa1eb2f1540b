//! Made-up text: sentences from a seed.

use crate::chance::Chance;
use crate::settings::Style;

const WHO: &[&str] = &[
    "The night train from Zürich",
    "A librarian in São Paulo",
    "Every lighthouse on the coast",
    "The oldest well of the village",
    "A careful gardener",
    "The river below the mill",
    "Nobody in the café",
    "The astronomer’s daughter",
    "A flock of cranes",
    "The clock in the hall",
];
const DOES: &[&str] = &[
    "keeps a list of",
    "seldom speaks about",
    "has learned to share",
    "measures",
    "waits patiently for",
    "remembers",
    "quietly repairs",
    "pays for",
    "carries news of",
    "makes room for",
];
const WHAT: &[&str] = &[
    "the first rain of the year",
    "seven borrowed books",
    "what the neighbours left behind",
    "the price of copper",
    "small lamps and long winters",
    "the map that was drawn twice",
    "bread, salt and good company",
    "the names of all its visitors",
    "a song from Málaga",
    "the light that comes across the water",
];
const ENDS: &[&str] =
    &[".", ".", ".", ", and that is enough.", "; so it was said — and so it is.", "!", "?", ", year after year."];

const POLYGLOT: &[&str] = &[
    "Die Brücke trägt auch im Winter.",
    "Το φως έρχεται από τη θάλασσα.",
    "Ночной поезд приходит без опоздания.",
    "القطار الليلي يصل في موعده.",
    "הבאר הישנה שוב מלאה מים.",
    "夜の列車は時間どおりに着く。",
    "老井里又有了水。",
    "밤 기차는 제시간에 도착한다.",
    "पुराने कुएँ में फिर पानी है।",
    "รถไฟกลางคืนมาตรงเวลา",
    "The crew 👩‍🚀👨🏽‍🔧 says it works 🎉.",
    "Cà phê sữa đá, một ly nữa nhé.",
];

const THOUGHTS: &[&str] = &[
    "First I look at what was asked.",
    "There are two ways to answer this.",
    "The short one is probably meant.",
    "I should check the numbers once more.",
    "That agrees with what was said before.",
    "Nothing speaks against it.",
    "A counter-example would be easy to find, but there is none.",
    "So the answer follows.",
];

/// Text of at least `characters` characters, ending with a sentence.
pub(crate) fn text(seed: u64, style: Style, characters: usize) -> String {
    let mut chance = Chance::new(seed);
    match style {
        Style::Prose => lines(&mut chance, characters, " ", sentence),
        Style::Polyglot => lines(&mut chance, characters, " ", |c| c.pick(POLYGLOT).to_owned()),
        Style::Markdown => lines(&mut chance, characters, "\n\n", paragraph),
    }
}

/// Reasoning of at least `characters` characters.
pub(crate) fn thoughts(seed: u64, characters: usize) -> String {
    lines(&mut Chance::new(seed), characters, " ", |chance| chance.pick(THOUGHTS).to_owned())
}

fn lines(chance: &mut Chance, characters: usize, glue: &str, mut next: impl FnMut(&mut Chance) -> String) -> String {
    let mut text = String::new();
    let mut length = 0;
    while length < characters {
        if !text.is_empty() {
            text.push_str(glue);
        }
        text.push_str(&next(chance));
        length = text.chars().count();
    }
    text
}

fn sentence(chance: &mut Chance) -> String {
    format!("{} {} {}{}", chance.pick(WHO), chance.pick(DOES), chance.pick(WHAT), chance.pick(ENDS))
}

fn paragraph(chance: &mut Chance) -> String {
    match chance.below(4) {
        0 => format!("## {}", chance.pick(WHO)),
        1 => {
            let items = (0..3).map(|i| format!("{}. **{}**: {}\n", i + 1, chance.pick(WHO), sentence(chance)));
            let items: String = items.collect();
            items.trim_end().to_owned()
        }
        2 => format!("```python\ndef remember(name):\n    return {{\"{}\": name}}\n```", chance.pick(WHAT)),
        _ => format!("{}  \n> {}", sentence(chance), chance.pick(POLYGLOT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_text_and_another_seed_another() {
        for style in [Style::Prose, Style::Markdown, Style::Polyglot] {
            let once = text(5, style, 300);
            assert_eq!(once, text(5, style, 300));
            assert_ne!(once, text(6, style, 300));
            assert!(once.chars().count() >= 300);
        }
        assert_eq!(text(5, Style::Prose, 0), "");
    }
}
