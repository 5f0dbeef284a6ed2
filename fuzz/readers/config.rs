//! Reads text as a configuration file; the part before a line of four dashes is
//! an override of the command line.

use crate::config::{Node, Parameter, Tree, YamlValue};

/// Keys of every kind.
static TABLE: &[Parameter] = &[
    Parameter::any("model", ""),
    Parameter::any("trainer", ""),
    Parameter::any("loaders", ""),
    Parameter::flag("flag", true, ""),
    Parameter::integer("manual_seed", 0, "").at_least(0.0),
    Parameter::number("learning_rate", 0.1, "").within(0.0, 1.0),
    Parameter::text("device", "cpu", ""),
    Parameter::choice("name", "a", &["a", "b"], ""),
    Parameter::integers("f_maps", &[1], ""),
    Parameter::numbers("alpha", &[0.5], "").of_length(2),
    Parameter::per_axis("patch_halo", &[4, 8, 8], ""),
    Parameter::texts("file_paths", "x", ""),
    Parameter::path("checkpoint_dir", ""),
    Parameter::planes("axes", &[[1, 2]], ""),
    Parameter::words("mode", &[], &["thick", "inner"], ""),
];

pub fn read(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (overrides, text) = match text.split_once("\n----\n") {
        Some((option, text)) => (vec![option.to_string()], text),
        None => (Vec::new(), text),
    };
    match Tree::parse(text, "fuzzed.yml", &overrides) {
        Ok(tree) => {
            visit(&tree.root);
            let again = Tree::parse(&tree.root.to_json(), "again", &[]);
            drop(again);
            tree.warnings();
        }
        Err(error) => drop(error.to_string()),
    }
}

fn visit(node: &Node) {
    if let Err(error) = node.section(TABLE) {
        let _ = error.to_string();
    }
    match &node.value {
        YamlValue::List(items) => items.iter().for_each(visit),
        YamlValue::Map(entries) => entries.iter().for_each(|(_, node)| visit(node)),
        _ => {}
    }
}
