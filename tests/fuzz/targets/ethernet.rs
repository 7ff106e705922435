//! Frames from an Ethernet.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slashnet_fuzz::ethernet(data));
