//! What is written from the tables of keys says what they say.

use std::path::Path;

use unet3d::commands::reference::{json_schema, reference_page};

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

#[test]
fn the_reference_page_is_up_to_date() {
    check_generated("docs/configuration.md", &reference_page());
}

#[test]
fn the_schema_is_up_to_date() {
    check_generated("unet3d.schema.json", &json_schema());
}
