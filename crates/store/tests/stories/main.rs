//! What a store promises, as stories.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests, helpers included")]

mod blobs;
mod files;
mod forgetting;
mod handing_over;
mod journals;
mod secrecy;
mod sessions;
mod world;
