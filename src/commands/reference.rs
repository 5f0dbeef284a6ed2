//! What is generated from the tables of keys: the reference page and the JSON
//! schema. Nothing is listed here: both follow the tables from [`TOP`] on.

use super::settings::TOP;
use crate::config::reference::{Note, page};
use crate::config::schema::schema;
use crate::config::{Dialect, Dialects};

const FORK: &str = "\
The keys as `flavell-lab/pytorch-3dunet` has them, with this program's own. [What \
wolny/pytorch-3dunet has](configuration-upstream.md) is read as well: the program tells by the keys \
of a file which of the two it is, says so at the start, and takes the key `dialect` if it should \
not tell.

";

const UPSTREAM: &str = "\
The keys as `wolny/pytorch-3dunet` 1.9 has them, with this program's own that change nothing about \
its numbers. A file is read so if it has keys or names that only this program has, such as \
`max_num_iterations` without `iters`, `halo_shape` or `optimizer.name`, or if the checkpoint to \
predict with has its form; or with `dialect: upstream`. [The other dialect](configuration.md) is that \
of `flavell-lab/pytorch-3dunet`.

";

const INTRODUCTION: &str = "\
This page is written from the program's tables of keys by `UPDATE_DOCS=1 cargo test --release \
--test project`, and so is `SCHEMA`, with which an editor completes and checks keys. \
An editor that runs [yaml-language-server](https://github.com/redhat-developer/yaml-language-server) \
finds the schema by the first line of a configuration:

```yaml
# yaml-language-server: $schema=SCHEMA
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

/// What is generated for a dialect.
pub struct Generated {
    /// Path of the reference page.
    pub page_path: &'static str,
    /// Path of the JSON schema.
    pub schema_path: &'static str,
    introduction: &'static str,
    notes: &'static [Note],
    title: &'static str,
}

/// The pages and schemas of both dialects.
pub static GENERATED: Dialects<Generated> = Dialects {
    fork: Generated {
        page_path: "docs/configuration.md",
        schema_path: "unet3d.schema.json",
        introduction: FORK,
        notes: NOTES,
        title: "unet3d configuration",
    },
    upstream: Generated {
        page_path: "docs/configuration-upstream.md",
        schema_path: "unet3d-upstream.schema.json",
        introduction: UPSTREAM,
        notes: &[],
        title: "unet3d configuration, dialect of wolny/pytorch-3dunet",
    },
};

/// The reference page of a dialect.
pub fn reference_page(dialect: Dialect) -> String {
    let Generated { schema_path, introduction, notes, .. } = GENERATED.of(dialect);
    let common = INTRODUCTION.replace("SCHEMA", schema_path);
    page(TOP.of(dialect), &format!("{introduction}{common}"), notes)
}

/// The JSON schema of a dialect.
pub fn json_schema(dialect: Dialect) -> String {
    let schema = schema(
        TOP.of(dialect),
        GENERATED.of(dialect).title,
        "Configuration of `unet3d train`, `unet3d predict` and `unet3d check`",
    );
    format!("{schema:#}\n")
}
