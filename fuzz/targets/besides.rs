//! What is no conversation: embeddings and reranking, asked and answered.
#![no_main]

use bytes::Bytes;
use commonwatt_wire::{EmbedDialect, encode_embed, open_embed, open_rerank, read_embed, read_rerank, write_embed};
use libfuzzer_sys::fuzz_target;

const DIALECTS: [EmbedDialect; 3] = [EmbedDialect::OpenAi, EmbedDialect::Ollama, EmbedDialect::OllamaOne];

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    let _ = open_rerank(&body).map(|call| call.adapted(&body, "another"));
    let _ = read_rerank(data);
    for dialect in DIALECTS {
        let call = open_embed(dialect, &body).ok();
        if let Some(call) = &call {
            let _ = call.adapted(&body, "another");
            DIALECTS.iter().for_each(|other| drop(encode_embed(*other, call, "m")));
        }
        if let Ok(embedded) = read_embed(dialect, data) {
            let asked = open_embed(EmbedDialect::OpenAi, &Bytes::from_static(br#"{"model":"m","input":"x"}"#));
            let asked = asked.expect("a valid request");
            let again = write_embed(EmbedDialect::OpenAi, &embedded, &asked);
            let again = read_embed(EmbedDialect::OpenAi, &again).expect("what we write we can read");
            assert_eq!(embedded.vectors, again.vectors, "vectors survive bit for bit");
        }
    }
});
