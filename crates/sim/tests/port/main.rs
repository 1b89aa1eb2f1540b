//! The simulator on a port, seen through raw TCP and through hyper's client.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic, in its helpers too"
)]

mod client;
mod door;
mod faults;
mod wire;
