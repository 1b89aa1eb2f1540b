//! Lists of models, and counts of tokens.

use crate::emit::{self, Object};
use crate::tape::Tape;
use crate::{BadInput, Dialect};

/// A model that can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelLine {
    /// What to write in `model`.
    pub id: String,
    /// Since when, in seconds since 1970; zero when nobody knows.
    pub created_unix_s: u64,
    /// Who serves it.
    pub owned_by: String,
    /// Its name for people.
    pub display: String,
    /// Whether it is known to call functions.
    pub tools: bool,
    /// Whether it is known to read images.
    pub images: bool,
}

/// The body of `GET /v1/models`.
#[must_use]
pub fn write_models(dialect: Dialect, models: &[ModelLine]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + models.len() * 128);
    let mut body = Object::open(&mut out);
    if names_objects(dialect) {
        body.string("object", "list");
    }
    let mut data = body.array(match dialect {
        Dialect::Gemini | Dialect::OllamaChat | Dialect::OllamaGenerate => "models",
        Dialect::OpenAiChat | Dialect::AnthropicMessages | Dialect::OpenAiResponses | Dialect::OpenAiCompletions => {
            "data"
        }
    });
    for model in models {
        line(dialect, model, data.item());
    }
    data.close();
    if dialect == Dialect::AnthropicMessages {
        body.boolean("has_more", false);
        for (name, model) in [("first_id", models.first()), ("last_id", models.last())] {
            match model {
                Some(model) => body.string(name, &model.id),
                None => body.null(name),
            }
        }
    }
    body.close();
    out
}

/// Whether every object of the dialect says what it is.
fn names_objects(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::OpenAiCompletions)
}

/// The body of `GET /v1/models/{id}`.
#[must_use]
pub fn write_model(dialect: Dialect, model: &ModelLine) -> Vec<u8> {
    let mut out = Vec::with_capacity(192);
    line(dialect, model, &mut out);
    out
}

fn line(dialect: Dialect, model: &ModelLine, out: &mut Vec<u8>) {
    let mut line = Object::open(out);
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::OpenAiCompletions => {
            line.string("id", &model.id);
            line.string("object", "model");
            line.whole("created", model.created_unix_s);
            line.string("owned_by", &model.owned_by);
        }
        Dialect::AnthropicMessages => {
            line.string("type", "model");
            line.string("id", &model.id);
            line.string("display_name", &model.display);
            line.string("created_at", &rfc3339(model.created_unix_s));
            line.string("lifecycle", "active");
        }
        Dialect::Gemini => {
            line.string("name", &format!("models/{}", model.id));
            line.string("baseModelId", &model.id);
            line.string("version", "1");
            line.string("displayName", &model.display);
            let mut methods = line.array("supportedGenerationMethods");
            ["generateContent", "streamGenerateContent", "countTokens"]
                .iter()
                .for_each(|method| methods.string(method));
            methods.close();
        }
        Dialect::OllamaChat | Dialect::OllamaGenerate => {
            line.string("name", &model.id);
            line.string("model", &model.id);
            line.string("modified_at", &rfc3339(model.created_unix_s));
            line.whole("size", 0);
            line.string("digest", "");
            let mut details = line.object("details");
            details.string("parent_model", "");
            details.string("format", "");
            details.string("family", &model.owned_by);
            details.null("families");
            details.string("parameter_size", "");
            details.string("quantization_level", "");
            details.close();
        }
    }
    line.close();
}

/// The field in which a dialect tells the length of a prompt in tokens.
fn token_field(dialect: Dialect) -> &'static str {
    if dialect == Dialect::Gemini { "totalTokens" } else { "input_tokens" }
}

/// The body of an answer to `POST /v1/messages/count_tokens`, or to Gemini's `:countTokens`.
#[must_use]
pub fn write_token_count(dialect: Dialect, tokens: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    let mut body = Object::open(&mut out);
    emit::whole(body.key(token_field(dialect)), tokens);
    body.close();
    out
}

/// Reads such an answer.
#[must_use]
pub fn read_token_count(dialect: Dialect, body: &[u8]) -> Option<u64> {
    Tape::default().read(body).ok()?.get_whole(token_field(dialect))
}

/// Reads the body of Ollama's `POST /api/show`: the model that is meant.
///
/// # Errors
/// [`BadInput`] when it names none.
pub fn read_shown_model(body: &[u8]) -> Result<String, BadInput> {
    let mut tape = Tape::default();
    let root = tape.read(body).map_err(|error| BadInput::syntax(error, body))?;
    let model = root.get_string("model").or_else(|| root.get_string("name"));
    let missing = || BadInput::new("the field `model` is missing: name the model to be shown");
    model.map(std::borrow::Cow::into_owned).ok_or_else(missing)
}

/// The body of an answer to Ollama's `POST /api/show`.
#[must_use]
pub fn write_shown_model(model: &ModelLine) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut body = Object::open(&mut out);
    for name in ["license", "modelfile", "parameters", "template"] {
        body.string(name, "");
    }
    let mut details = body.object("details");
    details.string("parent_model", "");
    details.string("format", "");
    details.string("family", &model.owned_by);
    details.array("families").close();
    details.string("parameter_size", "");
    details.string("quantization_level", "");
    details.close();
    let mut info = body.object("model_info");
    info.string("general.architecture", &model.owned_by);
    info.string("general.basename", &model.id);
    info.close();
    let mut abilities = body.array("capabilities");
    abilities.string("completion");
    for (name, known) in [("tools", model.tools), ("vision", model.images)] {
        if known {
            abilities.string(name);
        }
    }
    abilities.close();
    body.string("modified_at", &rfc3339(model.created_unix_s));
    body.close();
    out
}

/// A moment as RFC 3339 in UTC, such as `2026-11-20T22:33:14Z`.
pub(crate) fn rfc3339(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Days since 0000-03-01, in eras of 400 years, so that the leap day is the last of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_as_people_write_them() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_795_213_994), "2026-11-20T22:33:14Z");
    }

    #[test]
    fn each_dialect_lists_models_its_own_way() {
        let line = ModelLine {
            id: "engine/pilot".into(),
            created_unix_s: 0,
            owned_by: "engine".into(),
            display: "Pilot".into(),
            tools: true,
            images: false,
        };
        let told = |dialect, lines: &[ModelLine]| String::from_utf8(write_models(dialect, lines)).expect("text");
        assert_eq!(
            told(Dialect::OpenAiChat, std::slice::from_ref(&line)),
            r#"{"object":"list","data":[{"id":"engine/pilot","object":"model","created":0,"owned_by":"engine"}]}"#
        );
        assert_eq!(
            told(Dialect::AnthropicMessages, &[line]),
            r#"{"data":[{"type":"model","id":"engine/pilot","display_name":"Pilot","created_at":"1970-01-01T00:00:00Z","lifecycle":"active"}],"has_more":false,"first_id":"engine/pilot","last_id":"engine/pilot"}"#
        );
        assert_eq!(
            told(Dialect::AnthropicMessages, &[]),
            r#"{"data":[],"has_more":false,"first_id":null,"last_id":null}"#
        );
    }

    #[test]
    fn a_count_reads_back() {
        for dialect in [Dialect::AnthropicMessages, Dialect::Gemini] {
            assert_eq!(read_token_count(dialect, &write_token_count(dialect, 1234)), Some(1234));
            assert_eq!(read_token_count(dialect, b"{}"), None);
        }
    }
}
