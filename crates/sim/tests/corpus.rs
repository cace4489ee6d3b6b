//! The corpus from which the fuzzer of whole lives begins: `fuzz/corpus/operations`.
//!
//! `TANADA_WRITE_GOLDEN=1` writes it anew, which is due when what bytes describe has
//! changed so much that the corpus no longer describes crashes and failures.

#![allow(clippy::unwrap_used)] // in a test a panic is the answer

use std::path::{Path, PathBuf};
use tanada_sim::plan::Plan;
use tanada_sim::shrink::check_plan;
use tanada_sim::simulation::Summary;
use tanada_vfs::Env;

/// Whose lives are in it, and how many turns of each.
const LIVES: u64 = 8;
const TURNS: u64 = 40;

/// Of each input, so many bytes are changed, and so many beginnings run.
const PLACES: usize = 20;

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/operations")
}

fn write_anew() {
    let (fs, dir) = (Env::real().fs, dir());
    fs.create_dir_all(&dir).unwrap();
    for entry in fs.read_dir(&dir).unwrap() {
        fs.remove(&dir.join(entry.name)).unwrap();
    }
    for seed in 1..=LIVES {
        let mut file = fs.create(&dir.join(format!("life-{seed}"))).unwrap();
        file.append(&Plan::bytes_of_seed(seed, TURNS)).unwrap();
    }
}

fn corpus() -> Vec<(String, Vec<u8>)> {
    let (fs, dir) = (Env::real().fs, dir());
    let read = |name: String| {
        let file = fs.open(&dir.join(&name)).unwrap();
        let mut bytes = vec![0; file.len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        (name, bytes)
    };
    fs.read_dir(&dir).unwrap().into_iter().map(|entry| read(entry.name)).collect()
}

fn run(what: &str, bytes: &[u8]) -> Summary {
    match check_plan(Plan::from_bytes(bytes)) {
        Ok(summary) => summary,
        Err(failure) => panic!("{what}: {failure}"),
    }
}

#[test]
fn the_corpus_of_lives_keeps_every_promise_and_so_do_lives_beside_it() {
    if std::env::var_os("TANADA_WRITE_GOLDEN").is_some() {
        write_anew();
    }
    let inputs = corpus();
    let mut sum = Summary::default();
    for (name, input) in &inputs {
        sum = sum.and(&run(name, input));
        for at in (0..input.len()).step_by(1 + input.len() / PLACES) {
            let mut bytes = input.clone();
            bytes[at] ^= 0x55;
            run(&format!("{name} with byte {at} changed"), &bytes);
            run(&format!("{name} cut at {at}"), &input[..at]);
        }
    }
    let Summary { operations, crashes, cut_calls, faults, steps, .. } = sum;
    let least = inputs.len() as u64;
    assert!(least > 0, "there is a corpus");
    assert!(operations > 10 * least && steps > least, "nothing happens in it: {sum:?}");
    assert!(crashes > least && cut_calls > 0 && faults > 0, "nothing fails in it: {sum:?}");
}
