//! The examples as processes on real nodes, used from their own node and from another.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod devices;
mod example;
mod page;
mod ram;
mod tar;
