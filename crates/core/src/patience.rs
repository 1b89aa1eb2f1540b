//! How long a call waits for a deployment: four timeouts, and the whole.

use crate::call::Requirements;

/// Waits in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until the connection stands.
    pub connect_ms: u64,
    /// From the request until the response's headers.
    pub headers_ms: u64,
    /// From the headers until the first content of a stream.
    pub first_content_ms: u64,
    /// Between two events of a stream.
    pub idle_ms: u64,
    /// From the request until the end of the answer.
    pub total_ms: u64,
}

impl Patience {
    /// For suppliers elsewhere: well below the ten minutes after which the SDKs give up.
    pub const REMOTE: Self =
        Self { connect_ms: 3_000, headers_ms: 10_000, first_content_ms: 20_000, idle_ms: 30_000, total_ms: 600_000 };

    /// For machines of our own, which may first have to load a model from disk.
    pub const LOCAL: Self = Self {
        connect_ms: 1_000,
        headers_ms: 120_000,
        first_content_ms: 120_000,
        idle_ms: 60_000,
        total_ms: 1_800_000,
    };

    /// The waits for one call.
    ///
    /// A streamed answer shows early whether anybody is there. An answer that is not streamed sends its headers when it
    /// is complete, so its wait grows with what was asked for: 20 tokens a second is slow for a supplier, and a caller
    /// that did not say how much it wants is given room for about 700 tokens. A model that was asked to think first
    /// gets another half minute. A large prompt gets a second for each 64 KiB.
    #[must_use]
    pub fn for_call(self, needs: &Requirements) -> Self {
        let thinking_ms = if needs.reasoning { 30_000 } else { 0 };
        let reading_ms = needs.body_bytes / 64;
        let writing_ms = match (needs.stream, needs.max_output_tokens) {
            (true, _) => 0,
            (false, 0) => 35_000,
            (false, tokens) => u64::from(tokens) * 50,
        };
        let longer = |ms: u64, more: u64| ms.saturating_add(more).min(self.total_ms);
        Self {
            headers_ms: longer(self.headers_ms, reading_ms + thinking_ms + writing_ms),
            first_content_ms: longer(self.first_content_ms, reading_ms + thinking_ms),
            idle_ms: longer(self.idle_ms, thinking_ms),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_hangs_is_noticed_in_seconds() {
        let needs = Requirements { stream: true, ..Requirements::default() };
        assert_eq!(Patience::REMOTE.for_call(&needs).headers_ms, 10_000);
    }

    #[test]
    fn an_unstreamed_answer_is_given_time_to_be_written() {
        let asked = |max_output_tokens| Requirements { max_output_tokens, ..Requirements::default() };
        assert_eq!(Patience::REMOTE.for_call(&asked(0)).headers_ms, 45_000);
        assert_eq!(Patience::REMOTE.for_call(&asked(100)).headers_ms, 15_000);
        assert_eq!(Patience::REMOTE.for_call(&asked(100_000)).headers_ms, 600_000);
    }
}
