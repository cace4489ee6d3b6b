//! A database's directory: opened, verified, repaired.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tanada::fuzz::directory(data));
