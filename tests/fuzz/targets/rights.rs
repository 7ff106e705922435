//! Rules as a program sends them to its node, a client's rights as a node sends them to a server, and rules as text.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slashnet_fuzz::rights(data));
