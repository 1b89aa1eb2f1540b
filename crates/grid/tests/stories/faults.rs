//! Everything that can go wrong before content is mended by the next tier; what goes wrong after it is told.

use commonwatt_sim::CallSettings;
use commonwatt_wire::Dialect;
use serde_json::json;

use crate::heard::End;
use crate::world::{Ask, Scene, Supplier, pairs, simulated, speech};

const ENDINGS: [&str; 9] = ["reset", "close", "eof", "stall", "error", "failed", "malformed", "garbage", "done"];

/// Calls in every pair of dialects, streamed and not, while the frontier fails in these words each time.
async fn is_mended(words: &str, shapes: &[bool]) {
    for (caller, supplier) in pairs() {
        for stream in shapes {
            let story = format!("{words}: {caller} to {supplier}, stream {stream}");
            let alpha = Supplier::frontier("alpha").speaking(supplier).always(words);
            let scene = Scene::new([alpha, Supplier::local("home").speaking(supplier)]);
            let told = scene.call(&Ask::new(caller, *stream)).await.unwrap_or_else(|r| panic!("{story}: {r:?}"));
            assert_eq!((told.by(), told.served.attempts), ("home", 2), "{story}");
            assert_eq!((&told.text, &told.end), (&speech("home"), &End::Complete), "{story}");
            assert_eq!((told.served.failed.len(), scene.asked("home")), (1, 1), "{story}");
            assert_eq!(scene.grid.calls_under_way(), 0, "{story}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_with_a_status_goes_to_the_next_tier() {
    for status in [401, 402, 403, 404, 408, 409, 413, 429, 500, 502, 503, 504, 529] {
        is_mended(&format!("status={status}"), &[true, false]).await;
    }
    is_mended("status=429 retry_after_s=62", &[true, false]).await;
    is_mended("flapping", &[true, false]).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_something_else_goes_to_the_next_tier() {
    for words in ["refuse", "page", "page=502", "empty", "error_in_200", "error_in_200=429"] {
        is_mended(words, &[true, false]).await;
    }
    is_mended("redirect=http://elsewhere.sim/v1", &[true, false]).await;
    is_mended("wrong_length", &[false]).await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_before_content_goes_to_the_next_tier() {
    for how in ENDINGS {
        for place in ["start", "headers", "preamble"] {
            is_mended(&format!("{how} after={place}"), &[true, false]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_is_told_after_the_preamble_goes_to_the_next_tier_and_benches() {
    for how in ["error", "failed"] {
        is_mended(&format!("{how} after=preamble status=429"), &[true, false]).await;
        for supplier in [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::OpenAiResponses, Dialect::Gemini] {
            let words = format!("{how} after=preamble status=429");
            let alpha = Supplier::frontier("alpha").speaking(supplier).always(&words);
            let scene = Scene::new([alpha, Supplier::free("beta")]);
            let told = scene.call(&Ask::new(supplier, true)).await.unwrap();
            assert_eq!(told.served.failed, ["alpha/alpha-1=rate_limited"], "{supplier}");
            scene.call(&Ask::new(supplier, true)).await.unwrap().is_complete("beta", 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_that_is_cut_anywhere_goes_to_the_next_tier() {
    for how in ENDINGS {
        for place in ["5", "100wire", "content"] {
            is_mended(&format!("{how} after={place}"), &[false]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_comes_in_crumbs_is_mended_all_the_same() {
    for words in ["status=503; drip", "empty; crlf", "error after=preamble; crlf", "eof after=preamble; split"] {
        is_mended(words, &[true]).await;
    }
    is_mended("stall after=headers; heartbeat every_ms=1000", &[true]).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_after_content_ends_in_an_error_and_without_a_false_end() {
    for (caller, supplier) in pairs() {
        for how in ENDINGS {
            for place in ["1", "3", "20bytes", "content"] {
                let story = format!("{how} after={place}: {caller} to {supplier}");
                let alpha = Supplier::frontier("alpha").speaking(supplier).script(&format!("{how} after={place}"));
                let scene = Scene::new([alpha, Supplier::free("beta")]);
                let told = scene.call(&Ask::new(caller, true)).await.unwrap();
                assert_eq!((told.by(), told.served.attempts), ("alpha", 1), "{story}");
                assert!(matches!(told.end, End::Error(_)), "{story}: {:?}", told.end);
                assert!(!told.text.is_empty() && speech("alpha").starts_with(&told.text), "{story}: {}", told.text);
                let idle_ms = if how == "stall" { 30_000 } else { 0 };
                assert_eq!((told.took_ms, scene.asked("beta")), (idle_ms, 0), "{story}");
                assert_eq!(scene.grid.calls_under_way(), 0, "{story}");
                // It is benched: the next call goes elsewhere.
                scene.call(&Ask::new(caller, true)).await.unwrap().is_complete("beta", 1);
            }
        }
    }
}

/// What a client takes for the sign that all calls of an answer are there.
const ALL_CALLS_ARE_THERE: [&str; 6] = [
    "\"finish_reason\":\"",
    "\"stop_reason\":\"",
    "\"finishReason\":\"",
    "response.function_call_arguments.done",
    "response.completed",
    "\"done\":true",
];

#[tokio::test(start_paused = true)]
async fn a_cut_inside_a_tool_call_never_looks_like_a_call_and_is_not_made_again() {
    for (caller, supplier) in pairs() {
        for how in ENDINGS {
            let story = format!("{how}: {caller} to {supplier}");
            let arguments = json!({ "path": "a.txt", "text": "word ".repeat(80) });
            let save = CallSettings { name: "save_file".to_owned(), arguments };
            let alpha = Supplier::frontier("alpha").speaking(supplier).with(|settings| {
                settings.answer.text = Some(String::new());
                settings.answer.calls = vec![save];
            });
            let alpha = alpha.always(&format!("{how} after=100bytes part=tool_call"));
            let scene = Scene::new([alpha, Supplier::free("beta")]);
            let told = scene.call(&Ask::new(caller, true)).await.unwrap_or_else(|r| panic!("{story}: {r:?}"));
            let raw = String::from_utf8_lossy(&told.raw);
            let in_one_piece = matches!(supplier, Dialect::Gemini | Dialect::OllamaChat);
            assert_eq!(told.by() == "beta", in_one_piece, "{story}");
            if told.by() == "alpha" {
                assert!(matches!(told.end, End::Error(_)), "{story}: {raw}");
                assert!(ALL_CALLS_ARE_THERE.iter().all(|sign| !raw.contains(sign)), "{story}: {raw}");
                assert_eq!(scene.asked("beta"), 0, "{story}");
            } else {
                // A supplier that sends calls in one piece had sent nothing of it.
                told.is_complete("beta", 2);
                assert!(!raw.contains("save_file"), "{story}: {raw}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_its_terminator_is_complete_for_the_caller() {
    for (caller, supplier) in pairs() {
        let alpha = Supplier::frontier("alpha").speaking(supplier).script("eof after=finish");
        let told = Scene::new([alpha]).call(&Ask::new(caller, true)).await.unwrap();
        told.is_complete("alpha", 1);
    }
}

#[tokio::test(start_paused = true)]
async fn crumbs_comments_and_foreign_line_ends_do_no_harm() {
    for (caller, supplier) in pairs() {
        for words in
            ["drip", "split", "crlf", "heartbeat", "missing_usage", "split; crlf; heartbeat", "stall=9000 after=3"]
        {
            let alpha = Supplier::frontier("alpha").speaking(supplier).always(words);
            let scene = Scene::new([alpha, Supplier::free("beta")]);
            for stream in [true, false] {
                scene.call(&Ask::new(caller, stream)).await.unwrap().is_complete("alpha", 1);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_forwarded_stream_is_the_suppliers_own_bytes() {
    for dialect in Dialect::OUT {
        let scene = Scene::new([Supplier::frontier("alpha").speaking(dialect)]);
        let told = scene.call(&Ask::new(dialect, true).model("alpha-1")).await.unwrap();
        let request = &scene.sim("alpha").requests()[0];
        assert_eq!(request.body, Ask::new(dialect, true).model("alpha-1").body());
        let settings = commonwatt_sim::Settings { answer: answer("alpha"), ..commonwatt_sim::Settings::default() };
        let spoken = simulated(dialect);
        let cue =
            commonwatt_sim::Cue { dialect: spoken, body: &request.body, settings: &settings, faults: &[], call: 1 };
        assert_eq!(told.raw, commonwatt_sim::perform_at(&cue, &spoken.target("alpha-1", true)).body(), "{dialect}");
    }
}

fn answer(name: &str) -> commonwatt_sim::AnswerSettings {
    commonwatt_sim::AnswerSettings { text: Some(speech(name)), ..commonwatt_sim::AnswerSettings::default() }
}
