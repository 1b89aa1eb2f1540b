//! The daemon as a black box: what a stranger sees of it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "these are tests, helpers included")]

#[path = "daemon/carried.rs"]
mod carried;
#[path = "daemon/clients.rs"]
mod clients;
#[path = "daemon/dialects.rs"]
mod dialects;
#[path = "daemon/failures.rs"]
mod failures;
#[path = "daemon/gemini.rs"]
mod gemini;
#[path = "daemon/handoff.rs"]
mod handoff;
#[path = "daemon/keyless.rs"]
mod keyless;
#[path = "daemon/killed.rs"]
mod killed;
#[path = "daemon/newcomers.rs"]
mod newcomers;
#[path = "daemon/responses.rs"]
mod responses;
#[path = "daemon/sessions.rs"]
mod sessions;
#[path = "daemon/tiers.rs"]
mod tiers;
#[path = "daemon/world.rs"]
mod world;
