//! What a path asks for, and of whom.

use http::Method;

use crate::dialect::Dialect;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route<'a> {
    /// Whose words a refusal is in.
    pub(crate) dialect: Dialect,
    /// None when nothing is there.
    pub(crate) errand: Option<Errand>,
    pub(crate) address: Address<'a>,
}

/// What a path says that other dialects say in the body: Gemini names the model there, and whether to stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Address<'a> {
    pub(crate) model: Option<&'a str>,
    pub(crate) stream: bool,
    /// `alt=sse`: a stream of events rather than a JSON array.
    pub(crate) events: bool,
    /// `key=…`.
    pub(crate) key: Option<&'a str>,
}

/// What is wanted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// An answer of the model.
    Answer,
    /// The tokens of a prompt.
    CountTokens,
    /// Which models there are.
    Models,
    /// What one model is (Ollama).
    Show,
    /// Which release this is (Ollama).
    Version,
    /// Vectors for texts.
    Embeddings,
    /// Documents in the order of their relevance.
    Rerank,
}

impl Errand {
    pub(crate) fn method(self) -> Method {
        match self {
            Self::Answer | Self::CountTokens | Self::Show | Self::Embeddings | Self::Rerank => Method::POST,
            Self::Models | Self::Version => Method::GET,
        }
    }
}

impl<'a> Route<'a> {
    /// The route of a path; `anthropic` tells whose it is where two dialects share one.
    pub(crate) fn of(path: &'a str, query: Option<&'a str>, anthropic: bool) -> Self {
        let chat = Dialect::ChatCompletions;
        let (dialect, errand) = match path {
            "/v1/chat/completions" | "/chat/completions" => (chat, Errand::Answer),
            "/v1/messages" => (Dialect::Messages, Errand::Answer),
            "/v1/messages/count_tokens" => (Dialect::Messages, Errand::CountTokens),
            "/v1/responses" | "/responses" => (Dialect::Responses, Errand::Answer),
            "/v1/completions" | "/completions" => (Dialect::Completions, Errand::Answer),
            "/v1/models" | "/models" => (if anthropic { Dialect::Messages } else { chat }, Errand::Models),
            "/v1/embeddings" | "/embeddings" => (chat, Errand::Embeddings),
            "/v1/rerank" | "/rerank" => (chat, Errand::Rerank),
            "/api/chat" => (Dialect::OllamaChat, Errand::Answer),
            "/api/generate" => (Dialect::OllamaGenerate, Errand::Answer),
            "/api/tags" => (Dialect::OllamaChat, Errand::Models),
            "/api/show" => (Dialect::OllamaChat, Errand::Show),
            "/api/version" => (Dialect::OllamaChat, Errand::Version),
            "/api/embed" => (Dialect::OllamaChat, Errand::Embeddings),
            "/v1beta/models" => (Dialect::Gemini, Errand::Models),
            _ => return Self::beyond(path, query),
        };
        let address = Address { key: parameter(query, "key"), ..Address::default() };
        Self { dialect, errand: Some(errand), address }
    }

    /// The route of a path that names a model, or of one that leads nowhere.
    fn beyond(path: &'a str, query: Option<&'a str>) -> Self {
        let mut address = Address { key: parameter(query, "key"), ..Address::default() };
        address.events = parameter(query, "alt") == Some("sse");
        // A model's name may hold a colon; what is wanted of it stands after the last.
        if let Some((model, wanted)) = path.strip_prefix("/v1beta/models/").and_then(|rest| rest.rsplit_once(':')) {
            address.model = Some(model);
            address.stream = wanted == "streamGenerateContent";
            let errand = match wanted {
                "generateContent" | "streamGenerateContent" => Some(Errand::Answer),
                "countTokens" => Some(Errand::CountTokens),
                "batchEmbedContents" => Some(Errand::Embeddings),
                _ => None,
            };
            return Self { dialect: Dialect::Gemini, errand, address };
        }
        let dialect =
            [("/v1/messages", Dialect::Messages), ("/v1beta/", Dialect::Gemini), ("/api/", Dialect::OllamaChat)]
                .into_iter()
                .find_map(|(prefix, dialect)| path.starts_with(prefix).then_some(dialect))
                .unwrap_or(Dialect::ChatCompletions);
        Self { dialect, errand: None, address }
    }
}

fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    query?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_is_found_where_it_says_that_it_is() {
        for dialect in Dialect::ALL {
            for stream in [true, false] {
                let target = dialect.target("llama3:8b", stream);
                let (path, query) = target.split_once('?').map_or((target.as_str(), None), |(p, q)| (p, Some(q)));
                let route = Route::of(path, query, dialect == Dialect::Messages);
                assert_eq!((route.dialect, route.errand), (dialect, Some(Errand::Answer)));
                let expected = (dialect == Dialect::Gemini).then_some("llama3:8b");
                assert_eq!((route.address.model, route.address.stream), (expected, expected.is_some() && stream));
            }
            let route = Route::of(dialect.path(), None, false);
            assert_eq!((route.dialect, route.errand), (dialect, Some(Errand::Answer)));
        }
    }

    #[test]
    fn a_path_that_leads_nowhere_is_refused_in_the_words_of_its_neighbours() {
        for (path, dialect) in [
            ("/v1/nothing", Dialect::ChatCompletions),
            ("/v1/messages/batches", Dialect::Messages),
            ("/v1beta/models/m:sing", Dialect::Gemini),
            ("/v1beta/files", Dialect::Gemini),
            ("/api/pull", Dialect::OllamaChat),
        ] {
            let route = Route::of(path, None, false);
            assert_eq!((route.dialect, route.errand), (dialect, None), "{path}");
        }
    }

    #[test]
    fn keys_stand_in_the_query_too() {
        let route = Route::of("/v1beta/models/m:streamGenerateContent", Some("alt=sse&key=k-1"), false);
        let expected = Address { model: Some("m"), stream: true, events: true, key: Some("k-1") };
        assert_eq!(route.address, expected);
        assert_eq!(Route::of("/v1beta/models", Some("monkey=k"), false).address.key, None);
    }
}
