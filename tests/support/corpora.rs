//! The corpora of the fuzzers of `fuzz/`, reduced to a minimal set with the same coverage.
//!
//! `fuzz/keep_corpus.sh` makes them from the corpora of a run.

#![allow(dead_code)]

use std::fs::File;
use std::io::Read;

/// The inputs of a corpus, each of which follows its length in four bytes; so many at least.
pub fn corpus(name: &str, least: usize) -> Vec<Vec<u8>> {
    let path = super::fixture("fuzz/corpora.zip");
    let mut archive = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
    let mut bytes = Vec::new();
    archive.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
    let mut inputs = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((length, after)) = rest.split_first_chunk() {
        let (input, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        inputs.push(input.to_vec());
        rest = after;
    }
    assert!(inputs.len() >= least, "{name}: only {} inputs", inputs.len());
    inputs
}
