//! Probabilities as the model gives them, before temperature, penalties and grammar.

use llama_cpp_4::model::{LlamaModel, Special};
use llama_cpp_4::token::LlamaToken;

use crate::request::{TokenLogprob, TopLogprob};

/// The probability of a chosen token, and the `top` most probable ones in its place.
pub(super) fn of(model: &LlamaModel, logits: &[f32], chosen: LlamaToken, top: u8) -> TokenLogprob {
    let norm = log_sum_exp(logits);
    let at = usize::try_from(chosen.0).ok().and_then(|i| logits.get(i)).copied().unwrap_or(f32::NEG_INFINITY);
    let (token, bytes) = spell(model, chosen);
    let top = best(logits, usize::from(top))
        .into_iter()
        .map(|(id, logit)| {
            let (token, bytes) = spell(model, LlamaToken(id));
            TopLogprob { token, bytes, logprob: logit - norm }
        })
        .collect();
    TokenLogprob { token, bytes, logprob: at - norm, top }
}

fn spell(model: &LlamaModel, token: LlamaToken) -> (String, Vec<u8>) {
    let bytes = model.token_to_raw_bytes(token, Special::Tokenize).unwrap_or_default();
    (String::from_utf8_lossy(&bytes).into_owned(), bytes)
}

fn log_sum_exp(logits: &[f32]) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // In double precision: a hundred thousand small terms must not be lost.
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
    #[expect(clippy::cast_possible_truncation, reason = "a logarithm between 0 and 12 fits")]
    let log = sum.ln() as f32;
    most + log
}

/// The largest logits, best first, with their tokens.
fn best(logits: &[f32], count: usize) -> Vec<(i32, f32)> {
    let mut best: Vec<(i32, f32)> = Vec::with_capacity(count + 1);
    for (id, logit) in (0..).zip(logits) {
        if best.len() < count || best.last().is_some_and(|(_, least)| logit > least) {
            let place = best.partition_point(|(_, known)| known >= logit);
            best.insert(place, (id, *logit));
            best.truncate(count);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up_to_one() {
        let logits = [0.5, -1.0, 3.0, 2.0];
        let norm = log_sum_exp(&logits);
        let sum: f32 = logits.iter().map(|logit| (logit - norm).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_best_come_first_and_of_equals_the_first() {
        assert_eq!(best(&[1.0, 5.0, 3.0, 5.0], 3), [(1, 5.0), (3, 5.0), (2, 3.0)]);
        assert_eq!(best(&[1.0], 3), [(0, 1.0)]);
        assert!(best(&[1.0, 2.0], 0).is_empty());
    }
}
