//! What is counted: how calls ended, and tokens, each once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use commonwatt_wire::Dialect;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::heard::End;
use crate::world::{Ask, Scene, Supplier, pairs};

/// Counters by the values of their labels.
#[derive(Default)]
struct Counters(Mutex<HashMap<String, Arc<AtomicU64>>>);

impl Counters {
    /// A scene whose deployments count here.
    fn of(&self, suppliers: impl IntoIterator<Item = Supplier>) -> Arc<Scene> {
        metrics::with_local_recorder(self, || Scene::new(suppliers))
    }

    fn told(&self, labels: &str) -> u64 {
        self.0.lock().unwrap().get(labels).unwrap_or_else(|| panic!("nobody counts {labels}")).load(Ordering::Relaxed)
    }
}

impl Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<_> = key.labels().map(metrics::Label::value).collect();
        Counter::from_arc(Arc::clone(self.0.lock().unwrap().entry(labels.join(" ")).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_broke_off_is_counted_as_unfinished_and_never_as_done() {
    for (caller, supplier) in pairs() {
        for how in ["reset", "eof", "stall", "done"] {
            let counters = Counters::default();
            let alpha = Supplier::frontier("alpha").speaking(supplier).script(&format!("{how} after=3"));
            let scene = counters.of([alpha]);
            let told = scene.call(&Ask::new(caller, true)).await.unwrap();
            assert!(matches!(told.end, End::Error(_)), "{how}: {caller} to {supplier}");
            let ended = |word: &str| counters.told(&format!("alpha/alpha-1 frontier {word}"));
            assert_eq!((ended("done"), ended("unfinished"), ended("abandoned")), (0, 1, 0), "{how}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_from_the_cache_are_counted_once_whoever_answers() {
    let says_what_was_cached =
        [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::OpenAiResponses, Dialect::Gemini];
    for (caller, supplier) in pairs().filter(|(_, supplier)| says_what_was_cached.contains(supplier)) {
        for stream in [true, false] {
            // Forwarded as it was asked for, and nobody asked for the usage.
            if stream && (caller, supplier) == (Dialect::OpenAiChat, Dialect::OpenAiChat) {
                continue;
            }
            let story = format!("{caller} to {supplier}, stream {stream}");
            let mut prompts = Vec::new();
            for cached in [0, 3] {
                let counters = Counters::default();
                let alpha = Supplier::frontier("alpha").speaking(supplier);
                let scene = counters.of([alpha.with(|settings| settings.answer.cached_tokens = cached)]);
                scene.call(&Ask::new(caller, stream)).await.unwrap().is_complete("alpha", 1);
                let tokens = |kind: &str| counters.told(&format!("alpha/alpha-1 {kind}"));
                assert_eq!(tokens("cache_read"), cached as u64, "{story}");
                assert!(tokens("output") > 0, "{story}");
                prompts.push(tokens("input") + tokens("cache_read"));
            }
            assert!(prompts[0] > 3 && prompts[0] == prompts[1], "{story}: {prompts:?}");
        }
    }
}
