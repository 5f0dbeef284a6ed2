//! The stand-ins for Gloo's headers in `src/ffi/gloo` declare all that torch's header needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What `ProcessGroupGloo.hpp` includes of Gloo.
const HEADERS: [&str; 5] = [
    "gloo/algorithm.h",
    "gloo/common/error.h",
    "gloo/context.h",
    "gloo/rendezvous/store.h",
    "gloo/transport/device.h",
];
/// The types of Gloo that it names, and the words around each: behind pointers, where the size
/// of a type is not needed, and once as a base, whose functions `store.h` declares in full.
const USES: [&str; 5] = [
    "public ::gloo::rendezvous::Store",
    "shared_ptr<::gloo::Context>",
    "shared_ptr<::gloo::rendezvous::Store>",
    "shared_ptr<::gloo::transport::Device>",
    "unique_ptr<::gloo::transport::UnboundBuffer>",
];

#[test]
fn torch_uses_no_more_of_gloo_than_the_stand_ins_have() {
    let folder = Path::new(env!("LIBTORCH")).join("include/torch/csrc/distributed/c10d");
    let header = fs::read_to_string(folder.join("ProcessGroupGloo.hpp")).unwrap();

    let included: BTreeSet<_> = header
        .lines()
        .filter_map(|line| line.strip_prefix("#include <gloo/"))
        .map(|rest| format!("gloo/{}", rest.trim_end_matches('>')))
        .collect();
    assert_eq!(included, HEADERS.map(String::from).into());
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ffi/gloo");
    assert!(HEADERS.iter().all(|header| ours.join(header).is_file()));

    // With and without the leading colons.
    let code = header.replace("<gloo::", "<::gloo::");
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let uses: BTreeSet<_> = code
        .match_indices("gloo::")
        .map(|(at, _)| {
            let name: String = code[at..].chars().take_while(|&c| is_word(c)).collect();
            let before = code[..at].trim_end_matches(':');
            match before.strip_suffix('<') {
                Some(before) => {
                    let pointer = before.rsplit(|c| !is_word(c)).next().unwrap();
                    let pointer = pointer.trim_start_matches("std::");
                    let end = code[at + name.len()..].chars().next().unwrap();
                    format!("{pointer}<::{name}{end}")
                }
                None => format!("{} ::{name}", before.split_whitespace().next_back().unwrap()),
            }
        })
        .collect();
    assert_eq!(uses, USES.map(String::from).into());
}
