//! A packet from a stranger, with a session open.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| testkit::fuzz::packet(data));
