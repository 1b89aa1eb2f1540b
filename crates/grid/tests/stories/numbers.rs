//! Events that are numbered, to the last.

use commonwatt_wire::Dialect;
use serde_json::Value;

use crate::world::{Ask, Scene, Supplier};

#[tokio::test(start_paused = true)]
async fn the_error_that_breaks_a_stream_off_has_the_next_number() {
    for supplier in [Dialect::OpenAiResponses, Dialect::OpenAiChat] {
        let scene = Scene::new([Supplier::frontier("alpha").speaking(supplier).script("eof after=3; heartbeat")]);
        let told = scene.call(&Ask::new(Dialect::OpenAiResponses, true)).await.unwrap();
        let text = String::from_utf8(told.raw).unwrap();
        let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let events: Vec<Value> = events.map(|event| serde_json::from_str(event).unwrap()).collect();
        assert!(events.len() > 4 && events.last().unwrap()["type"] == "error", "{supplier}: {text}");
        for (number, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"].as_u64(), u64::try_from(number).ok(), "{supplier}: {text}");
        }
    }
}
