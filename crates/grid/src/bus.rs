//! The bus.
mod link;
mod walk;
mod warm;
