//! Stories of the grid, told on a paused clock: the suppliers are simulated, the pipes to them are inside the process,
//! and every time that is asserted is exact.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic, in its helpers too"
)]

#[path = "stories/heard.rs"]
mod heard;
#[path = "stories/world.rs"]
mod world;

#[path = "stories/blame.rs"]
mod blame;
#[path = "stories/carried.rs"]
mod carried;
#[path = "stories/counting.rs"]
mod counting;
#[path = "stories/detached.rs"]
mod detached;
#[path = "stories/doors.rs"]
mod doors;
#[path = "stories/faults.rs"]
mod faults;
#[path = "stories/handoff.rs"]
mod handoff;
#[path = "stories/history.rs"]
mod history;
#[path = "stories/kept.rs"]
mod kept;
#[path = "stories/leaving.rs"]
mod leaving;
#[path = "stories/numbers.rs"]
mod numbers;
#[path = "stories/projected.rs"]
mod projected;
#[path = "stories/prompt_length.rs"]
mod prompt_length;
#[path = "stories/responses.rs"]
mod responses;
#[path = "stories/richer.rs"]
mod richer;
#[path = "stories/sealed.rs"]
mod sealed;
#[path = "stories/seeds.rs"]
mod seeds;
#[path = "stories/staying.rs"]
mod staying;
#[path = "stories/vectors.rs"]
mod vectors;
#[path = "stories/waiting.rs"]
mod waiting;
