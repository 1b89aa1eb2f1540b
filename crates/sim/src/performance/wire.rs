//! What happens to bytes, whatever they mean.

use std::time::Duration;

use http::HeaderValue;
use http::header::CONTENT_LENGTH;

use super::{Action, sent};
use crate::chance::Chance;
use crate::fault::Fault;

/// Lets the body fall short, drip or come in pieces, as the faults ask.
pub(super) fn shaped(mut actions: Vec<Action>, faults: &[Fault], chance: &mut Chance) -> Vec<Action> {
    for fault in faults {
        if let Fault::WrongLength { missing } = fault {
            actions = shortened(actions, *missing);
        }
    }
    for fault in faults {
        if let Fault::Drip { bytes, gap_ms } = fault {
            actions = divided(actions, Duration::from_millis(*gap_ms), || *bytes);
        }
        if let Fault::Split { bytes } = fault {
            actions = divided(actions, Duration::ZERO, || 1 + chance.below(*bytes));
        }
    }
    actions
}

/// Promises the whole body, and closes before its last `missing` bytes (0: its second half).
fn shortened(actions: Vec<Action>, missing: usize) -> Vec<Action> {
    let total: usize = actions.iter().map(|action| sent(action).len()).sum();
    let missing = if missing == 0 { total.div_ceil(2) } else { missing.min(total) };
    let mut left = total - missing;
    let mut shortened = Vec::with_capacity(actions.len());
    for action in actions {
        match action {
            Action::Head { status, mut headers } => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(total));
                shortened.push(Action::Head { status, headers });
            }
            Action::Send(bytes) => {
                let bytes = bytes.slice(..bytes.len().min(left));
                left -= bytes.len();
                shortened.extend((!bytes.is_empty()).then_some(Action::Send(bytes)));
                if left == 0 {
                    break;
                }
            }
            Action::Wait(_) | Action::Reset | Action::Eof | Action::Hang => shortened.push(action),
        }
    }
    shortened.push(Action::Eof);
    shortened
}

/// Sends the body in pieces of the sizes that `size` gives, with `gap` between them.
fn divided(actions: Vec<Action>, gap: Duration, mut size: impl FnMut() -> usize) -> Vec<Action> {
    let mut divided = Vec::with_capacity(actions.len());
    for action in actions {
        let Action::Send(mut bytes) = action else {
            divided.push(action);
            continue;
        };
        while !bytes.is_empty() {
            let piece = bytes.split_to(size().clamp(1, bytes.len()));
            divided.extend([Action::Send(piece), Action::Wait(gap)]);
        }
    }
    divided
}
