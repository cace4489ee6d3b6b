//! A manifest and an edit of one: read and salvaged.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tanada::fuzz::manifest(data));
