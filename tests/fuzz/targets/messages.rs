//! Messages of programs to resource managers, and the answers of managers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slashnet_fuzz::messages(data));
