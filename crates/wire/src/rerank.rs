//! Reranking: a query and documents in, the documents' relevance out, as Cohere (v2) and Jina write it.
//!
//! ```text
//! POST /v1/rerank  {"model":"m","query":"…","documents":["…",{"text":"…"}],"top_n":2}
//!                  {"results":[{"index":3,"relevance_score":0.98},…],…}
//! ```
//!
//! There is one dialect, so nothing is translated: a request is looked over and forwarded, an answer is checked.

use std::ops::Range;

use bytes::Bytes;
use commonwatt_core::fault::{Fault, FaultKind};

use crate::answer::{is_error, read_json};
use crate::embed::model;
use crate::request::BadInput;
use crate::tape::{Kind, Tape};
use crate::{Dialect, adapt, fault};

/// A request to rank documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RerankCall {
    /// The route or model that the client named.
    pub model: String,
    /// How many documents there are.
    pub documents: usize,
    /// Where the value of `model` stands in the body, quotes included.
    pub(crate) model_range: Range<usize>,
}

impl RerankCall {
    /// The body for a provider: as the client wrote it, with `model` in it. In pieces, to be sent one after the other.
    #[must_use]
    pub fn adapted(&self, body: &Bytes, model: &str) -> Vec<Bytes> {
        if model == self.model { vec![body.clone()] } else { adapt::renamed(body, &self.model_range, model) }
    }
}

/// Reads a request.
///
/// # Errors
/// [`BadInput`] when the model, the query or the documents are missing or of the wrong kind.
pub fn open_rerank(body: &Bytes) -> Result<RerankCall, BadInput> {
    let mut tape = Tape::default();
    let root = tape.read(body).map_err(|error| BadInput::syntax(error, body))?;
    let (model, model_range) = model(&root)?;
    match root.get("query").map(|query| query.kind()) {
        // Jina ranks images too, which are objects.
        Some(Kind::String | Kind::Object) => {}
        Some(Kind::Array | Kind::Number | Kind::True | Kind::False | Kind::Null) => {
            return Err(BadInput::field("query", "a string"));
        }
        None => return Err(BadInput::new("the field `query` is missing: send the question in it")),
    }
    let Some(documents) = root.get("documents") else {
        return Err(BadInput::new("the field `documents` is missing: send the texts to be ranked in it"));
    };
    let readable = documents.items().all(|document| matches!(document.kind(), Kind::String | Kind::Object));
    let documents = documents.items().count();
    if documents == 0 || !readable {
        return Err(BadInput::field("documents", "an array of strings or objects that is not empty"));
    }
    Ok(RerankCall { model, documents, model_range })
}

/// Checks an answer and says how many results it holds.
///
/// # Errors
/// `Malformed` when it is not of this shape, `Empty` without results, `InBand` or a better kind when it is an error with a
/// success's status.
pub fn read_rerank(body: &[u8]) -> Result<u64, Fault> {
    let mut tape = Tape::default();
    let root = read_json(&mut tape, body, "the answer")?;
    if root.kind() != Kind::Object {
        return Err(Fault::new(FaultKind::Malformed, "the answer is not a JSON object"));
    }
    if is_error(&root) {
        return Err(fault::in_band(Dialect::OpenAiChat, body));
    }
    let Some(results) = root.get("results").filter(|results| results.kind() == Kind::Array) else {
        return Err(Fault::new(FaultKind::Malformed, "the answer has no `results`"));
    };
    let mut count = 0;
    for result in results.items() {
        let score = result.get("relevance_score").and_then(|score| score.number());
        if result.get_whole("index").is_none() || score.is_none() {
            return Err(Fault::new(FaultKind::Malformed, "a result of the answer has no index or no score"));
        }
        count += 1;
    }
    if count == 0 { Err(Fault::new(FaultKind::Empty, "the answer has no results")) } else { Ok(count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"query":"q", "model": "a", "documents":["x",{"text":"y"}], "top_n":1}"#;

    #[test]
    fn only_the_model_changes() {
        let body = Bytes::from_static(BODY);
        let call = open_rerank(&body).expect("valid");
        assert_eq!((call.model.as_str(), call.documents), ("a", 2));
        let sent = call.adapted(&body, "b").concat();
        assert_eq!(sent, br#"{"query":"q", "model": "b", "documents":["x",{"text":"y"}], "top_n":1}"#);
    }

    #[test]
    fn mistakes_name_the_field() {
        let told =
            |body: &'static str| open_rerank(&Bytes::from_static(body.as_bytes())).expect_err("wrong").to_string();
        assert_eq!(told(r#"{"model":"m"}"#), "the field `query` is missing: send the question in it");
        assert_eq!(told(r#"{"model":"m","query":1}"#), "the field `query` must be a string");
        let missing = "the field `documents` is missing: send the texts to be ranked in it";
        assert_eq!(told(r#"{"model":"m","query":"q"}"#), missing);
        let must = "the field `documents` must be an array of strings or objects that is not empty";
        assert_eq!(told(r#"{"model":"m","query":"q","documents":[]}"#), must);
        assert_eq!(told(r#"{"model":"m","query":"q","documents":[1]}"#), must);
        assert_eq!(told(r#"{"model":"m","query":"q","documents":"x"}"#), must);
    }

    #[test]
    fn an_answer_has_an_index_and_a_score_for_each_result() {
        let results = |list: &str| read_rerank(format!(r#"{{"results":{list}}}"#).as_bytes());
        assert_eq!(results(r#"[{"index":3,"relevance_score":0.98},{"index":0,"relevance_score":0.1}]"#), Ok(2));
        assert_eq!(results("[]").expect_err("empty").kind, FaultKind::Empty);
        assert_eq!(results(r#"[{"index":3}]"#).expect_err("no score").kind, FaultKind::Malformed);
        assert_eq!(results(r#"[{"relevance_score":1}]"#).expect_err("no index").kind, FaultKind::Malformed);
        assert_eq!(read_rerank(b"{}").expect_err("nothing").kind, FaultKind::Malformed);
        let refused = read_rerank(br#"{"error":{"message":"rate limit reached"}}"#).expect_err("refused");
        assert_eq!(refused.kind, FaultKind::RateLimited);
    }
}
