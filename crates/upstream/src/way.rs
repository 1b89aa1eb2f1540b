//! How one dialect is spoken to a provider: the address, the credentials, the headers.

use commonwatt_core::fault::{Fault, FaultKind};
use commonwatt_wire::Dialect;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};

use crate::Order;
use crate::pieces::Pieces;

/// What is asked of a model's address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Answer,
    Stream,
    Count,
    Embed,
}

/// How one dialect is spoken to a provider.
pub(crate) struct Way {
    pub(crate) dialect: Dialect,
    address: Address,
    credentials: HeaderMap,
}

enum Address {
    /// The same for all models; with one for counts, where there is one.
    Fixed { answer: Uri, count: Option<Uri> },
    /// The model is part of it: everything before its name.
    OfModel(String),
}

impl Way {
    pub(crate) fn new(dialect: Dialect, base_url: &str, key: Option<&str>) -> Result<Self, String> {
        let base = base_url.trim_end_matches('/');
        let uri = |text: &str| {
            let parsed = text.parse::<Uri>().ok().filter(|uri| uri.scheme().is_some() && uri.authority().is_some());
            parsed.ok_or_else(|| format!("`{base_url}` is not an address: write `https://host/path`"))
        };
        let fixed =
            |path: &str| Ok::<_, String>(Address::Fixed { answer: uri(&format!("{base}{path}"))?, count: None });
        let address = match dialect {
            Dialect::OpenAiChat => fixed("/chat/completions")?,
            Dialect::OpenAiResponses => fixed("/responses")?,
            Dialect::OpenAiCompletions => fixed("/completions")?,
            Dialect::OllamaChat => fixed("/api/chat")?,
            Dialect::OllamaGenerate => fixed("/api/generate")?,
            Dialect::AnthropicMessages => {
                let base = base.strip_suffix("/v1").unwrap_or(base);
                let count = uri(&format!("{base}/v1/messages/count_tokens"))?;
                Address::Fixed { answer: uri(&format!("{base}/v1/messages"))?, count: Some(count) }
            }
            Dialect::Gemini => {
                let base = base.strip_suffix("/v1beta").unwrap_or(base);
                uri(base)?;
                Address::OfModel(format!("{base}/v1beta/models/"))
            }
        };
        Ok(Self { dialect, address, credentials: credentials(dialect, key)? })
    }

    pub(crate) fn uri(&self, model: &str, verb: Verb) -> Result<Uri, Fault> {
        match (&self.address, verb) {
            (Address::Fixed { count: Some(count), .. }, Verb::Count) => Ok(count.clone()),
            (Address::Fixed { answer, .. }, _) => Ok(answer.clone()),
            (Address::OfModel(before), _) => {
                let verb = match verb {
                    Verb::Answer => "generateContent",
                    Verb::Stream => "streamGenerateContent?alt=sse",
                    Verb::Count => "countTokens",
                    Verb::Embed => "batchEmbedContents",
                };
                let no_name = |_| Fault::new(FaultKind::ModelNotFound, "the model's name cannot stand in an address");
                format!("{before}{model}:{verb}").parse().map_err(no_name)
            }
        }
    }

    pub(crate) fn request(&self, uri: &Uri, body: Pieces, order: &Order<'_>) -> Request<Pieces> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.credentials);
        if let Ok(via) = HeaderValue::from_str(order.via) {
            headers.insert(VIA, via);
        }
        if order.dialect == self.dialect {
            for (name, value) in order.headers {
                if let Ok(value) = HeaderValue::from_maybe_shared(value.clone()) {
                    headers.insert(HeaderName::from_static(name), value);
                }
            }
        }
        request
    }
}

/// For whom a provider counts a prompt's tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    /// For everybody: what is counted is a request like any other, inside another.
    InAWholeRequest,
    /// For callers of its own dialect: what is counted has fewer members than a request, and others are refused.
    ForItsOwn,
    /// For nobody.
    Never,
}

/// For whom a provider of this dialect counts.
pub(crate) fn counts(dialect: Dialect) -> Counts {
    match dialect {
        Dialect::Gemini => Counts::InAWholeRequest,
        Dialect::AnthropicMessages => Counts::ForItsOwn,
        Dialect::OpenAiChat
        | Dialect::OpenAiResponses
        | Dialect::OllamaChat
        | Dialect::OllamaGenerate
        | Dialect::OpenAiCompletions => Counts::Never,
    }
}

/// Names this daemon to the daemons it may call, so that a loop is noticed.
pub(crate) const VIA: HeaderName = HeaderName::from_static("x-commonwatt-via");

fn credentials(dialect: Dialect, key: Option<&str>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("commonwatt/", env!("CARGO_PKG_VERSION"))));
    if dialect == Dialect::AnthropicMessages {
        headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    }
    let Some(key) = key else { return Ok(headers) };
    let (name, text) = match dialect {
        Dialect::AnthropicMessages => (HeaderName::from_static("x-api-key"), key.to_owned()),
        Dialect::Gemini => (HeaderName::from_static("x-goog-api-key"), key.to_owned()),
        Dialect::OpenAiChat
        | Dialect::OpenAiResponses
        | Dialect::OllamaChat
        | Dialect::OllamaGenerate
        | Dialect::OpenAiCompletions => (header::AUTHORIZATION, format!("Bearer {key}")),
    };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| "the key has characters that cannot be sent: copy it again without line breaks".to_owned())?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_a_line_break_is_refused_without_being_shown() {
        let error = credentials(Dialect::OpenAiChat, Some("sk-secret\nx")).expect_err("not a header");
        assert!(!error.contains("secret"));
    }

    #[test]
    fn the_model_stands_in_geminis_address_and_in_no_other() {
        let at = |dialect, base| Way::new(dialect, base, None).expect("an address");
        let gemini = at(Dialect::Gemini, "https://g.example/v1beta/");
        let uri = gemini.uri("gemini-3-pro", Verb::Stream).expect("an address");
        assert_eq!(uri, "https://g.example/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse");
        assert!(gemini.uri("a model", Verb::Answer).is_err());
        let chat = at(Dialect::OpenAiChat, "https://o.example/v1");
        assert_eq!(chat.uri("a model", Verb::Stream).expect("an address"), "https://o.example/v1/chat/completions");
    }
}
