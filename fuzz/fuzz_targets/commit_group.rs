//! The payload of a log record.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tanada::fuzz::commit_group(data));
