//! A data block of a table, after its checksum and decompression.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tanada_table::fuzz::data_block(data));
