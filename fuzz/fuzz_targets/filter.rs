//! A filter of a table.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tanada_table::fuzz::filter(data));
