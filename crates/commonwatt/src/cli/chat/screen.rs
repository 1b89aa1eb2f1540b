//! What a conversation looks like: words wrapped to the terminal as they arrive, remarks dimmed.

use std::io;

use super::answer::{Answer, Ending};
use crate::term::{self, Paint};
use crate::wrap::{COLUMNS_MAX, Wrap};

/// Whose words these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// The model's answer.
    Answer,
    /// The model thinking aloud.
    Thought,
}

/// The place where a conversation is shown.
#[derive(Debug)]
pub(super) struct Screen {
    paint: Paint,
    /// `None` where output goes to a file or a pipe: then it is the answer's bytes and nothing else.
    wrap: Option<Wrap>,
    speaking: Option<Voice>,
}

impl Screen {
    /// Standard output.
    pub(super) fn new() -> Self {
        let wrap = term::columns().map(|columns| Wrap::new(columns.min(COLUMNS_MAX)));
        Self { paint: Paint::for_stdout(), wrap, speaking: None }
    }

    /// The first line.
    pub(super) fn greet(&self, model: &str, url: &str) -> io::Result<()> {
        term::line(self.paint.dim(&format!("asking `{model}` at {url}; /help lists commands, Ctrl-D leaves")))
    }

    /// A piece of an answer. Thoughts are for eyes only: a script gets the answer.
    pub(super) fn show(&mut self, voice: Voice, text: &str) -> io::Result<()> {
        let Some(wrap) = &mut self.wrap else {
            return if voice == Voice::Answer { term::text(text) } else { Ok(()) };
        };
        let mut out = String::new();
        if self.speaking.is_some_and(|before| before != voice) {
            out.push_str(&wrap.finish());
            out.push_str("\n\n");
        }
        self.speaking = Some(voice);
        let wrapped = wrap.push(&term::tame(text));
        match voice {
            Voice::Answer => out.push_str(&wrapped),
            Voice::Thought => out.push_str(&self.paint.dim(&wrapped)),
        }
        term::text(out)
    }

    /// The answer is over.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let spoke = self.speaking.take().is_some();
        match &mut self.wrap {
            Some(wrap) => {
                let rest = wrap.finish();
                term::text(if spoke { format!("{rest}\n") } else { rest })
            }
            None => term::line(""),
        }
    }

    /// Who gave the answer, and why it is not whole if it is not.
    pub(super) fn sign(&self, answer: &Answer) -> io::Result<()> {
        if let Ending::Broken(why) = &answer.ending {
            self.trouble(why)?;
        }
        match signature(answer) {
            Some(signature) => self.remark(&signature),
            None => Ok(()),
        }
    }

    /// Something by the way.
    pub(super) fn remark(&self, text: &str) -> io::Result<()> {
        self.aside(&format!("— {text}"), Paint::dim)
    }

    /// Something went wrong.
    pub(super) fn trouble(&self, text: &str) -> io::Result<()> {
        self.aside(&format!("— {}", term::tame(text)), Paint::warn)
    }

    /// Several lines by the way.
    pub(super) fn block(&self, text: &str) -> io::Result<()> {
        self.aside(text.trim_end(), Paint::dim)
    }

    fn aside(&self, text: &str, dress: impl Fn(Paint, &str) -> String) -> io::Result<()> {
        if self.wrap.is_some() {
            return term::line(dress(self.paint, text));
        }
        term::note(text);
        Ok(())
    }
}

/// `engine/pilot · local · 1 attempt · 0.4 s · 37 tokens`
fn signature(answer: &Answer) -> Option<String> {
    let served = answer.served.as_ref()?;
    let attempts = if served.attempts == 1 { "1 attempt".to_owned() } else { format!("{} attempts", served.attempts) };
    let mut parts = vec![served.deployment.clone(), served.tier.clone(), attempts];
    parts.push(format!("{:.1} s", answer.elapsed.as_secs_f64()));
    match answer.tokens {
        Some(1) => parts.push("1 token".to_owned()),
        Some(tokens) => parts.push(format!("{tokens} tokens")),
        None => {}
    }
    parts.retain(|part| !part.is_empty());
    Some(parts.join(" · "))
}

#[cfg(test)]
mod tests {
    use super::super::answer::Served;
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_answer_is_signed_by_whoever_gave_it() {
        let answer = |tokens, attempts| Answer {
            text: String::new(),
            served: Some(Served {
                deployment: "engine/pilot".into(),
                tier: "local".into(),
                attempts,
                session: String::new(),
            }),
            tokens,
            elapsed: Duration::from_millis(400),
            ending: Ending::Complete,
        };
        assert_eq!(
            signature(&answer(Some(37), 1)).as_deref(),
            Some("engine/pilot · local · 1 attempt · 0.4 s · 37 tokens")
        );
        assert_eq!(signature(&answer(None, 2)).as_deref(), Some("engine/pilot · local · 2 attempts · 0.4 s"));
    }
}
