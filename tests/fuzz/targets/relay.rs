//! A program that writes what it likes into the ring by which its node passes packets on.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slashnet_fuzz::rings::relay(data));
