//! What a trusted node with bad intentions puts into its probes of links.
#![no_main]

use slashnet_fuzz::two_nodes::{Sealed, play};

libfuzzer_sys::fuzz_target!(|data: &[u8]| play(Sealed::Probe, data));
