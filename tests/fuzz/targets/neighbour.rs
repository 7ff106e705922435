//! Datagrams in a directory that nodes share.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slashnet_fuzz::neighbour(data));
