//! The simulator on a port and inside the process, seen through raw TCP, raw pipes and hyper's client.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic, in its helpers too"
)]

mod besides;
mod client;
mod dialects;
mod door;
mod faults;
mod inside;
mod spoken;
mod wire;

use commonwatt_sim::Dialect;
