//! Objects of a bucket, and their names: MANIFEST, chunks, fences, dead lists, leases, jobs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tanada_remote::fuzz::bucket_objects(data));
