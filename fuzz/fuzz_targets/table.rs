//! A whole table: read, verified, salvaged.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tanada_table::fuzz::table(data));
