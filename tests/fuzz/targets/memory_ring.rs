//! A peer that writes what it likes into the memory that both share.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slashnet_fuzz::rings::session(data));
