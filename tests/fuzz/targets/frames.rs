//! The frames of a peer that has the keys, beside a program that does as it likes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    testkit::fuzz::frames(data);
    testkit::fuzz::session(data);
});
