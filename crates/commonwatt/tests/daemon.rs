//! The daemon as a black box: what a stranger sees of it.

#[path = "daemon/clients.rs"]
mod clients;
#[path = "daemon/failures.rs"]
mod failures;
#[path = "daemon/newcomers.rs"]
mod newcomers;
#[path = "daemon/tiers.rs"]
mod tiers;
#[path = "daemon/world.rs"]
mod world;
