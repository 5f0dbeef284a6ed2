//! The files that the `file_paths` of a phase stand for.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::{ConfigError, Node, Parameter, Section, YamlValue};
use crate::files::{by_natural_order, identity};
use crate::format::{self, MADE_BY};
use crate::volume::VolumeFile;

/// Data sets that hold results, by which our own outputs are told from inputs.
const OUTPUTS: [&str; 2] = ["predictions", "segmentation"];

/// How the files of `unet3d predict` name the command that made them.
pub const MADE_BY_PREDICTION: &str = "unet3d predict";

/// The keys of an item of `file_paths` whose volumes are in files of their own.
pub(super) const ENTRY: &[Parameter] = &[
    Parameter::path("raw", "file, pattern or directory of the raw data").required(),
    Parameter::path("label", "the same of the labels; in the file of the raw data if absent"),
    Parameter::path("weight", "the same of the weight maps"),
];

/// The keys of a phase that name files.
#[derive(Clone, Debug)]
pub struct FilePaths {
    /// `file_paths`.
    pub node: Node,
    labels: Option<Node>,
    weights: Option<Node>,
    /// Axes of the raw files, where their paths do not say them.
    axes: Option<String>,
}

/// The files of one raw volume, its labels and its weights. `None` if they are in the
/// file of the raw data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampleFiles {
    pub raw: PathBuf,
    pub label: Option<PathBuf>,
    pub weight: Option<PathBuf>,
}

impl FilePaths {
    /// Takes the keys from the section of a phase.
    ///
    /// # Errors
    /// If `file_paths` is missing, and axes that make no volume.
    pub fn read(phase: &Section<'_>) -> Result<FilePaths, ConfigError> {
        let optional = |key: &str| match phase.knows(key) {
            true => phase.child(key).cloned(),
            false => None,
        };
        Ok(FilePaths {
            node: phase.required("file_paths")?.clone(),
            labels: optional("label_paths"),
            weights: optional("weight_paths"),
            axes: match phase.maybe_text("axes") {
                Some(axes) => Some(
                    format::ReadOptions::parse_axes(axes)
                        .map_err(|error| phase.error("axes", error.to_string()))?,
                ),
                None => None,
            },
        })
    }

    /// All files. A directory stands for its files of the formats of volumes
    /// ([`format::list`]).
    ///
    /// # Errors
    /// A path that does not exist, a directory without such files, and raw data without
    /// labels or the reverse.
    pub fn all(&self) -> Result<Vec<SampleFiles>, ConfigError> {
        self.find(&|_| true)
    }

    /// As [`FilePaths::all`], but files found in a directory or by a pattern that hold
    /// predictions or a segmentation and no data set `raw` are passed over: they are our
    /// own outputs. So are outputs of ours that are too damaged to be opened.
    pub fn prediction_inputs(&self, raw: &str) -> Result<Vec<SampleFiles>, ConfigError> {
        // What cannot be opened stays in the list: it is reported when its turn comes.
        self.find(&|path| match format::open_file(path) {
            Ok(file) => !is_output(&*file, raw),
            Err(_) => !format::mentions(path, MADE_BY_PREDICTION),
        })
    }

    fn find(&self, wanted: &dyn Fn(&Path) -> bool) -> Result<Vec<SampleFiles>, ConfigError> {
        let mut files = Vec::new();
        for entry in items(&self.node)? {
            files.extend(match entry.value {
                YamlValue::Map(_) => of_item(entry, wanted)?,
                _ => expand(entry, wanted)?
                    .into_iter()
                    .map(|raw| SampleFiles { raw, ..SampleFiles::default() })
                    .collect(),
            });
        }
        if let Some(axes) = &self.axes {
            for file in files.iter_mut().filter(|file| !format::says_axes(&file.raw)) {
                file.raw.as_mut_os_string().push(format!(":axes={axes}"));
            }
        }
        let open = |label: &SampleFiles| label.label.is_none();
        add(&mut files, self.labels.as_ref(), "label file", open, |file| &mut file.label)?;
        let open = |weight: &SampleFiles| weight.weight.is_none();
        add(&mut files, self.weights.as_ref(), "weight map", open, |file| &mut file.weight)?;
        Ok(files)
    }
}

/// Gives the files of `node`, if there is one, to those that are still open.
fn add(
    files: &mut [SampleFiles],
    node: Option<&Node>,
    what: &str,
    open: impl Fn(&SampleFiles) -> bool,
    place: impl Fn(&mut SampleFiles) -> &mut Option<PathBuf>,
) -> Result<(), ConfigError> {
    let Some(node) = node else { return Ok(()) };
    let mut found = Vec::new();
    for entry in items(node)? {
        found.extend(expand(entry, &|_| true)?);
    }
    let raw: Vec<PathBuf> =
        files.iter().filter(|file| open(file)).map(|file| file.raw.clone()).collect();
    let partners =
        format::pair((&raw, "raw file"), (&found, what)).map_err(|message| node.error(message))?;
    for (file, partner) in files.iter_mut().filter(|file| open(file)).zip(partners) {
        *place(file) = Some(partner);
    }
    Ok(())
}

/// The files of an item `{raw: …, label: …, weight: …}`.
fn of_item(entry: &Node, wanted: &dyn Fn(&Path) -> bool) -> Result<Vec<SampleFiles>, ConfigError> {
    let section = entry.section(ENTRY)?;
    let raw = expand(section.required("raw")?, wanted)?;
    let mut files: Vec<SampleFiles> =
        raw.into_iter().map(|raw| SampleFiles { raw, ..SampleFiles::default() }).collect();
    add(&mut files, section.child("label"), "label file", |_| true, |file| &mut file.label)?;
    add(&mut files, section.child("weight"), "weight map", |_| true, |file| &mut file.weight)?;
    Ok(files)
}

/// The paths as they stand in the configuration, a path or a list of them.
///
/// # Errors
/// An empty list, or entries that are no text.
pub fn entries(file_paths: &Node) -> Result<Vec<&Node>, ConfigError> {
    let nodes = items(file_paths)?;
    for node in &nodes {
        node.text()?;
    }
    Ok(nodes)
}

fn items(paths: &Node) -> Result<Vec<&Node>, ConfigError> {
    let nodes: Vec<&Node> = match &paths.value {
        YamlValue::Text(_) => vec![paths],
        _ => paths.items()?.iter().collect(),
    };
    if nodes.is_empty() {
        return Err(paths.error("the list is empty; give at least one file or directory"));
    }
    Ok(nodes)
}

fn is_output(file: &dyn VolumeFile, raw: &str) -> bool {
    if file.names_volumes() {
        return OUTPUTS.iter().any(|name| *name != raw && file.has(name)) && !file.has(raw);
    }
    // Of a format without names, it is the mark that tells.
    file.attribute(MADE_BY).is_ok_and(|found| found.as_deref() == Some(MADE_BY_PREDICTION))
}

/// The files that a path stands for.
fn expand(entry: &Node, wanted: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>, ConfigError> {
    let path = &entry.file_path()?;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let file = format::file_of(path);
    if is_pattern(&file) {
        return matches(entry, path, &file, wanted);
    }
    let metadata = fs::metadata(file).map_err(|error| {
        entry.error(match error.kind() {
            std::io::ErrorKind::NotFound => {
                format!("no such file or directory (looked for {})", absolute.display())
            }
            _ => format!("{} cannot be opened: {error}", absolute.display()),
        })
    })?;
    if !metadata.is_dir() || format::is_store(path) {
        return Ok(vec![path.to_path_buf()]);
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
    Ok(found)
}

/// Whether a path is a pattern such as `images/*.tif`, and not the name of a file that
/// has such letters in it.
fn is_pattern(file: &Path) -> bool {
    file.to_string_lossy().contains(['*', '?', '[']) && !file.exists()
}

/// The files and stores that fit a pattern, in natural order, each with the choices that
/// stand at the end of `path`.
fn matches(
    entry: &Node,
    path: &Path,
    pattern: &Path,
    wanted: &dyn Fn(&Path) -> bool,
) -> Result<Vec<PathBuf>, ConfigError> {
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let pattern = pattern.to_string_lossy();
    let choices = path.to_string_lossy()[pattern.len()..].to_owned();
    let found = glob::glob_with(&pattern, options)
        .map_err(|error| entry.error(format!("the pattern `{pattern}`: {error}")))?;
    let mut files = Vec::new();
    for path in found {
        let path =
            path.map_err(|error| entry.error(format!("the pattern `{pattern}`: {error}")))?;
        if path.is_file() || format::is_store(&path) {
            files.push(path);
        }
    }
    let some = !files.is_empty();
    files.retain(|path| wanted(path));
    if files.is_empty() {
        let here = std::env::current_dir().unwrap_or_default();
        return Err(entry.error(match some {
            true => format!("`{pattern}` fits only outputs of earlier predictions"),
            false => format!("no file fits the pattern `{pattern}` (looked in {})", here.display()),
        }));
    }
    files.sort_by(|a, b| by_natural_order(&a.to_string_lossy(), &b.to_string_lossy()));
    Ok(files
        .into_iter()
        .map(|file| PathBuf::from(format!("{}{choices}", file.display())))
        .collect())
}

/// Refuses validation files that are also trained on, whatever links or
/// spellings lead to them.
pub fn refuse_overlap(
    train: &[SampleFiles],
    validation: &[SampleFiles],
    node: &Node,
) -> Result<(), ConfigError> {
    // Time points of one file may go to either.
    let volume = |path: &Path| {
        let file = format::file_of(path);
        let choices = path.to_string_lossy()[file.to_string_lossy().len()..].to_owned();
        Some((identity(&file)?, choices))
    };
    let trained: HashMap<_, _> =
        train.iter().filter_map(|file| Some((volume(&file.raw)?, &file.raw))).collect();
    for path in validation.iter().map(|file| &file.raw) {
        if let Some(same) = volume(path).and_then(|id| trained.get(&id)) {
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

    fn phase(text: &str) -> FilePaths {
        let root = Tree::parse(text, "c.yaml", &[]).unwrap().root;
        let keys = crate::samples::PHASE.of(root.dialect());
        FilePaths::read(&root.section(*keys).unwrap()).unwrap()
    }

    fn node(text: &str) -> FilePaths {
        phase(&format!("file_paths: {text}"))
    }

    fn raw(files: Vec<SampleFiles>) -> Vec<PathBuf> {
        files.into_iter().map(|file| file.raw).collect()
    }

    fn file_paths(paths: &FilePaths) -> Result<Vec<PathBuf>, ConfigError> {
        paths.all().map(raw)
    }

    fn prediction_inputs(paths: &FilePaths, name: &str) -> Result<Vec<PathBuf>, ConfigError> {
        paths.prediction_inputs(name).map(raw)
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
            let file = |name: &str| SampleFiles { raw: path(name), ..SampleFiles::default() };
            refuse_overlap(&[file("a.h5")], &[file(validation)], &node("[x]").node)
                .map_err(|e| e.to_string())
        };
        assert!(overlap("b.h5").is_ok());
        for name in ["a.h5", "link.h5", "hard.h5", "./a.h5"] {
            assert!(overlap(name).unwrap_err().contains("also among the training files"));
        }
    }

    #[test]
    fn labels_may_be_in_files_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("masks")).unwrap();
        for name in ["t1.tif", "t2.tif", "t10.tif", "masks/t1_mask.tif", "masks/t2_mask.tif"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let place = |name: &str| folder.path().join(name);
        let files =
            |text: &str| phase(&text.replace('@', &folder.path().display().to_string())).all();
        let found = files("file_paths: '@/t?.tif'\nlabel_paths: ['@/masks/*.tif']").unwrap();
        assert_eq!(raw(found.clone()), [place("t1.tif"), place("t2.tif")]);
        assert_eq!(found[1].label, Some(place("masks/t2_mask.tif")));
        let found = files("file_paths: ['@/t10.tif', {raw: '@/t?.tif', label: '@/masks'}]");
        let found = found.unwrap();
        assert_eq!(found[0].label, None);
        assert_eq!(found[2].label, Some(place("masks/t2_mask.tif")));
        let chosen = files("file_paths: ['@/t1*.tif:t=3']").unwrap();
        assert_eq!(raw(chosen), [place("t1.tif:t=3"), place("t10.tif:t=3")]);
        let error = |text: &str| files(text).unwrap_err().to_string();
        let lonely = error("file_paths: '@/*.tif'\nlabel_paths: '@/masks'");
        assert!(lonely.contains("t10.tif has no label file"), "{lonely}");
        assert!(lonely.contains("c.yaml:2:") && lonely.contains("label_paths"), "{lonely}");
        assert!(error("file_paths: '@/*.h5'").contains("no file fits the pattern"));
        assert!(error("file_paths: [{label: '@/t1.tif'}]").contains("`raw` is missing"));
    }
}
