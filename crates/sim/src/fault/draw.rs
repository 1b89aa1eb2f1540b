//! A fault by chance, for runs that look for trouble by seed.

use super::{Ending, Fault, Part, Place};
use crate::chance::Chance;

/// Draws one fault. Waits stay below a second, except the stall that only ends when the client leaves.
pub(crate) fn draw(chance: &mut Chance) -> Fault {
    const STATUSES: [u16; 5] = [429, 500, 502, 503, 529];
    match chance.below(12) {
        0 => {
            let retry_after_s = (chance.below(2) == 0).then_some(1);
            Fault::Status { status: chance.pick(&STATUSES), retry_after_s, message: None, code: None }
        }
        1 => Fault::Refuse {},
        2 => Fault::Page { status: 200 },
        3 => Fault::Empty {},
        4 => Fault::ErrorIn200 { status: 529 },
        5 => Fault::WrongLength { missing: 0 },
        6 => Fault::Split { bytes: 1 + chance.below(32) },
        7 => Fault::Heartbeat { chunks: 1, every_ms: 0 },
        _ => draw_cut(chance),
    }
}

fn draw_cut(chance: &mut Chance) -> Fault {
    // In this order for ever: a seed that was written down must draw the same faults again.
    const ENDINGS: [Ending; 8] = [
        Ending::Reset,
        Ending::Close,
        Ending::Eof,
        Ending::Stall,
        Ending::Error,
        Ending::Malformed,
        Ending::Garbage,
        Ending::Done,
    ];
    let how = ENDINGS.get(chance.below(ENDINGS.len())).copied().unwrap_or(Ending::Reset);
    let after = match chance.below(8) {
        0 => Place::Start,
        1 => Place::Headers,
        2 => Place::Preamble,
        3 => Place::Bytes(chance.below(200)),
        4 => Place::Wire(chance.below(4000)),
        5 => Place::Content,
        6 => Place::Finish,
        _ => Place::Chunks(chance.below(40)),
    };
    let counted = matches!(after, Place::Bytes(_) | Place::Chunks(_));
    let part = (counted && chance.below(4) == 0).then_some(Part::Reasoning);
    let stall_ms = (how == Ending::Stall && chance.below(2) == 0).then(|| chance.number() % 1000);
    Fault::Cut { how, after, part, stall_ms, status: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drawn_fault_can_be_played_and_survives_being_written_down() {
        let mut chance = Chance::new(3);
        for _ in 0..2000 {
            let fault = draw(&mut chance);
            fault.check().unwrap();
            let json = serde_json::to_string(&fault).unwrap();
            assert_eq!(serde_json::from_str::<Fault>(&json).unwrap(), fault, "{json}");
            let toml = toml::to_string(&fault).unwrap();
            assert_eq!(toml::from_str::<Fault>(&toml).unwrap(), fault, "{toml}");
        }
    }
}
