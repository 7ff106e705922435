//! What a trusted node with bad intentions says over the channel between nodes.
#![no_main]

use slashnet_fuzz::two_nodes::{Sealed, play};

libfuzzer_sys::fuzz_target!(|data: &[u8]| play(Sealed::Channel, data));
