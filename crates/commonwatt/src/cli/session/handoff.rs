//! `commonwatt session handoff`

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use reqwest::Method;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::term;

/// What can be asked for.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Its name, its id, or the beginning of its id.
    session: String,
    /// Name of the key that may use the token; by default any key of this daemon that has it.
    #[arg(long, value_name = "KEY")]
    to: Option<String>,
    /// What the token is good for: `read`, `branch`, `continue`; by default all three.
    #[arg(long, value_delimiter = ',', value_name = "SCOPES")]
    scopes: Vec<String>,
    /// Seconds for which it can be used; by default an hour.
    #[arg(long, value_name = "SECONDS")]
    expires: Option<u64>,
    /// A word of yours, which is shown in the list.
    #[arg(long)]
    note: Option<String>,
    /// Show what was offered so far, and offer nothing.
    #[arg(long, conflicts_with_all = ["to", "scopes", "expires", "note"])]
    list: bool,
    /// Take an offer back.
    #[arg(long, value_name = "HANDOFF", conflicts_with_all = ["to", "scopes", "expires", "note", "list"])]
    revoke: Option<String>,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// Offers a session, lists its offers, or takes one back.
pub(super) async fn run(admin: &Admin, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let session = admin.find_session(&arguments.session).await?.id;
    if let Some(handoff) = &arguments.revoke {
        if handoff.len() != 32 || !handoff.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            bail!("`{}` is not a handoff's id: `--list` shows those there are", term::tame_line(handoff));
        }
        let said = asked(admin, Method::DELETE, &format!("/admin/v1/handoffs/{handoff}"), None).await?;
        return told(arguments, &said, || format!("took {handoff} back"));
    }
    if arguments.list {
        let said = asked(admin, Method::GET, &format!("/admin/v1/sessions/{session}/handoffs"), None).await?;
        return told(arguments, &said, || list(&said));
    }
    let mut terms = json!({});
    let members = [
        ("audience", arguments.to.as_ref().map(|to| json!(to))),
        ("scopes", Some(json!(arguments.scopes)).filter(|_| !arguments.scopes.is_empty())),
        ("expires_s", arguments.expires.map(Value::from)),
        ("note", arguments.note.as_ref().map(|note| json!(note))),
    ];
    for (name, value) in members {
        if let (Some(value), Some(terms)) = (value, terms.as_object_mut()) {
            terms.insert(name.to_owned(), value);
        }
    }
    let said = asked(admin, Method::POST, &format!("/admin/v1/sessions/{session}/handoff"), Some(&terms)).await?;
    told(arguments, &said, || text(&said, "token").to_owned())
}

/// Sends a request and reads the answer.
pub(in crate::cli) async fn asked(
    admin: &Admin,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let request = admin.request(method, path);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    admin.send(request).await?.json().await.context("the daemon's answer cannot be read")
}

/// A member that is a text; empty where there is none.
pub(in crate::cli) fn text<'a>(said: &'a Value, name: &str) -> &'a str {
    said.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn told(arguments: &Arguments, said: &Value, line: impl FnOnce() -> String) -> anyhow::Result<ExitCode> {
    if arguments.json {
        term::json(said)?;
    } else {
        term::line(line())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One line an offer: its id, what became of it, for whom it is, and its note.
fn list(said: &Value) -> String {
    let offers = said.get("handoffs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if offers.is_empty() {
        return "nothing was offered yet".to_owned();
    }
    let line = |offer: &Value| {
        let audience = match text(offer, "audience") {
            "" => "anybody",
            audience => audience,
        };
        let words = [text(offer, "handoff"), text(offer, "state"), audience, text(offer, "note")];
        term::tame_line(words.join("  ").trim_end())
    };
    offers.iter().map(line).collect::<Vec<_>>().join("\n")
}
