//! Reads what fuzzing found. No input may cause a panic.

use crate::support::corpora::corpus;

#[path = "../../fuzz/readers/checkpoint.rs"]
mod read_checkpoint;
#[path = "../../fuzz/readers/config.rs"]
mod read_config;

#[test]
fn checkpoints() {
    corpus("checkpoint", 100).into_iter().for_each(read_checkpoint::read);
}

#[test]
fn pickles() {
    for input in corpus("pickle", 100) {
        read_checkpoint::read(read_checkpoint::with_pickle(&input));
    }
}

#[test]
fn configurations() {
    corpus("config", 100).iter().for_each(|input| read_config::read(input));
}
