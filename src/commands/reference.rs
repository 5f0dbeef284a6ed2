//! What is generated from the tables of keys: the reference page and the JSON
//! schema. Nothing is listed here: both follow the tables from [`TOP`] on.

use super::settings::TOP;
use crate::config::reference::{Note, page};
use crate::config::schema::schema;

const INTRODUCTION: &str = "\
This page is written from the program's tables of keys by `UPDATE_DOCS=1 cargo test --release \
--test project`, and so is `unet3d.schema.json`, with which an editor completes and checks keys. \
An editor that runs [yaml-language-server](https://github.com/redhat-developer/yaml-language-server) \
finds the schema by the first line of a configuration:

```yaml
# yaml-language-server: $schema=unet3d.schema.json
```

Configurations are YAML as PyYAML's `safe_load` reads it. A key that is null counts as absent \
unless its meaning says otherwise. Wrong types and impossible values are errors that name file, \
line and column; unknown keys are warnings. `--set dotted.key=YAML` on the command line replaces a \
value; items of a list are counted from 0, as in `--set \
loaders.train.transformer.raw.0.axis_prob=0.3`. Arrays are ordered (D, H, W) or (C, D, H, W), and \
lists of three hold z, y and x.";

const NOTES: &[Note] = &[(
    "loaders.{train,val,test}.transformer.{raw,label,weight}",
    "Volumes are (D, H, W) or (C, D, H, W); axes 0, 1, 2 are z, y, x. Each transform draws from a \
     random stream of its own, keyed by the seed, the epoch, the sample, the transform's name and \
     how many of that name came before it in its list: raw, label and weight see the same \
     geometry, and the number of workers changes nothing. Transforms of intensities draw \
     differently for each data set.",
)];

/// The content of `docs/configuration.md`.
pub fn reference_page() -> String {
    page(TOP, INTRODUCTION, NOTES)
}

/// The content of `unet3d.schema.json`.
pub fn json_schema() -> String {
    let schema = schema(
        TOP,
        "unet3d configuration",
        "Configuration of `unet3d train`, `unet3d predict` and `unet3d check`",
    );
    format!("{schema:#}\n")
}
