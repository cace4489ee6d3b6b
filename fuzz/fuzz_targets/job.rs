//! A compaction job, its outputs, and the fields of both: read and written again.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tanada::fuzz::job(data));
