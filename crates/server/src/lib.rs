//! Everything that calls in.
//!
//! *Knows:* HTTP, the paths of the model APIs and of the admin API, how a refusal is sent in the caller's dialect.
//!
//! *Does not know:* how anything is decided, where models are, what an answer means.
//!
//! Hyper hands each request to `house::enter`, which finds the door; a door takes the request in and sends the answer
//! out (`respond`).

#![forbid(unsafe_code)]

pub mod admin;
pub mod carry;
mod doors;
mod handoff;
mod health;
mod house;
pub mod listen;
mod respond;
mod responses;
mod sessions;

use commonwatt_grid::Grid;
use std::sync::Arc;

pub use crate::admin::Backstage;

/// What every door needs.
pub struct Lobby {
    /// The grid behind the doors.
    pub grid: Arc<Grid>,
    /// Bodies larger than this, in bytes, are refused.
    pub body_bytes_max: usize,
    /// What the admin API can ask of the daemon.
    pub backstage: Backstage,
}
