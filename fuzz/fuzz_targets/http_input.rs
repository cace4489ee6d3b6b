//! What a client says over HTTP: bodies, queries, paths, headers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tanada_server::fuzz::http_input(data));
