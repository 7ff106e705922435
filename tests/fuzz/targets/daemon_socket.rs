//! The daemon socket: programs that send anything to their node, and a node that sends anything to a program.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slashnet_fuzz::daemon_socket::play(data));
