//! The parameter files of this repository contain the published settings.

use std::collections::BTreeMap;
use std::path::Path;

use unet3d::config::{Node, Tree, YamlValue};

/// Keys with paths, which differ for every user.
const PATHS: [&str; 5] = ["model_path", "checkpoint_dir", "file_paths", "resume", "h5_dir"];

/// Every value of a file by its dotted key, without paths.
fn settings(node: &Node, key: &str, found: &mut BTreeMap<String, String>) {
    match &node.value {
        YamlValue::Map(entries) => {
            for (name, child) in entries.iter().filter(|(name, _)| !PATHS.contains(&name.as_str()))
            {
                settings(child, &format!("{key}.{name}"), found);
            }
        }
        YamlValue::List(items) => {
            for (i, item) in items.iter().enumerate() {
                settings(item, &format!("{key}[{i}]"), found);
            }
        }
        _ => {
            found.insert(key.to_owned(), node.to_json());
        }
    }
}

#[test]
fn parameter_files_have_the_published_settings() {
    let fixture = Path::new("tests/fixtures/published_settings.yaml");
    let published = Tree::read(fixture, &[]).unwrap();
    let YamlValue::Map(files) = &published.root.value else { panic!("a map of files") };
    assert_eq!(files.len(), 28);
    for (file, expected) in files {
        let mut theirs = BTreeMap::new();
        settings(expected, "", &mut theirs);
        let mut ours = BTreeMap::new();
        settings(&Tree::read(Path::new(file), &[]).unwrap().root, "", &mut ours);
        assert_eq!(ours, theirs, "{file}");
        assert!(ours.len() > 10, "{file}");
    }
}
