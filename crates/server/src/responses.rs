//! The stateful part of OpenAI's API: responses that are kept, and conversations.
//!
//! `include` may be sent and changes nothing: what there is of an item is always shown.

use bytes::Bytes;
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_grid::bus::Bus;
use commonwatt_grid::bus::conversations::Conversation;
use commonwatt_upstream::body::KeptBody;
use commonwatt_wire::conversations::{
    read_conversation_update, read_new_conversation, read_new_items, write_conversation, write_deleted,
};
use commonwatt_wire::items::{Listed, write_list};
use commonwatt_wire::{BadInput, Dialect};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use percent_encoding::percent_decode_str;

use crate::respond::{self, Body};
use crate::{Lobby, doors};

/// In whose words a caller is refused here.
const DIALECT: Dialect = Dialect::OpenAiResponses;
/// Items of a page: as many as OpenAI gives and takes.
const PAGE_ITEMS: usize = 20;
const PAGE_ITEMS_MAX: usize = 100;

/// A path of what is kept, with the ids that stand in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Response(String),
    InputItems(String),
    Cancel(String),
    /// What is left of an answer that is made whoever listens.
    Answer(String),
    Conversations,
    Conversation(String),
    Items(String),
    Item(String, String),
}

impl Kept {
    pub(crate) fn at(path: &str) -> Option<Self> {
        // Most calls go elsewhere, and are not kept waiting.
        const ROOTS: [&str; 3] = ["/v1/responses/", "/v1/conversations", "/v1/answers/"];
        if !ROOTS.iter().any(|root| path.starts_with(root)) {
            return None;
        }
        let id = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let parts: Vec<&str> = path.strip_prefix("/v1/")?.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        Some(match parts.as_slice() {
            ["responses", response] => Self::Response(id(response)),
            ["responses", response, "input_items"] => Self::InputItems(id(response)),
            ["responses", response, "cancel"] => Self::Cancel(id(response)),
            ["answers", call] => Self::Answer(id(call)),
            ["conversations"] => Self::Conversations,
            ["conversations", conversation] => Self::Conversation(id(conversation)),
            ["conversations", conversation, "items"] => Self::Items(id(conversation)),
            ["conversations", conversation, "items", item] => Self::Item(id(conversation), id(item)),
            [..] => return None,
        })
    }

    /// The methods that it takes, as `Allow` lists them.
    fn allowed(&self) -> &'static str {
        match self {
            Self::Response(_) | Self::Item(..) => "GET, DELETE",
            Self::InputItems(_) | Self::Answer(_) => "GET",
            Self::Conversations | Self::Cancel(_) => "POST",
            Self::Conversation(_) => "GET, POST, DELETE",
            Self::Items(_) => "GET, POST",
        }
    }

    fn takes(&self, method: &Method) -> bool {
        let asked = if *method == Method::HEAD { &Method::GET } else { method };
        self.allowed().split(", ").any(|allowed| allowed == asked.as_str())
    }
}

/// Answers a request for what is kept.
pub(crate) async fn enter(lobby: &Lobby, kept: Kept, request: Request<Incoming>) -> Response<Body> {
    if !kept.takes(request.method()) {
        return doors::wrong_method(lobby, &request, DIALECT, kept.allowed());
    }
    let streamed = match &kept {
        Kept::Answer(call) => Some(rest(lobby, call, &request)),
        Kept::Response(id) if *request.method() != Method::DELETE && is_streamed(&request) => {
            Some(stream(lobby, id, &request).await)
        }
        Kept::Response(_)
        | Kept::InputItems(_)
        | Kept::Cancel(_)
        | Kept::Conversations
        | Kept::Conversation(_)
        | Kept::Items(_)
        | Kept::Item(..) => None,
    };
    let answered = match streamed {
        Some(streamed) => streamed,
        None => serve(lobby, kept, request).await.map(respond::json),
    };
    answered.unwrap_or_else(|refused| doors::refuse(lobby, DIALECT, &refused))
}

fn is_streamed(request: &Request<Incoming>) -> bool {
    value_of(request.uri().query(), "stream").is_some_and(|stream| stream == "true")
}

/// `GET /v1/responses/{id}?stream=true&starting_after=N`
async fn stream(lobby: &Lobby, id: &str, request: &Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let principal = doors::identify(lobby, request)?;
    let after = value_of(request.uri().query(), "starting_after");
    let after = after.map(|after| number(&after, "starting_after")).transpose()?;
    let follower = lobby.grid.response_stream(&principal.name, id, after).await?;
    Ok(respond::followed(DIALECT, follower, None))
}

/// `GET /v1/answers/{call}`, with `Last-Event-ID: N`
fn rest(lobby: &Lobby, call: &str, request: &Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let principal = doors::identify(lobby, request)?;
    let after = request.headers().get("last-event-id").map(|after| after.to_str().unwrap_or("?"));
    let after = after.map(|after| number(after, "Last-Event-ID")).transpose()?;
    let (dialect, follower) = lobby.grid.rest_of(&principal.name, call, after)?;
    Ok(respond::followed(dialect, follower, None))
}

fn number(text: &str, name: &str) -> Result<u64, Refusal> {
    text.trim().parse().map_err(|_| wrong(format!("`{name}` must be the number of an event")))
}

async fn serve(lobby: &Lobby, kept: Kept, request: Request<Incoming>) -> Result<Vec<u8>, Refusal> {
    let principal = doors::identify(lobby, &request)?.name;
    let bus = lobby.grid.bus().ok_or_else(|| nothing_kept(request.uri().path()))?;
    let asked = Asked { principal: &principal, bus };
    let method = request.method().clone();
    match kept {
        Kept::Response(id) if method == Method::DELETE => {
            lobby.grid.delete_response(&principal, &id).await?;
            Ok(write_deleted(&id, "response"))
        }
        Kept::Response(id) => Ok(lobby.grid.response(&principal, &id).await?.into()),
        Kept::Cancel(id) => Ok(lobby.grid.cancel_response(&principal, &id).await?.into()),
        Kept::Answer(call) => Err(Refusal::new(RefusalKind::NotKept, shortened(&call))),
        Kept::InputItems(id) => listing(bus.input_items(&principal, &id).await?, request.uri().query()),
        Kept::Conversations => asked.begin(&body(lobby, request).await?).await,
        Kept::Conversation(id) if method == Method::DELETE => asked.delete_conversation(&id).await,
        Kept::Conversation(id) if method == Method::POST => asked.describe(&id, &body(lobby, request).await?).await,
        Kept::Conversation(id) => Ok(written(&bus.conversation(&principal, &id).await?)),
        Kept::Items(id) if method == Method::POST => asked.add(&id, &body(lobby, request).await?).await,
        Kept::Items(id) => listing(bus.conversation_items(&principal, &id).await?, request.uri().query()),
        Kept::Item(id, item) if method == Method::DELETE => {
            Ok(written(&bus.delete_item(&principal, &id, &item).await?))
        }
        Kept::Item(id, item) => asked.item(&id, &item).await,
    }
}

/// Who asks, and of what.
struct Asked<'a> {
    principal: &'a str,
    bus: &'a Bus,
}

impl Asked<'_> {
    async fn begin(&self, body: &Bytes) -> Result<Vec<u8>, Refusal> {
        let new = read_new_conversation(body).map_err(|error| bad(&error))?;
        Ok(written(&self.bus.begin_conversation(self.principal, new).await?))
    }

    async fn describe(&self, id: &str, body: &Bytes) -> Result<Vec<u8>, Refusal> {
        let metadata = read_conversation_update(body).map_err(|error| bad(&error))?;
        Ok(written(&self.bus.describe_conversation(self.principal, id, metadata).await?))
    }

    async fn delete_conversation(&self, id: &str) -> Result<Vec<u8>, Refusal> {
        self.bus.delete_conversation(self.principal, id).await?;
        Ok(write_deleted(id, "conversation.deleted"))
    }

    async fn add(&self, id: &str, body: &Bytes) -> Result<Vec<u8>, Refusal> {
        let items = read_new_items(body).map_err(|error| bad(&error))?;
        Ok(write_list(&self.bus.add_items(self.principal, id, items).await?, false))
    }

    async fn item(&self, id: &str, item: &str) -> Result<Vec<u8>, Refusal> {
        let items = self.bus.conversation_items(self.principal, id).await?;
        let found = items.into_iter().find(|listed| listed.id == item);
        let found = found.ok_or_else(|| {
            Refusal::new(RefusalKind::NotKept, format!("Item with id '{}' not found.", shortened(item)))
        })?;
        Ok(found.json.0.into())
    }
}

fn written(conversation: &Conversation) -> Vec<u8> {
    let Conversation { id, created_unix_s, metadata } = conversation;
    write_conversation(id, *created_unix_s, metadata)
}

fn nothing_kept(path: &str) -> Refusal {
    let message = format!("nothing is kept here that `{}` could name: switch `[bus]` on", shortened(path));
    Refusal::new(RefusalKind::NotKept, message)
}

fn bad(error: &BadInput) -> Refusal {
    Refusal::new(RefusalKind::BadRequest, error.to_string())
}

/// What came from outside, as much of it as a refusal repeats.
fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

async fn body(lobby: &Lobby, request: Request<Incoming>) -> Result<Bytes, Refusal> {
    match doors::keep(request.into_body(), None, lobby.body_bytes_max).await? {
        KeptBody::Memory(body) => Ok(body),
        kept @ KeptBody::Spilled { .. } => {
            kept.bytes().await.map_err(|fault| Refusal::new(RefusalKind::Internal, fault.message))
        }
    }
}

/// The page of a list, oldest first, that a query asks for.
fn listing(items: Vec<Listed>, query: Option<&str>) -> Result<Vec<u8>, Refusal> {
    let value = |name: &str| value_of(query, name);
    let limit = match value("limit").as_deref().map(str::parse::<usize>) {
        None => PAGE_ITEMS,
        Some(Ok(limit)) if (1..=PAGE_ITEMS_MAX).contains(&limit) => limit,
        Some(_) => return Err(wrong(format!("`limit` must be a number from 1 to {PAGE_ITEMS_MAX}"))),
    };
    let mut items = items;
    match value("order").as_deref() {
        None | Some("desc") => items.reverse(),
        Some("asc") => {}
        Some(_) => return Err(wrong("`order` must be `asc` or `desc`".to_owned())),
    }
    if let Some(after) = value("after") {
        let at = items.iter().position(|item| item.id == after);
        let at = at.ok_or_else(|| wrong(format!("`after` names no item of this list: '{}'", shortened(&after))))?;
        items.drain(..=at);
    }
    let has_more = items.len() > limit;
    items.truncate(limit);
    Ok(write_list(&items, has_more))
}

fn wrong(message: String) -> Refusal {
    Refusal::new(RefusalKind::BadRequest, message)
}

/// The value of a query's parameter.
pub(crate) fn value_of(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use commonwatt_core::call::RawJson;
    use serde_json::Value;

    use super::*;

    fn listed(query: &str) -> Result<(Vec<String>, bool), Refusal> {
        let items = (0..30).map(|at| Listed { id: format!("msg_{at}"), json: RawJson(format!("{at}").into()) });
        let page: Value = serde_json::from_slice(&listing(items.collect(), Some(query))?).unwrap();
        let data = page["data"].as_array().unwrap().iter().map(Value::to_string).collect();
        Ok((data, page["has_more"].as_bool().unwrap()))
    }

    #[test]
    fn a_list_is_told_newest_first_twenty_at_once_unless_asked_otherwise() {
        let (page, has_more) = listed("").unwrap();
        assert_eq!((page.len(), page[0].as_str(), has_more), (20, "29", true));
        let (page, has_more) = listed("order=asc&limit=100&include%5B%5D=x").unwrap();
        assert_eq!((page.len(), page[0].as_str(), has_more), (30, "0", false));
        let (page, has_more) = listed("after=msg%5F3&limit=2").unwrap();
        assert_eq!((page, has_more), (vec!["2".to_owned(), "1".to_owned()], true));
        let (page, has_more) = listed("after=msg_28&order=asc").unwrap();
        assert_eq!((page, has_more), (vec!["29".to_owned()], false));
        for wrong in ["limit=0", "limit=101", "limit=x", "order=up", "after=msg_x"] {
            assert_eq!(listed(wrong).unwrap_err().kind, RefusalKind::BadRequest, "{wrong}");
        }
    }

    #[test]
    fn a_path_names_what_is_kept_by_ids_of_any_letters() {
        let response = |id: &str| Some(Kept::Response(id.to_owned()));
        assert_eq!(Kept::at("/v1/responses/resp_1"), response("resp_1"));
        assert_eq!(Kept::at("/v1/responses/..%2F..%2Fetc"), response("../../etc"));
        assert_eq!(Kept::at("/v1/responses/%FF%00"), response("\u{fffd}\0"));
        assert_eq!(Kept::at("/v1/conversations/a/items/b"), Some(Kept::Item("a".into(), "b".into())));
        for nothing in
            ["/v1/responses", "/v1/responses/", "/v1/conversations/a/", "/v1/conversations/a/b", "/v1/models/x"]
        {
            assert_eq!(Kept::at(nothing), None, "{nothing}");
        }
    }
}
