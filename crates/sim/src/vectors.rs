//! Embeddings and the order of documents: no dialect's answers, but on the same ports.
//!
//! A text's vector is the sum of the vectors of its words, so texts that share words lie close. Everything depends on
//! seed, model and text only.

use serde_json::{Value, json};

use crate::chance::{Chance, digest};
use crate::dialect::{Denial, count, field, list, words};

/// Numbers in a vector, unless the request says otherwise.
const DIMENSIONS: usize = 64;
/// Most that a request may ask for.
const MOST_DIMENSIONS: usize = 4096;
/// Texts in one request.
const MOST_TEXTS: usize = 2048;
/// The same for Google.
const MOST_IN_A_BATCH: usize = 100;

/// What `POST /v1/embeddings` answers.
pub(crate) fn openai(body: &[u8], seed: u64) -> Result<Value, Denial> {
    let request = object(body)?;
    let texts = texts(field(&request, "input")).ok_or_else(|| missing("input"))?;
    let base64 = match field(&request, "encoding_format").as_str() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message = format!("Invalid value: '{other}'. Supported values are: 'float' and 'base64'.");
            return Err(Denial::new(400, message).with_param("encoding_format"));
        }
    };
    let dimensions = dimensions(&request)?;
    let model = words(&request, "model");
    let data: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = vector(seed, &model, text, dimensions);
            let embedding = if base64 { json!(in_base64(&little_endian(&vector))) } else { json!(vector) };
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        })
        .collect();
    let tokens = tokens(&texts);
    Ok(json!({
        "object": "list",
        "data": data,
        "model": model,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    }))
}

/// What `POST /api/embed` answers.
pub(crate) fn ollama(body: &[u8], seed: u64) -> Result<Value, Denial> {
    let request = object(body)?;
    let texts = texts(field(&request, "input")).ok_or_else(|| missing("input"))?;
    let dimensions = dimensions(&request)?;
    let model = words(&request, "model");
    let vectors: Vec<_> = texts.iter().map(|text| vector(seed, &model, text, dimensions)).collect();
    Ok(json!({
        "model": model,
        "embeddings": vectors,
        "total_duration": 3_000_000,
        "load_duration": 2_000_000,
        "prompt_eval_count": tokens(&texts),
    }))
}

/// What `POST /v1beta/models/{model}:batchEmbedContents` answers.
pub(crate) fn gemini(body: &[u8], seed: u64) -> Result<Value, Denial> {
    let unreadable = |error: serde_json::Error| Denial::new(400, format!("Invalid JSON payload received. {error}"));
    let request: Value = serde_json::from_slice(body).map_err(unreadable)?;
    let requests = list(&request, "requests");
    if requests.is_empty() || requests.len() > MOST_IN_A_BATCH {
        return Err(Denial::new(400, "* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch"));
    }
    let (mut vectors, mut all) = (Vec::new(), Vec::new());
    for request in requests {
        let model = words(request, "model");
        let text =
            request.pointer("/content/parts/0/text").and_then(Value::as_str).ok_or_else(|| missing("content"))?;
        let dimensions = count(request, "outputDimensionality").unwrap_or(DIMENSIONS);
        vectors.push(json!({ "values": vector(seed, &model, text, dimensions.clamp(1, MOST_DIMENSIONS)) }));
        all.push(text.to_owned());
    }
    Ok(json!({ "embeddings": vectors, "usageMetadata": { "promptTokenCount": tokens(&all) } }))
}

/// What `POST /v1/rerank` answers: documents, the most relevant first.
pub(crate) fn rerank(body: &[u8], seed: u64) -> Result<Value, Denial> {
    let request = object(body)?;
    let query = field(&request, "query").as_str().ok_or_else(|| missing("query"))?;
    let documents = list(&request, "documents");
    if documents.is_empty() || documents.len() > MOST_TEXTS {
        return Err(missing("documents"));
    }
    let texts = documents
        .iter()
        .map(|document| document.as_str().or_else(|| field(document, "text").as_str()).map(str::to_owned))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| missing("documents"))?;
    let model = words(&request, "model");
    let wanted = vector(seed, &model, query, DIMENSIONS);
    let score = |text: &str| {
        let cosine: f32 = vector(seed, &model, text, DIMENSIONS).iter().zip(&wanted).map(|(a, b)| a * b).sum();
        f64::from(cosine.clamp(0.0, 1.0))
    };
    let mut scored: Vec<_> = texts.iter().map(|text| score(text)).enumerate().collect();
    scored.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    scored.truncate(count(&request, "top_n").unwrap_or(usize::MAX));
    let with_documents = field(&request, "return_documents").as_bool() == Some(true);
    let results: Vec<_> = scored
        .into_iter()
        .map(|(index, score)| match texts.get(index).filter(|_| with_documents) {
            Some(text) => json!({ "index": index, "relevance_score": score, "document": { "text": text } }),
            None => json!({ "index": index, "relevance_score": score }),
        })
        .collect();
    Ok(json!({ "model": model, "results": results, "usage": { "total_tokens": tokens(&texts) } }))
}

fn object(body: &[u8]) -> Result<Value, Denial> {
    let request: Value = serde_json::from_slice(body)
        .map_err(|error| Denial::new(400, format!("We could not parse the JSON body of your request: {error}")))?;
    if words(&request, "model").is_empty() { Err(missing("model")) } else { Ok(request) }
}

fn missing(name: &str) -> Denial {
    Denial::new(400, format!("Missing required parameter: '{name}'.")).with_param(name)
}

fn dimensions(request: &Value) -> Result<usize, Denial> {
    match count(request, "dimensions") {
        None => Ok(DIMENSIONS),
        Some(dimensions @ 1..=MOST_DIMENSIONS) => Ok(dimensions),
        Some(_) => {
            let message = format!("'dimensions' must be from 1 to {MOST_DIMENSIONS}.");
            Err(Denial::new(400, message).with_param("dimensions"))
        }
    }
}

/// The texts of an `input`: one or several, as words or as tokens.
fn texts(input: &Value) -> Option<Vec<String>> {
    let tokens =
        |value: &Value| value.as_array().filter(|ids| ids.iter().all(Value::is_u64)).map(|_| value.to_string());
    let texts = match input {
        Value::String(text) => vec![text.clone()],
        Value::Array(many) if many.iter().all(Value::is_u64) => vec![tokens(input)?],
        Value::Array(many) => {
            many.iter().map(|one| one.as_str().map(str::to_owned).or_else(|| tokens(one))).collect::<Option<_>>()?
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return None,
    };
    (1..=MOST_TEXTS).contains(&input.as_array().map_or(1, Vec::len)).then_some(texts)
}

fn tokens(texts: &[String]) -> usize {
    texts.iter().map(|text| text.len().div_ceil(4)).sum()
}

/// The vector of a text, of length 1.
fn vector(seed: u64, model: &str, text: &str, dimensions: usize) -> Vec<f32> {
    let mut sum = vec![0.0_f64; dimensions];
    for word in text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).chain([""]) {
        let key = digest([seed.to_le_bytes().as_slice(), model.as_bytes(), word.to_lowercase().as_bytes()]);
        let mut chance = Chance::new(key);
        // The empty word, which every text has, only keeps a text without words from having no length.
        let weight = if word.is_empty() { 1e-3 } else { 1.0 };
        sum.iter_mut().for_each(|number| *number += weight * (chance.fraction() - 0.5));
    }
    let length = sum.iter().map(|number| number * number).sum::<f64>().sqrt();
    sum.iter().map(|number| (number / length.max(f64::MIN_POSITIVE)) as f32).collect()
}

fn little_endian(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// RFC 4648, section 4. Written out, because nothing else here needs the library.
fn in_base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = usize::try_from(bits >> (18 - 6 * at) & 63).ok().and_then(|index| ALPHABET.get(index));
            let padding = usize::try_from(at).is_ok_and(|at| at > group.len());
            text.push(if padding { '=' } else { letter.copied().map_or('=', char::from) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(call: fn(&[u8], u64) -> Result<Value, Denial>, request: &Value) -> Value {
        call(request.to_string().as_bytes(), 1).unwrap()
    }

    #[test]
    fn base64_is_that_of_the_standard() {
        // RFC 4648, section 10.
        for (bytes, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(in_base64(bytes.as_bytes()), expected);
        }
        assert_eq!(in_base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn a_vector_has_the_length_one_and_depends_on_seed_model_and_text() {
        let own = vector(1, "m", "the old well", 64);
        let length: f32 = own.iter().map(|n| n * n).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
        assert_eq!(own, vector(1, "m", "The OLD well!", 64));
        for other in [vector(2, "m", "the old well", 64), vector(1, "n", "the old well", 64), vector(1, "m", "", 64)] {
            assert_ne!(own, other);
        }
    }

    #[test]
    fn embeddings_are_numbers_or_base64_of_the_same_numbers() {
        let floats = asked(openai, &json!({ "model": "m", "input": ["a", "b"], "dimensions": 3 }));
        assert_eq!((&floats["object"], floats["data"].as_array().unwrap().len()), (&json!("list"), 2));
        assert_eq!((&floats["data"][1]["object"], &floats["data"][1]["index"]), (&json!("embedding"), &json!(1)));
        assert_eq!(floats["usage"], json!({ "prompt_tokens": 2, "total_tokens": 2 }));
        let vector: Vec<f32> = serde_json::from_value(floats["data"][0]["embedding"].clone()).unwrap();
        let packed =
            asked(openai, &json!({ "model": "m", "input": "a", "dimensions": 3, "encoding_format": "base64" }));
        assert_eq!(packed["data"][0]["embedding"], in_base64(&little_endian(&vector)));
        let own = asked(ollama, &json!({ "model": "m", "input": "a", "dimensions": 3 }));
        assert_eq!((&own["embeddings"][0], &own["prompt_eval_count"]), (&json!(vector), &json!(1)));
        let tokens = asked(openai, &json!({ "model": "m", "input": [[1, 2], [3]] }));
        assert_eq!(tokens["data"][1]["embedding"].as_array().unwrap().len(), 64);
    }

    #[test]
    fn the_document_that_shares_words_comes_first() {
        let request = json!({
            "model": "m", "query": "the old well", "top_n": 2, "return_documents": true,
            "documents": ["a night train", { "text": "the well is old" }, "copper lamps"],
        });
        let ranked = asked(rerank, &request);
        let results = ranked["results"].as_array().unwrap();
        assert_eq!(results.len(), 2);
        assert_eq!((&results[0]["index"], &results[0]["document"]), (&json!(1), &json!({ "text": "the well is old" })));
        let score = |at: usize| results[at]["relevance_score"].as_f64().unwrap();
        assert!(score(0) > score(1) && (0.0..=1.0).contains(&score(0)));
        assert_eq!(ranked, asked(rerank, &request));
    }

    #[test]
    fn what_is_missing_is_named() {
        let refused = |call: fn(&[u8], u64) -> Result<Value, Denial>, request: Value| {
            let denial = call(request.to_string().as_bytes(), 1).unwrap_err();
            (denial.status, denial.param.unwrap())
        };
        assert_eq!(refused(openai, json!({ "input": "a" })), (400, "model".to_owned()));
        assert_eq!(refused(openai, json!({ "model": "m", "input": [] })), (400, "input".to_owned()));
        assert_eq!(refused(ollama, json!({ "model": "m" })), (400, "input".to_owned()));
        assert_eq!(
            refused(openai, json!({ "model": "m", "input": "a", "dimensions": 0 })),
            (400, "dimensions".to_owned())
        );
        assert_eq!(refused(rerank, json!({ "model": "m", "documents": ["a"] })), (400, "query".to_owned()));
        assert_eq!(refused(rerank, json!({ "model": "m", "query": "q" })), (400, "documents".to_owned()));
    }
}
