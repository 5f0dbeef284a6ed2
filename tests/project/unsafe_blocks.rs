//! `unsafe` occurs in `src/ffi` only, every block has its reason, and `docs/unsafe.md` lists
//! them all.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::reference_pages::check_generated;

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// The code of a line without its comment, if no text literal contains `//`.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or("")
}

fn is_unsafe(line: &str) -> bool {
    let mut words = code(line).split(|c: char| !c.is_alphanumeric() && c != '_');
    words.any(|word| word == "unsafe")
}

struct Block {
    function: String,
    reason: String,
}

/// The `unsafe` blocks and functions of a file; those without a reason are `Err`.
fn blocks(text: &str) -> Vec<Result<Block, usize>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    // The functions around this line, each with its indentation.
    let mut around: Vec<(usize, String)> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        // The line that ends a signature over several lines has the indentation of its start.
        if !line.trim().is_empty() && !line.trim().starts_with(')') {
            around.retain(|(outer, _)| *outer < indent);
        }
        if let Some((_, rest)) = code(line).split_once("fn ") {
            let name: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            // The type of a function pointer has no name.
            if !name.is_empty() {
                around.push((indent, name));
            }
        }
        // Declarations of foreign functions need no reason; their calls do.
        if !is_unsafe(line) || code(line).contains("unsafe extern") {
            continue;
        }
        // The comment may stand above the statement that the block is part of.
        let first = (0..at).rev().take(8).find(|&i| lines[i].trim().starts_with("// SAFETY:"));
        let reason = first.map(|first| {
            let comment = lines[first..at].iter().map(|line| line.trim());
            let comment = comment.take_while(|line| line.starts_with("//"));
            let words: Vec<&str> = comment.map(|line| line[2..].trim()).collect();
            words.join(" ").trim_start_matches("SAFETY:").trim().to_string()
        });
        found.push(match reason {
            Some(reason) => {
                let names: Vec<&str> = around.iter().map(|(_, name)| name.as_str()).collect();
                Ok(Block { function: names.join("::"), reason })
            }
            None => Err(at + 1),
        });
    }
    found
}

#[test]
fn every_block_has_its_reason_and_is_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    files.sort();
    let mut page = String::from(
        "# Every `unsafe` block and why it holds\n\n\
         `unsafe` stands in `src/ffi` only. This page is made from the comments there by\n\
         `UPDATE_DOCS=1 cargo test --release --test project`.\n\n\
         | file | function | reason |\n| --- | --- | --- |\n",
    );
    let mut count = 0;
    for file in &files {
        let name = file.strip_prefix(root).unwrap().display().to_string();
        for block in blocks(&fs::read_to_string(file).unwrap()) {
            let block = block.unwrap_or_else(|line| {
                panic!("{name}:{line}: `unsafe` without a `// SAFETY:` comment before it")
            });
            assert!(name.starts_with("src/ffi/"), "{name}: `unsafe` outside of src/ffi");
            let Block { function, reason } = block;
            writeln!(page, "| `{name}` | `{function}` | {} |", reason.replace('|', "\\|")).unwrap();
            count += 1;
        }
    }
    assert!(count > 0, "the search finds nothing");

    check_generated("docs/unsafe.md", &page);
}

#[test]
fn the_search_sees_what_it_should() {
    let with =
        "fn f() {\n    // SAFETY: because\n    // it holds.\n    let x = unsafe { g() };\n}\n";
    let found = blocks(with);
    assert_eq!(found.len(), 1);
    let block = found[0].as_ref().ok().unwrap();
    assert_eq!((block.function.as_str(), block.reason.as_str()), ("f", "because it holds."));
    let long = "fn f(\n    x: u8,\n) -> u8 {\n    // SAFETY: a\n    unsafe { g() }\n}\nfn h() {}\n";
    assert_eq!(blocks(long)[0].as_ref().ok().unwrap().function, "f");
    assert!(matches!(blocks("fn f() {\n    unsafe { g() }\n}\n")[..], [Err(2)]));
    assert!(blocks("// unsafe is a word\nunsafe extern \"C\" {}\nlet unsafely = 1;\n").is_empty());
}
