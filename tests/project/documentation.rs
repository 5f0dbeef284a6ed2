//! The pages of the documentation: their links lead somewhere, the files of this repository
//! that they name exist, and `docs/contributing.md` has a reason for every dependency.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders whose files a page may name as `folder/file` in backticks.
const FOLDERS: [&str; 10] = [
    "src/",
    "tests/",
    "docs/",
    "bench/",
    "scripts/",
    "configs/",
    "resources/",
    "fuzz/",
    "packaging/",
    "python/",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Markdown files of the repository.
fn pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["", "docs", "bench", "fuzz"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// The lines of a page outside of code blocks.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// The targets of `[text](target)` and of `[name]: target`.
fn links(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(page) {
        for part in line.split("](").skip(1) {
            let end = part.find(')').unwrap_or(part.len());
            found.push(part[..end].to_owned());
        }
        if let Some((name, target)) = line.split_once("]: ")
            && name.starts_with('[')
        {
            found.push(target.trim().to_owned());
        }
    }
    found
}

/// The anchors that GitHub gives the headings of a page.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in prose(page).filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        // A heading that occurs again gets a number.
        let numbered = (0..).map(|i| if i == 0 { anchor.clone() } else { format!("{anchor}-{i}") });
        found.extend(numbered.into_iter().find(|anchor| !found.contains(anchor)));
    }
    found
}

/// The files and folders that a page names in backticks, without `*` and the like.
fn named(page: &str) -> Vec<&str> {
    let quoted = prose(page).flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted
        .filter(|text| FOLDERS.iter().any(|folder| text.starts_with(folder)))
        .filter(|text| text.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c)))
        .collect()
}

#[test]
fn links_and_file_names_lead_to_files_that_exist() {
    let mut broken = Vec::new();
    let mut count = 0;
    for path in pages() {
        let page = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root()).unwrap().display();
        for link in links(&page).into_iter().filter(|link| !link.contains("://")) {
            count += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            if !target.exists() {
                broken.push(format!("{name}: {link} does not exist"));
            } else if !anchor.is_empty()
                && !anchors(&fs::read_to_string(&target).unwrap()).contains(anchor)
            {
                broken.push(format!("{name}: {link}: the page has no such heading"));
            }
        }
        for file in named(&page).into_iter().filter(|file| !root().join(file).exists()) {
            broken.push(format!("{name}: `{file}` does not exist"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(count > 20, "only {count} links were found");
}

/// The names of the dependencies in `Cargo.toml` and `requirements.txt`.
fn dependencies(manifest: &str, requirements: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && let Some((name, value)) = line.split_once(" = ") {
            // A renamed dependency counts by the name of its package.
            let package =
                value.split("package = \"").nth(1).and_then(|rest| rest.split('"').next());
            found.insert(package.unwrap_or(name).to_owned());
        }
    }
    let pinned = requirements.lines().filter_map(|line| line.split_once("=="));
    found.extend(pinned.map(|(name, _)| name.to_owned()));
    found
}

#[test]
fn every_dependency_has_its_reason() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let page = read("docs/contributing.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let first = rows.map(|row| row.split('|').nth(1).unwrap_or_default());
    let listed: BTreeSet<String> =
        first.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    let missing = dependencies(&read("Cargo.toml"), &read("requirements.txt"));
    let missing: Vec<_> = missing.difference(&listed).collect();
    assert!(missing.is_empty(), "docs/contributing.md has no line for {missing:?}");
}

#[test]
fn dependencies_are_found() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\na = \"1\"\n\
        b = { package = \"b-c\", version = \"1\" }\n[dev-dependencies]\nd = \"1\"\n[profile.release]\ndebug = 1\n";
    let found = dependencies(manifest, "# e\nnumpy==1; python_version\n");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "b-c", "d", "numpy"]);
}

#[test]
fn links_anchors_and_names_are_found() {
    let page = "# A `b` c\n## A b, c!\n## A b c\n[x](docs/y.md) and [z](#a-b-c).\n\
        [w]: ../v.md\n```\n[no](no.md)\n```\nIn `src/lib.rs`, `bench/*.py` and `make x`.\n";
    assert_eq!(links(page), ["docs/y.md", "#a-b-c", "../v.md"]);
    assert_eq!(anchors(page).into_iter().collect::<Vec<_>>(), ["a-b-c", "a-b-c-1", "a-b-c-2"]);
    assert_eq!(named(page), ["src/lib.rs"]);
}

/// All source files as one text, in which a string over several lines is one line.
fn messages() -> String {
    fn read(folder: &Path, out: &mut String) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                read(&entry, out);
            } else if entry.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(entry).unwrap();
                for line in text.lines() {
                    out.push_str(line.trim_start().trim_end_matches('\\'));
                    if !line.ends_with('\\') {
                        out.push('\n');
                    }
                }
            }
        }
    }
    let mut text = String::new();
    read(&root().join("src"), &mut text);
    text
}

#[test]
fn messages_that_the_page_explains_are_those_of_the_program() {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let messages = messages();
    let mut seen = 0;
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let cell = row.split(" | ").next().unwrap();
        for part in cell.trim_start_matches("| ").split(" … ") {
            let words = part.trim().trim_matches('`').trim();
            assert!(messages.contains(words), "no message has: {words}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}
