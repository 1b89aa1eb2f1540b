//! Writes answers of OpenAI Completions, streamed and whole: bare text, without thinking and without tools.

use commonwatt_core::answer::{Answer, Block, Delta, Finish, Usage};

use super::{Head, finish, prefixed, usage};
use crate::emit::Object;

#[derive(Debug)]
pub(super) struct Writer {
    head: Head,
    finish: Option<Finish>,
    usage: Option<Usage>,
}

impl Writer {
    pub(super) fn new(mut head: Head) -> Self {
        head.id = prefixed("cmpl-", &head.id);
        Self { head, finish: None, usage: None }
    }

    pub(super) fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Text(text) | Delta::Refusal(text) => self.chunk(out, text, None),
            Delta::Finished(finish) => self.finish = Some(finish.clone()),
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::Started { .. }
            | Delta::Reasoning(_)
            | Delta::ReasoningSignature(_)
            | Delta::Unread(_)
            | Delta::RedactedReasoning(_)
            | Delta::EncryptedReasoning { .. }
            | Delta::ToolCallStarted { .. }
            | Delta::ToolCallArguments { .. }
            | Delta::ToolCallSignature { .. }
            | Delta::Opaque(..)
            | Delta::Logprobs(_) => {}
        }
    }

    /// False when there is no reason to end with.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(finish) = self.finish.take() else { return false };
        self.chunk(out, "", Some(&finish));
        if let Some(used) = self.usage.filter(|_| self.head.stream_usage) {
            out.extend_from_slice(b"data: ");
            let mut chunk = Object::open(out);
            head(&mut chunk, &self.head);
            chunk.array("choices").close();
            usage::to_openai(&used, &mut chunk);
            chunk.close();
            out.extend_from_slice(b"\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        true
    }

    fn chunk(&self, out: &mut Vec<u8>, text: &str, finish: Option<&Finish>) {
        out.extend_from_slice(b"data: ");
        let mut chunk = Object::open(out);
        head(&mut chunk, &self.head);
        choice(&mut chunk, text, finish);
        if self.head.stream_usage {
            chunk.null("usage");
        }
        chunk.close();
        out.extend_from_slice(b"\n\n");
    }
}

fn head(body: &mut Object<'_>, head: &Head) {
    body.string("id", &head.id);
    body.string("object", "text_completion");
    body.whole("created", head.created_unix_s);
    body.string("model", &head.model);
}

fn choice(body: &mut Object<'_>, text: &str, finish: Option<&Finish>) {
    let mut choices = body.array("choices");
    let mut choice = choices.object();
    choice.string("text", text);
    choice.whole("index", 0);
    choice.null("logprobs");
    match finish {
        Some(finish) => choice.string("finish_reason", finish::to_completions(finish)),
        None => choice.null("finish_reason"),
    }
    choice.close();
    choices.close();
}

pub(super) fn whole(answer: &Answer, told: &Head) -> Vec<u8> {
    let mut text = String::new();
    for block in &answer.blocks {
        match block {
            Block::Text(said) | Block::Refusal(said) => text.push_str(said),
            Block::Reasoning(_) | Block::ToolCall(_) | Block::Opaque(..) => {}
        }
    }
    let mut out = Vec::with_capacity(1024);
    let mut body = Object::open(&mut out);
    head(&mut body, &Head { id: prefixed("cmpl-", &told.id), ..told.clone() });
    choice(&mut body, &text, Some(answer.finish.as_ref().unwrap_or(&Finish::Stop)));
    if let Some(used) = &answer.usage {
        usage::to_openai(used, &mut body);
    }
    body.close();
    out
}
