//! Handshakes: datagrams of strangers, and what a trusted node with bad intentions puts into its own.
#![no_main]

use slashnet_fuzz::two_nodes::{Sealed, play};

libfuzzer_sys::fuzz_target!(|data: &[u8]| play(Sealed::Handshake, data));
