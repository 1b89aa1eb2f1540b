//! The running grid. [`request`] reads top to bottom as the life of a call.
//!
//! *Knows:* the order of the steps, who may call, which generation of the fleet is in force, who is benched, and how
//! many calls are under way.
//!
//! *Does not know:* HTTP types, sockets, the details of a dialect, files, the environment.

#![forbid(unsafe_code)]

mod affinity;
mod attempt;
pub mod breakers;
pub mod bus;
pub mod count;
pub mod decode;
pub mod detached;
pub mod explain;
pub mod identity;
pub mod meters;
pub mod project;
pub mod relay;
pub mod request;
pub mod trace;
mod underway;

use std::sync::Arc;

use arc_swap::ArcSwap;
use commonwatt_core::Moment;
use commonwatt_core::admission::CallId;
use commonwatt_core::attempt::Limits;
use commonwatt_core::fleet::Fleet;
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_upstream::Upstream;
use tokio::sync::Semaphore;

use crate::affinity::Affinity;
use crate::breakers::Breakers;
use crate::bus::Bus;
use crate::detached::Board;
use crate::identity::Keyring;
use crate::meters::Meters;

/// Calls under way at once unless configured otherwise. Each holds at most one mebibyte of request in memory.
pub const CALLS_MAX: usize = 1_024;

/// What is in force until the next reload: built whole, swapped whole. A call keeps the one it started with.
pub struct Generation {
    /// What there is to send calls to.
    pub fleet: Fleet,
    /// The ways there.
    pub upstream: Upstream,
    /// Who may call.
    pub keyring: Keyring,
    /// How much is tried for one call.
    pub limits: Limits,
    /// Counters of each deployment.
    pub meters: Meters,
}

/// Chance and the calendar, handed in so that a simulated run can be replayed.
#[derive(Clone)]
pub struct World {
    /// A new id (UUIDv7 as text).
    pub new_id: Arc<dyn Fn() -> CallId + Send + Sync>,
    /// Seconds since 1970.
    pub unix_s: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// The running grid.
pub struct Grid {
    generation: ArcSwap<Generation>,
    breakers: Breakers,
    affinity: Affinity,
    bus: Option<Arc<Bus>>,
    detached: Board,
    slots: Arc<Semaphore>,
    calls_max: usize,
    world: World,
    started: tokio::time::Instant,
    /// This daemon's name on the path of a call, against loops.
    via: String,
}

impl Grid {
    /// A grid with its first generation; `calls_max` calls may be under way at once. Without a bus every call stands for
    /// itself.
    #[must_use]
    pub fn new(generation: Generation, world: World, calls_max: usize, bus: Option<Arc<Bus>>) -> Arc<Self> {
        let via = (world.new_id)().0.to_string();
        Arc::new(Self {
            generation: ArcSwap::from_pointee(generation),
            breakers: Breakers::default(),
            affinity: Affinity::default(),
            bus,
            detached: Board::default(),
            slots: Arc::new(Semaphore::new(calls_max)),
            calls_max,
            world,
            started: tokio::time::Instant::now(),
            via,
        })
    }

    /// The generation in force.
    #[must_use]
    pub fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    /// Puts another generation in force. Calls under way finish with the one they started with.
    pub fn replace(&self, generation: Generation) {
        self.generation.store(Arc::new(generation));
    }

    /// The bus, where sessions are kept.
    #[must_use]
    pub fn bus(&self) -> Option<&Arc<Bus>> {
        self.bus.as_ref()
    }

    /// The breakers of all deployments.
    #[must_use]
    pub fn breakers(&self) -> &Breakers {
        &self.breakers
    }

    /// This daemon's name on the path of a call.
    #[must_use]
    pub fn via(&self) -> &str {
        &self.via
    }

    /// A new call id.
    #[must_use]
    pub fn new_id(&self) -> CallId {
        (self.world.new_id)()
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn unix_s(&self) -> u64 {
        (self.world.unix_s)()
    }

    /// Calls under way.
    #[must_use]
    pub fn calls_under_way(&self) -> usize {
        self.calls_max.saturating_sub(self.slots.available_permits())
    }

    /// Now, on the grid's clock.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment { ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX) }
    }

    /// Adds this daemon to the path of a call, unless it is on it already.
    pub(crate) fn next_via(&self, via: Option<&str>) -> Result<String, Refusal> {
        match via {
            None => Ok(self.via.clone()),
            Some(path) if path.split(',').any(|hop| hop.trim() == self.via) => Err(Refusal::new(
                RefusalKind::Loop,
                "this call came back to the daemon that sent it: a provider's address points here",
            )),
            Some(path) => Ok(format!("{path}, {}", self.via)),
        }
    }
}
