//! An index partition or a top index of a table.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tanada_table::fuzz::index(data));
