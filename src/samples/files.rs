//! The files that the `file_paths` of a phase stand for.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::{ConfigError, Node, YamlValue};
use crate::files::identity;
use crate::format::{self, h5};
use crate::volume::VolumeFile;

/// Data sets that hold results, by which our own outputs are told from inputs.
const OUTPUTS: [&str; 2] = ["predictions", "segmentation"];

/// How the files of `unet3d predict` name the command that made them.
pub const MADE_BY_PREDICTION: &str = "unet3d predict";

/// The paths as they stand in the configuration, a path or a list of them.
///
/// # Errors
/// An empty list, or entries that are no text.
pub fn entries(file_paths: &Node) -> Result<Vec<&Node>, ConfigError> {
    let nodes = match &file_paths.value {
        YamlValue::Text(_) => vec![file_paths],
        _ => file_paths.items()?.iter().collect(),
    };
    if nodes.is_empty() {
        return Err(file_paths.error("the list is empty; give at least one file or directory"));
    }
    for node in &nodes {
        node.text()?;
    }
    Ok(nodes)
}

/// The files of the key `file_paths`. A directory stands for its files of the
/// formats of volumes ([`format::list`]).
///
/// # Errors
/// A path that does not exist, a directory without such files.
pub fn file_paths(node: &Node) -> Result<Vec<PathBuf>, ConfigError> {
    expand(node, |_| true)
}

/// As [`file_paths`], but files found in a directory that hold predictions or a
/// segmentation and no data set `raw` are passed over: they are our own outputs. So are
/// outputs of ours that are too damaged to be opened.
pub fn prediction_inputs(node: &Node, raw: &str) -> Result<Vec<PathBuf>, ConfigError> {
    // What cannot be opened stays in the list: it is reported when its turn comes.
    expand(node, |path| match format::open_file(path) {
        Ok(file) => !is_output(&*file, raw),
        Err(_) => !h5::mentions(path, MADE_BY_PREDICTION),
    })
}

fn is_output(file: &dyn VolumeFile, raw: &str) -> bool {
    OUTPUTS.iter().any(|name| *name != raw && file.has(name)) && !file.has(raw)
}

fn expand(node: &Node, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, ConfigError> {
    let mut files = Vec::new();
    for entry in entries(node)? {
        let path = &entry.file_path()?;
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let metadata = fs::metadata(format::file_of(path)).map_err(|error| {
            entry.error(match error.kind() {
                std::io::ErrorKind::NotFound => {
                    format!("no such file or directory (looked for {})", absolute.display())
                }
                _ => format!("{} cannot be opened: {error}", absolute.display()),
            })
        })?;
        if !metadata.is_dir() || format::is_store(path) {
            files.push(path.to_path_buf());
            continue;
        }
        let found = format::list(path).map_err(|error| {
            entry.error(format!("the directory {} cannot be read: {error}", absolute.display()))
        })?;
        let some = !found.is_empty();
        let found: Vec<_> = found.into_iter().filter(|path| wanted(path)).collect();
        if found.is_empty() {
            let absolute = absolute.display();
            return Err(entry.error(if some {
                format!("the directory {absolute} holds only outputs of earlier predictions")
            } else {
                format!("the directory {absolute} holds no {} file", format::patterns())
            }));
        }
        files.extend(found);
    }
    Ok(files)
}

/// Refuses validation files that are also trained on, whatever links or
/// spellings lead to them.
pub fn refuse_overlap(
    train: &[PathBuf],
    validation: &[PathBuf],
    node: &Node,
) -> Result<(), ConfigError> {
    let trained: HashMap<_, _> =
        train.iter().filter_map(|path| Some((identity(path)?, path))).collect();
    for path in validation {
        if let Some(same) = identity(path).and_then(|id| trained.get(&id)) {
            let name = if *same == path {
                format!("{}", path.display())
            } else {
                format!("{} is {}, which", path.display(), same.display())
            };
            return Err(node.error(format!(
                "{name} is also among the training files; \
                 a score on data that was trained on says nothing: take it out of one of the two"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tree;

    fn node(text: &str) -> Node {
        Tree::parse(&format!("file_paths: {text}"), "c.yaml", &[])
            .unwrap()
            .root
            .get("file_paths")
            .unwrap()
            .clone()
    }

    fn names(paths: &[PathBuf]) -> Vec<&str> {
        paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect()
    }

    #[test]
    fn a_directory_stands_for_its_files_in_natural_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["t10.h5", "t2.h5", "t2.hdf5", ".t1.h5", "notes.txt", "t2.H5", "a.hd5", "b.hdf"]
        {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("deeper.h5")).unwrap();
        fs::write(folder.path().join("deeper.h5/t3.h5"), "").unwrap();
        let found = file_paths(&node(&format!("['{}']", folder.path().display()))).unwrap();
        assert_eq!(names(&found), ["a.hd5", "b.hdf", "t2.h5", "t2.hdf5", "t10.h5"]);
        let one = folder.path().join("notes.txt");
        let found = file_paths(&node(&format!("'{}'", one.display()))).unwrap();
        assert_eq!(found, [one]);
    }

    #[test]
    fn what_is_not_there_is_told_in_full() {
        let error = file_paths(&node("[nowhere/t1.h5]")).unwrap_err().to_string();
        let here = std::env::current_dir().unwrap();
        assert!(error.contains(&format!("{}/nowhere/t1.h5", here.display())), "{error}");
        assert!(error.contains("c.yaml:1:") && error.contains("file_paths[0]"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let error =
            file_paths(&node(&format!("['{}']", folder.path().display()))).unwrap_err().to_string();
        assert!(error.contains("holds no *.h5"), "{error}");
        assert!(file_paths(&node("[]")).unwrap_err().to_string().contains("the list is empty"));
        assert!(file_paths(&node("[3]")).unwrap_err().to_string().contains("text is wanted"));
    }

    #[test]
    fn our_own_outputs_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let with = |name: &str, datasets: &[&str]| {
            let path = folder.path().join(name);
            let file = hdf5::File::create(&path).unwrap();
            for dataset in datasets {
                file.new_dataset::<f32>().shape((1, 1, 1)).create(*dataset).unwrap();
            }
            path
        };
        with("a.h5", &["raw"]);
        let output = with("a_predictions.h5", &["predictions"]);
        with("a_seg.h5", &["segmentation"]);
        with("both.h5", &["raw", "predictions"]);
        with("neither.h5", &["label"]);
        fs::write(folder.path().join("broken.h5"), "broken").unwrap();
        let inputs = node(&format!("['{}']", folder.path().display()));
        let found = prediction_inputs(&inputs, "raw").unwrap();
        assert_eq!(names(&found), ["a.h5", "both.h5", "broken.h5", "neither.h5"]);
        // Unless they are what is asked for.
        let found = prediction_inputs(&inputs, "predictions").unwrap();
        assert!(found.contains(&output));
        // A file that is named is taken at its word.
        let named = node(&format!("['{}']", output.display()));
        assert_eq!(prediction_inputs(&named, "raw").unwrap(), [output]);
    }

    #[test]
    fn the_same_file_under_another_name_is_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a.h5"), "a").unwrap();
        fs::write(path("b.h5"), "b").unwrap();
        std::os::unix::fs::symlink(path("a.h5"), path("link.h5")).unwrap();
        fs::hard_link(path("a.h5"), path("hard.h5")).unwrap();
        let overlap = |validation: &str| {
            refuse_overlap(&[path("a.h5")], &[path(validation)], &node("[x]"))
                .map_err(|e| e.to_string())
        };
        assert!(overlap("b.h5").is_ok());
        for name in ["a.h5", "link.h5", "hard.h5", "./a.h5"] {
            assert!(overlap(name).unwrap_err().contains("also among the training files"));
        }
    }
}
