//! A life of a database: operations, the background's steps, power cuts, failing calls.
#![no_main]

use tanada_sim::{plan::Plan, simulation::run};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    run(&Plan::from_bytes(data));
});
