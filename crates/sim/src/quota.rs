//! Limits per minute, on a clock that is handed in.

use std::collections::VecDeque;
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(60);

/// What was used within the last 60 seconds. Uses within one second are added up, so that the list stays short.
#[derive(Debug)]
pub(crate) struct Quota {
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
    /// At most 61 entries, oldest first.
    used: VecDeque<Used>,
}

/// What was used in one second.
#[derive(Clone, Copy, Debug)]
struct Used {
    second: u64,
    requests: u64,
    tokens: u64,
}

/// What is left of the limits that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) requests: Option<Limit>,
    pub(crate) tokens: Option<Limit>,
}

/// One limit per minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
}

/// A limit is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted {
    /// `requests` or `tokens`.
    pub(crate) what: &'static str,
    pub(crate) limit: u64,
    /// Seconds until there is room again, at least 1.
    pub(crate) retry_after_s: u64,
}

impl Quota {
    pub(crate) fn new(requests_per_minute: Option<u64>, tokens_per_minute: Option<u64>) -> Self {
        Self { requests_per_minute, tokens_per_minute, used: VecDeque::new() }
    }

    /// Takes one request with a prompt of `tokens`, at the moment `now`.
    pub(crate) fn admit(&mut self, now: Duration, tokens: u64) -> Result<(), Exhausted> {
        self.forget(now);
        let needs = [
            ("requests", self.requests_per_minute, 1, Used::requests as fn(&Used) -> u64),
            ("tokens", self.tokens_per_minute, tokens, Used::tokens),
        ];
        for (what, limit, need, of) in needs {
            let Some(limit) = limit else { continue };
            let mut used: u64 = self.used.iter().map(of).sum();
            // Everything of the oldest seconds must be forgotten until there is room; never, for a prompt too large.
            let mut free_at = now;
            for entry in &self.used {
                if used.saturating_add(need) <= limit {
                    break;
                }
                used = used.saturating_sub(of(entry));
                free_at = Duration::from_secs(entry.second + 1) + WINDOW;
            }
            if used.saturating_add(need) > limit {
                return Err(Exhausted { what, limit, retry_after_s: WINDOW.as_secs() });
            }
            if free_at > now {
                let retry_after_s = (free_at - now).as_millis().div_ceil(1000);
                return Err(Exhausted {
                    what,
                    limit,
                    retry_after_s: u64::try_from(retry_after_s).unwrap_or(60).max(1),
                });
            }
        }
        self.add(now, 1, tokens);
        Ok(())
    }

    /// Takes the tokens of an answer.
    pub(crate) fn charge(&mut self, now: Duration, tokens: u64) {
        self.add(now, 0, tokens);
    }

    pub(crate) fn left(&self) -> Left {
        let left = |limit: Option<u64>, of: fn(&Used) -> u64| {
            let used: u64 = self.used.iter().map(of).sum();
            limit.map(|limit| Limit { limit, remaining: limit.saturating_sub(used) })
        };
        Left {
            requests: left(self.requests_per_minute, Used::requests),
            tokens: left(self.tokens_per_minute, Used::tokens),
        }
    }

    fn add(&mut self, now: Duration, requests: u64, tokens: u64) {
        if self.requests_per_minute.is_none() && self.tokens_per_minute.is_none() {
            return;
        }
        match self.used.back_mut() {
            Some(last) if last.second == now.as_secs() => {
                last.requests += requests;
                last.tokens = last.tokens.saturating_add(tokens);
            }
            _ => self.used.push_back(Used { second: now.as_secs(), requests, tokens }),
        }
    }

    /// Forgets seconds that lie wholly outside the window.
    fn forget(&mut self, now: Duration) {
        while self.used.front().is_some_and(|used| Duration::from_secs(used.second + 1) + WINDOW <= now) {
            self.used.pop_front();
        }
    }
}

impl Used {
    fn requests(&self) -> u64 {
        self.requests
    }

    fn tokens(&self) -> u64 {
        self.tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_used_up_window_says_when_there_is_room_again() {
        let mut quota = Quota::new(None, Some(100));
        quota.admit(at(0.5), 60).unwrap();
        quota.charge(at(10.0), 30);
        assert_eq!(quota.left().tokens, Some(Limit { limit: 100, remaining: 10 }));
        let refused = quota.admit(at(20.0), 20).unwrap_err();
        assert_eq!(refused, Exhausted { what: "tokens", limit: 100, retry_after_s: 41 });
        assert!(quota.admit(at(60.9), 20).is_err(), "a second before");
        quota.admit(at(61.0), 20).unwrap();
        let refused = quota.admit(at(61.0), 90).unwrap_err();
        assert_eq!(refused.retry_after_s, 61, "both earlier uses must be forgotten");
    }

    #[test]
    fn requests_are_counted_too() {
        let mut quota = Quota::new(Some(2), None);
        quota.admit(at(1.0), 9).unwrap();
        quota.admit(at(2.0), 9).unwrap();
        assert_eq!(quota.admit(at(3.0), 9).unwrap_err().what, "requests");
        quota.admit(at(62.0), 9).unwrap();
    }

    #[test]
    fn a_prompt_beyond_the_limit_never_fits() {
        let mut quota = Quota::new(None, Some(10));
        assert_eq!(quota.admit(at(0.0), 11).unwrap_err().retry_after_s, 60);
    }

    #[test]
    fn the_list_stays_short() {
        let mut quota = Quota::new(Some(1_000_000), None);
        for tenth in 0..10_000 {
            quota.admit(at(f64::from(tenth) / 10.0), 1).unwrap();
        }
        assert!(quota.used.len() <= 61, "{}", quota.used.len());
    }
}
