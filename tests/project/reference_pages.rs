//! `docs/transforms.md` says what the tables of keys say.

use std::path::Path;

use unet3d::augment::reference;

#[test]
fn the_reference_of_transforms_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/transforms.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == reference(),
        "docs/transforms.md is out of date: run \
         `UPDATE_DOCS=1 cargo test --release --test project` and commit it"
    );
}
