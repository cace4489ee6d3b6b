//! A log file: recovered and salvaged.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tanada::fuzz::log(data));
