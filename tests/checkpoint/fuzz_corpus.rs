//! Reads the corpora of the fuzzers of `fuzz/`, reduced to a minimal set with the same
//! coverage. No input may cause a panic.
//!
//! `fuzz/keep_corpus.sh` makes the files from the corpora of a run.

use std::fs::File;
use std::io::Read;
use std::path::Path;

#[path = "../../fuzz/readers/checkpoint.rs"]
mod read_checkpoint;
#[path = "../../fuzz/readers/config.rs"]
mod read_config;

/// The inputs of a corpus, each of which follows its length in four bytes.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fuzz");
    let mut archive = zip::ZipArchive::new(File::open(path.join("corpora.zip")).unwrap()).unwrap();
    let mut bytes = Vec::new();
    archive.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
    let mut inputs = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((length, after)) = rest.split_first_chunk() {
        let (input, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        inputs.push(input.to_vec());
        rest = after;
    }
    assert!(inputs.len() > 100, "{name}: only {} inputs", inputs.len());
    inputs
}

#[test]
fn checkpoints() {
    corpus("checkpoint").into_iter().for_each(read_checkpoint::read);
}

#[test]
fn pickles() {
    for input in corpus("pickle") {
        read_checkpoint::read(read_checkpoint::with_pickle(&input));
    }
}

#[test]
fn configurations() {
    corpus("config").iter().for_each(|input| read_config::read(input));
}
