//! `commonwatt explain`: who would answer a request, and why the others would not.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use serde::Deserialize;
use serde_json::Value;

use super::Context;
use crate::table;
use crate::term::{self, Paint};

/// What can be asked for.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A file with the request as JSON; `-` reads it from standard input.
    request: PathBuf,
    /// `openai-chat` or `anthropic-messages`; by default guessed from the request.
    #[arg(long, value_parser = ["openai-chat", "anthropic-messages"])]
    dialect: Option<String>,
    /// Print the plan as JSON.
    #[arg(long)]
    json: bool,
}

/// Asks and prints.
pub(super) async fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let body = read(arguments)?;
    let request: Value = serde_json::from_slice(&body).map_err(|error| {
        anyhow!(
            "`{}` holds no JSON ({error}): give it a request as an application sends it",
            arguments.request.display()
        )
    })?;
    let dialect = arguments.dialect.as_deref().unwrap_or_else(|| guess(&request));
    let said = context.admin()?.explain(dialect, body).await?;
    if arguments.json {
        term::json(&said)?;
        return Ok(ExitCode::SUCCESS);
    }
    let plan: Explanation =
        serde_json::from_value(said).context("the daemon answers in a way this program does not understand")?;
    term::text(plan.text(dialect, Paint::for_stdout(), term::columns()))?;
    Ok(if plan.candidates.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn read(arguments: &Arguments) -> anyhow::Result<Vec<u8>> {
    if arguments.request.as_os_str() == "-" {
        let mut body = Vec::new();
        std::io::stdin().read_to_end(&mut body).context("cannot read standard input")?;
        return Ok(body);
    }
    std::fs::read(&arguments.request).map_err(|error| crate::home::unreadable(&arguments.request, &error))
}

/// The dialect that a request is most likely in. Both have `model` and `messages`; what else there is tells them apart.
fn guess(request: &Value) -> &'static str {
    let has = |key: &str| request.get(key).is_some();
    let messages = request.get("messages").and_then(Value::as_array);
    let any = |test: &dyn Fn(&Value) -> bool| messages.is_some_and(|messages| messages.iter().any(test));
    let role = |message: &Value, wanted: &[&str]| {
        message.get("role").and_then(Value::as_str).is_some_and(|role| wanted.contains(&role))
    };
    let openai_only = ["max_completion_tokens", "response_format", "stream_options", "n", "logprobs", "stop"];
    let anthropic_only = ["system", "stop_sequences", "thinking", "anthropic_version", "mcp_servers"];
    let tools = request.get("tools").and_then(Value::as_array);
    let tool_has = |key: &str| tools.is_some_and(|tools| tools.iter().any(|tool| tool.get(key).is_some()));
    if anthropic_only.iter().any(|key| has(key)) || tool_has("input_schema") {
        return "anthropic-messages";
    }
    let is_openai = openai_only.iter().any(|key| has(key))
        || tool_has("function")
        || any(&|message| role(message, &["system", "developer", "tool"]) || message.get("tool_calls").is_some());
    let block = |message: &Value| message.get("content").is_some_and(Value::is_array);
    if !is_openai && has("max_tokens") && any(&block) { "anthropic-messages" } else { "openai-chat" }
}

/// What `POST /admin/v1/explain` says.
#[derive(Debug, Deserialize)]
struct Explanation {
    model: String,
    candidates: Vec<Candidate>,
    #[serde(default)]
    excluded: Vec<Exclusion>,
    #[serde(default)]
    absent: Vec<crate::admin::AbsentLine>,
}

#[derive(Debug, Deserialize)]
struct Candidate {
    deployment: String,
    tier: String,
    part: String,
    standing: String,
}

#[derive(Debug, Deserialize)]
struct Exclusion {
    deployment: String,
    tier: String,
    reason: String,
}

impl Explanation {
    fn text(&self, dialect: &str, paint: Paint, columns: Option<usize>) -> String {
        let mut text = format!("{} {}  {}\n\n", paint.dim("model"), paint.bold(&self.model), paint.dim(dialect));
        if self.candidates.is_empty() {
            text.push_str(&format!("{}\n", paint.bad("nobody would answer this request")));
        } else {
            let row = |(at, candidate): (usize, &Candidate)| {
                [
                    (at + 1).to_string(),
                    candidate.tier.clone(),
                    candidate.deployment.clone(),
                    why(&candidate.part).to_owned(),
                    standing(&candidate.standing).to_owned(),
                ]
            };
            let rows: Vec<_> = self.candidates.iter().enumerate().map(row).collect();
            text.push_str(&table::plain(&["", "TIER", "DEPLOYMENT", "WHY", "STANDING"], &rows, paint, columns));
        }
        if !self.excluded.is_empty() {
            let row = |line: &Exclusion| [line.tier.clone(), line.deployment.clone(), line.reason.clone()];
            let rows: Vec<_> = self.excluded.iter().map(row).collect();
            text.push('\n');
            text.push_str(&table::plain(&["TIER", "NOT TRIED", "BECAUSE"], &rows, paint, columns));
        }
        if !self.absent.is_empty() {
            let rows: Vec<_> = self.absent.iter().map(|line| [line.provider.clone(), line.hint.clone()]).collect();
            text.push('\n');
            text.push_str(&table::plain(&["WOULD ALSO", "IF YOU"], &rows, paint, columns));
        }
        text
    }
}

fn why(part: &str) -> &str {
    match part {
        "asked" => "it was asked for",
        "substitute" => "stands in if the others fail",
        other => other,
    }
}

fn standing(word: &str) -> &str {
    match word {
        "passing" => "passing",
        "probe" => "failed before; this call finds out whether it is back",
        "last_resort" => "benched, but there is nobody else",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_is_recognised_by_what_only_one_dialect_has() {
        let user = json!([{"role": "user", "content": "hi"}]);
        let blocks = json!([{"role": "user", "content": [{"type": "text", "text": "hi"}]}]);
        for (request, dialect) in [
            (json!({"model": "auto", "messages": user}), "openai-chat"),
            (json!({"model": "auto", "messages": user, "max_tokens": 9}), "openai-chat"),
            (json!({"model": "auto", "messages": user, "max_tokens": 9, "system": "s"}), "anthropic-messages"),
            (json!({"model": "auto", "messages": blocks, "max_tokens": 9}), "anthropic-messages"),
            (json!({"messages": blocks, "max_tokens": 9, "stream_options": {}}), "openai-chat"),
            (json!({"messages": [{"role": "system", "content": "s"}], "max_tokens": 9}), "openai-chat"),
            (json!({"messages": user, "tools": [{"name": "t", "input_schema": {}}]}), "anthropic-messages"),
            (json!({"messages": user, "tools": [{"type": "function", "function": {}}]}), "openai-chat"),
            (json!("nonsense"), "openai-chat"),
        ] {
            assert_eq!(guess(&request), dialect, "{request}");
        }
    }

    #[test]
    fn a_plan_reads_from_first_to_last_with_every_reason() {
        let plan: Explanation = serde_json::from_value(json!({
            "model": "auto",
            "candidates": [
                {"deployment": "a/x", "tier": "frontier", "part": "asked", "standing": "passing"},
                {"deployment": "engine/pilot", "tier": "local", "part": "substitute", "standing": "last_resort"}],
            "excluded": [{"deployment": "b/y", "tier": "free", "reason": "cannot do images"}],
            "absent": [{"provider": "anthropic", "hint": "set `ANTHROPIC_API_KEY`"}],
        }))
        .expect("the daemon's shape");
        assert_eq!(
            plan.text("openai-chat", Paint::PLAIN, None),
            "model auto  openai-chat\n\n   \
             TIER      DEPLOYMENT    WHY                           STANDING\n\
             1  frontier  a/x           it was asked for              passing\n\
             2  local     engine/pilot  stands in if the others fail  benched, but there is nobody else\n\n\
             TIER  NOT TRIED  BECAUSE\n\
             free  b/y        cannot do images\n\n\
             WOULD ALSO  IF YOU\n\
             anthropic   set `ANTHROPIC_API_KEY`\n"
        );
    }
}
