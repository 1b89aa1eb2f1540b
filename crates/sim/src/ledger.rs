//! What was received: a bounded memory for tests and for `GET /sim/requests`.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::asked::Window;
use crate::fault::Fault;

/// Requests that are remembered.
const MOST_REQUESTS: usize = 1000;
/// Bytes of bodies that are remembered; beyond it the oldest requests are forgotten first.
const MOST_BODY_BYTES: usize = 64 << 20;

/// One request as it was received, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Received {
    /// Order of arrival, from 1.
    pub number: u64,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte. In JSON: `{"text": …}`, or `{"hex": …}` when it is not UTF-8.
    #[serde(serialize_with = "body")]
    pub body: Bytes,
    /// What went wrong with it, by plan.
    pub faults: Vec<Fault>,
    /// Ollama: the context window that the call was given.
    pub window: Option<Window>,
    /// The status it was answered with; none when nothing was sent.
    pub status: Option<u16>,
    /// What became of it.
    pub outcome: Outcome,
    /// Pieces of the body that were handed to the connection.
    pub chunks_sent: u64,
    /// Milliseconds from the simulator's start to the arrival.
    pub arrived_ms: u64,
    /// Milliseconds from the simulator's start to the end.
    pub ended_ms: Option<u64>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is being answered.
    Playing,
    /// Everything that was meant to be sent was sent, ended by a complete HTTP message.
    Finished,
    /// The simulator broke the connection, by plan.
    Broken,
    /// The client left before the end.
    ClientLeft,
}

/// What is to be done for a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Planned {
    pub(crate) status: Option<u16>,
    pub(crate) window: Option<Window>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    pub(crate) chunks_sent: u64,
    pub(crate) ended_ms: u64,
}

/// The last requests, oldest first, with numbers that follow each other.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    requests: VecDeque<Received>,
    body_bytes: usize,
}

impl Ledger {
    pub(crate) fn push(&mut self, received: Received) {
        self.body_bytes += received.body.len();
        self.requests.push_back(received);
        self.shrink();
    }

    pub(crate) fn set_body(&mut self, number: u64, body: Bytes) {
        let added = body.len();
        if let Some(received) = self.get_mut(number) {
            received.body = body;
            self.body_bytes += added;
            self.shrink();
        }
    }

    pub(crate) fn set_plan(&mut self, number: u64, faults: &[Fault], planned: Planned) {
        if let Some(received) = self.get_mut(number) {
            received.faults = faults.to_vec();
            received.status = planned.status;
            received.window = planned.window;
        }
    }

    pub(crate) fn end(&mut self, number: u64, ending: Ending) {
        if let Some(received) = self.get_mut(number) {
            received.outcome = ending.outcome;
            received.chunks_sent = ending.chunks_sent;
            received.ended_ms = Some(ending.ended_ms);
        }
    }

    pub(crate) fn all(&self) -> Vec<Received> {
        self.requests.iter().cloned().collect()
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Received> {
        let first = self.requests.front()?.number;
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        self.requests.get_mut(index)
    }

    fn shrink(&mut self) {
        while self.requests.len() > MOST_REQUESTS || (self.body_bytes > MOST_BODY_BYTES && self.requests.len() > 1) {
            let forgotten = self.requests.pop_front().map_or(0, |received| received.body.len());
            self.body_bytes -= forgotten;
        }
    }
}

fn body<S: Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    match str::from_utf8(body) {
        Ok(text) => map.serialize_entry("text", text)?,
        Err(_) => map.serialize_entry("hex", &body.iter().map(|byte| format!("{byte:02x}")).collect::<String>())?,
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(number: u64) -> Received {
        Received {
            number,
            method: "POST".to_owned(),
            path: "/".to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
            faults: Vec::new(),
            window: None,
            status: None,
            outcome: Outcome::Playing,
            chunks_sent: 0,
            arrived_ms: 0,
            ended_ms: None,
        }
    }

    #[test]
    fn only_the_last_thousand_requests_are_remembered() {
        let mut ledger = Ledger::default();
        (1..=1500).for_each(|number| ledger.push(received(number)));
        let planned = Planned { status: Some(200), window: None };
        ledger.set_plan(500, &[], planned);
        ledger.set_plan(501, &[], planned);
        let all = ledger.all();
        assert_eq!((all.len(), all[0].number, all[0].status), (1000, 501, Some(200)));
    }

    #[test]
    fn large_bodies_push_out_the_oldest_requests() {
        let mut ledger = Ledger::default();
        for number in 1..=5 {
            ledger.push(received(number));
            ledger.set_body(number, vec![0; 20 << 20].into());
        }
        assert_eq!(ledger.all().iter().map(|r| r.number).collect::<Vec<_>>(), [3, 4, 5]);
    }

    #[test]
    fn a_body_is_shown_as_received() {
        let mut shown = received(1);
        shown.body = Bytes::from_static("é".as_bytes());
        assert_eq!(serde_json::to_value(&shown).unwrap()["body"]["text"], "é");
        shown.body = Bytes::from_static(&[0xff, 0x0a]);
        assert_eq!(serde_json::to_value(&shown).unwrap()["body"]["hex"], "ff0a");
    }
}
