//! What is written from the tables of keys says what they say.

use std::path::Path;

use unet3d::commands::reference::{GENERATED, json_schema, reference_page};
use unet3d::config::Dialect;

/// Compares a generated file with what it should be. `UPDATE_DOCS=1` writes it.
pub fn check_generated(name: &str, content: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, content).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == content,
        "{name} is out of date: run `UPDATE_DOCS=1 cargo test --release --test project` and \
         commit it"
    );
}

const DIALECTS: [Dialect; 2] = [Dialect::Fork, Dialect::Upstream];

#[test]
fn the_reference_pages_are_up_to_date() {
    for dialect in DIALECTS {
        check_generated(GENERATED.of(dialect).page_path, &reference_page(dialect));
    }
}

#[test]
fn the_schemas_are_up_to_date() {
    for dialect in DIALECTS {
        check_generated(GENERATED.of(dialect).schema_path, &json_schema(dialect));
    }
}
