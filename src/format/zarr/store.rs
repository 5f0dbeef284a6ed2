//! A store, or an array or group within it, opened for reading.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use super::metadata::{Image, Node, is_node};
use super::reader::ZarrArray;
use crate::format::axes::{ReadOptions, usual_axes};
use crate::volume::{Calibration, VolumeFile, VolumeReader};

/// A node of a store.
#[derive(Debug)]
pub(super) struct ZarrStore {
    /// Absolute path of its directory.
    path: PathBuf,
    node: Node,
    options: ReadOptions,
}

/// Attribute with the names of the volumes that prediction wrote, and the groups of their
/// images.
pub(super) const VOLUMES: &str = "volumes";

/// Arrays that are looked for in groups of groups, at most.
const DEPTH: usize = 4;
const MOST: usize = 10_000;

impl ZarrStore {
    pub fn open(path: &Path, options: &ReadOptions) -> Result<ZarrStore> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let node = Node::read(&path).with_context(|| path.display().to_string())?;
        Ok(ZarrStore { path, node, options: options.clone() })
    }

    /// The volume that the node itself is: an array, or the largest level of an image.
    fn own_volume(&self) -> Result<Option<ZarrArray>> {
        volume_of(&self.path, &self.node, &self.options)
    }

    /// The node of that path within this one, which does not lead out of it.
    fn inner(&self, name: &str) -> Option<PathBuf> {
        let ours = self.node.attributes.get("unet3d").and_then(|ours| ours.get(VOLUMES));
        let name = match ours.and_then(|ours| ours.get(name)).and_then(Value::as_str) {
            Some("") => return Some(self.path.clone()),
            Some(group) => group,
            None => name,
        };
        let name = name.trim_matches('/');
        let sound =
            !name.is_empty() && name.split('/').all(|part| !["", ".", ".."].contains(&part));
        let path = self.path.join(name);
        (sound && is_node(&path)).then_some(path)
    }

    /// Names of arrays and images, also those in groups.
    fn inner_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        collect(&self.path, "", DEPTH, &mut names);
        names
    }
}

/// An array as a volume, or the largest level of an image; `None` for other groups.
fn volume_of(path: &Path, node: &Node, options: &ReadOptions) -> Result<Option<ZarrArray>> {
    if let Some(array) = &node.array {
        let axes = match &array.axes {
            Some(axes) => axes.clone(),
            None if options.axes.is_some() => String::new(),
            None => usual_axes(array.shape.len())?.to_owned(),
        };
        let known = array.axes.is_some();
        return ZarrArray::open(path, array, &axes, known, options, Calibration::default())
            .map(Some);
    }
    let Some(image) = node.image()? else {
        ensure!(
            !node.attributes.contains_key("plate"),
            "it is a plate of many images: name one of them, as in plate.zarr/A/1/0"
        );
        // bioformats2raw puts images into groups 0, 1, …
        let first = path.join("0");
        if (node.attributes.contains_key("bioformats2raw.layout")
            || node
                .attributes
                .get("ome")
                .is_some_and(|ome| ome.get("bioformats2raw.layout").is_some()))
            && is_node(&first)
        {
            if is_node(&path.join("1")) {
                log::warn!("{}: of several images, `0` is read", path.display());
            }
            return volume_of(&first, &Node::read(&first).context("`0`")?, options);
        }
        return Ok(None);
    };
    let mut larger: Option<Vec<usize>> = None;
    let mut first = None;
    for level in &image.levels {
        let node = Node::read(&path.join(level)).with_context(|| wrong_levels(level))?;
        let array = node.array.with_context(|| wrong_levels(level))?;
        ensure!(
            array.shape.len() == image.axes.chars().count()
                && larger.as_ref().is_none_or(|larger| {
                    larger.iter().zip(&array.shape).all(|(before, now)| before >= now)
                }),
            "{}: its shape is {:?}, of axes {}",
            wrong_levels(level),
            array.shape,
            image.axes
        );
        larger = Some(array.shape.clone());
        first.get_or_insert(array);
    }
    let (level, Image { axes, calibration, .. }) = (image.levels[0].clone(), image);
    let array = first.context("it has no levels")?;
    ZarrArray::open(&path.join(level), &array, &axes, true, options, calibration).map(Some)
}

fn wrong_levels(level: &str) -> String {
    format!(
        "its level `{level}` does not fit what `multiscales` says: write the levels again, or name \
         the array to read, as in v.zarr/0"
    )
}

fn collect(directory: &Path, prefix: &str, depth: usize, names: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut inner: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    inner.sort();
    for name in inner {
        let path = directory.join(&name);
        if names.len() >= MOST || !is_node(&path) {
            continue;
        }
        let Ok(node) = Node::read(&path) else { continue };
        let named = format!("{prefix}{name}");
        if node.array.is_some() || node.image().is_ok_and(|image| image.is_some()) {
            names.push(named);
        } else if depth > 0 {
            collect(&path, &format!("{named}/"), depth - 1, names);
        }
    }
}

impl VolumeFile for ZarrStore {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names_volumes(&self) -> bool {
        self.node.array.is_none() && !matches!(self.node.image(), Ok(Some(_)))
    }

    fn names(&self) -> Vec<String> {
        // The levels of an image are no volumes of their own.
        let levels = self.node.image().ok().flatten().map(|image| image.levels);
        let mut names = self.inner_names();
        names.retain(|name| levels.as_ref().is_none_or(|levels| !levels.contains(name)));
        names
    }

    fn has(&self, name: &str) -> bool {
        self.inner(name).is_some_and(|path| {
            Node::read(&path)
                .is_ok_and(|node| node.array.is_some() || matches!(node.image(), Ok(Some(_))))
        })
    }

    fn volume(&self, name: &str) -> Result<Arc<dyn VolumeReader>> {
        let open = || -> Result<ZarrArray> {
            if let Some(path) = self.inner(name) {
                let node = Node::read(&path).with_context(|| format!("`{name}`"))?;
                let volume = volume_of(&path, &node, &self.options);
                if let Some(volume) = volume.with_context(|| format!("`{name}`"))? {
                    return Ok(volume.named(name));
                }
            }
            if let Some(volume) = self.own_volume()? {
                return Ok(volume);
            }
            match self.inner_names() {
                names if names.is_empty() => bail!("the store has no array and no image"),
                names => Err(anyhow!("no array `{name}`; the store has {}", names.join(", "))),
            }
        };
        Ok(Arc::new(open().with_context(|| self.path.display().to_string())?))
    }

    fn attribute(&self, name: &str) -> Result<Option<String>> {
        let ours = self.node.attributes.get("unet3d").and_then(|ours| ours.get(name));
        Ok(ours
            .or_else(|| self.node.attributes.get(name))
            .and_then(Value::as_str)
            .map(str::to_owned))
    }
}
