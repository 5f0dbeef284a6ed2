//! The dependencies between modules are those that `docs/architecture.md` lists, and none
//! of them leads in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Dependencies = BTreeMap<String, BTreeSet<String>>;

/// All Rust files below a folder.
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

/// Source text without its comments. A text literal that holds `//` loses its end, which
/// names no module.
fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// The first segments of all paths that begin with `crate::`, those in braces included:
/// `crate::{files, format::open}` names `files` and `format`.
fn named(text: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut found = BTreeSet::new();
    for (index, start) in text.match_indices("crate::") {
        let rest = &text[index + start.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let (mut depth, mut begins) = (1, true);
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => {
                    begins = true;
                    continue;
                }
                _ if begins && !c.is_whitespace() => {
                    found.insert(word(&list[at..]));
                }
                _ => {}
            }
            begins &= c.is_whitespace();
            if depth == 0 {
                break;
            }
        }
    }
    found
}

/// What each module of the crate names of the others, unit tests left out.
fn drawn() -> Dependencies {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let module = |path: &Path| {
        let first = path.strip_prefix(&root).unwrap().iter().next().unwrap();
        Path::new(first).file_stem().unwrap().to_str().unwrap().to_string()
    };
    let modules: BTreeSet<String> =
        files.iter().map(|path| module(path)).filter(|m| m != "lib" && m != "main").collect();
    let mut dependencies: Dependencies =
        modules.iter().map(|module| (module.clone(), BTreeSet::new())).collect();
    for path in &files {
        let text = without_comments(&fs::read_to_string(path).unwrap());
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        if let Some(known) = dependencies.get_mut(&module(path)) {
            let own = module(path);
            known.extend(named(text).into_iter().filter(|m| *m != own && modules.contains(m)));
        }
    }
    dependencies
}

/// The table of modules in `docs/architecture.md`, in its order.
fn listed() -> Vec<(String, BTreeSet<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let page = fs::read_to_string(path).unwrap();
    let table = page.split("| module |").nth(1).expect("the page has a table of modules");
    let words = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(|word| word.trim_end_matches('/').into()).collect()
    };
    table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
            let [module, _, depends] = cells[..] else { panic!("not three cells: {line}") };
            (words(module).remove(0), words(depends).into_iter().collect())
        })
        .collect()
}

#[test]
fn dependencies_are_those_of_the_page() {
    let (drawn, listed) = (drawn(), listed());
    let names: BTreeSet<_> = listed.iter().map(|(module, _)| module.clone()).collect();
    assert_eq!(names, drawn.keys().cloned().collect(), "the modules of docs/architecture.md");
    for (module, depends) in &listed {
        assert_eq!(
            depends, &drawn[module],
            "docs/architecture.md (left) and the code (right) differ in what `{module}` depends on"
        );
    }
}

/// No circle: a module depends on modules further down the table alone.
#[test]
fn dependencies_lead_down() {
    let listed = listed();
    for (index, (module, depends)) in listed.iter().enumerate() {
        for (above, _) in &listed[..=index] {
            assert!(!depends.contains(above), "`{module}` depends on `{above}`, which is above it");
        }
    }
}

#[test]
fn paths_are_found_in_every_form() {
    let found = named("use crate::{files, format::{h5, open}, a_b::C};\nlet x = crate::loss::f();");
    let found: Vec<_> = found.iter().map(String::as_str).collect();
    assert_eq!(found, ["a_b", "files", "format", "loss"]);
}
