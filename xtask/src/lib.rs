//! Checks the house: the rules of `CONTRIBUTING.md` that a compiler cannot hold.
//!
//! *Knows:* where files lie, what Rust looks like as tokens, which rules this house has.
//!
//! *Does not know:* what any crate is for. Which crate stands on which floor is a table in `tests/floors.rs`.
//!
//! [`house`] reads the tree once, [`source`] reads one Rust file, [`tidy`] is the list of rules.

#![forbid(unsafe_code)]

pub mod house;
pub mod source;
pub mod tidy;
