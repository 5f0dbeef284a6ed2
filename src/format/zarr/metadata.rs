//! What the JSON files of a Zarr store say of its arrays and groups.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use crate::volume::{Calibration, LengthUnit, StoredType};

/// Files by which a directory is known as a node of a store.
const FILES: [&str; 4] = ["zarr.json", ".zarray", ".zgroup", ".zattrs"];

/// No file of metadata is larger.
const LARGEST: u64 = 64 << 20;

/// An array or a group.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// `None` for a group.
    pub array: Option<ArrayMetadata>,
    pub attributes: Map<String, Value>,
}

/// What an array is, as far as it is not left to the decoder.
#[derive(Clone, Debug)]
pub(super) struct ArrayMetadata {
    pub shape: Vec<usize>,
    /// Of what stands in one file: shards, or chunks where there are none.
    pub chunk: Vec<usize>,
    pub stored: StoredType,
    /// Names of the axes, one letter each, where all of them have one.
    pub axes: Option<String>,
}

/// Whether a directory is an array or a group of a store.
pub(super) fn is_node(directory: &Path) -> bool {
    FILES.iter().any(|file| directory.join(file).is_file())
}

impl Node {
    /// Reads the metadata of a directory.
    ///
    /// # Errors
    /// A directory that is no node, and metadata that cannot be read.
    pub fn read(directory: &Path) -> Result<Node> {
        if let Some(json) = read(&directory.join("zarr.json"))? {
            let attributes = object(json.get("attributes"));
            let array = match json.get("node_type").and_then(Value::as_str) {
                Some("array") => Some(version_3(&json).context("zarr.json")?),
                Some("group") => None,
                other => bail!("zarr.json: `node_type` is {other:?}"),
            };
            return Ok(Node { array, attributes });
        }
        let attributes = object(read(&directory.join(".zattrs"))?.as_ref());
        if let Some(json) = read(&directory.join(".zarray"))? {
            let array = version_2(&json, &attributes).context(".zarray")?;
            return Ok(Node { array: Some(array), attributes });
        }
        ensure!(is_node(directory), "no Zarr array or group");
        Ok(Node { array: None, attributes })
    }

    /// The directions of z, y and x that this program has noted.
    fn directions(&self) -> Option<[[f64; 3]; 3]> {
        let rows = self.attributes.get("unet3d")?.get(super::image::DIRECTIONS)?.as_array()?;
        let row = |row: &Value| -> Option<[f64; 3]> {
            let numbers: Option<Vec<f64>> = row.as_array()?.iter().map(Value::as_f64).collect();
            numbers?.try_into().ok()
        };
        rows.iter().map(row).collect::<Option<Vec<_>>>()?.try_into().ok()
    }

    /// The first of the images that OME metadata describe.
    pub fn image(&self) -> Result<Option<Image>> {
        let within = self.attributes.get("ome").and_then(Value::as_object);
        let attributes = within.unwrap_or(&self.attributes);
        match attributes.get("multiscales").and_then(Value::as_array).and_then(|all| all.first()) {
            Some(image) => {
                let mut image = Image::read(image, attributes).context("`multiscales`")?;
                image.calibration.directions = self.directions();
                let ours = self.attributes.get("unet3d");
                if ours.is_some_and(|ours| ours.get(super::image::NO_VOXEL_SIZE).is_some()) {
                    image.calibration.spacing = None;
                }
                Ok(Some(image))
            }
            None => Ok(None),
        }
    }
}

fn read(path: &Path) -> Result<Option<Value>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => bail!(
            "it is a file, and a Zarr store is a directory: unpack it if it is an archive of one"
        ),
        Err(error) => return Err(error).context(name),
        Ok(found) => ensure!(found.is_file() && found.len() <= LARGEST, "{name}: no metadata"),
    }
    let text = fs::read(path).with_context(|| name.clone())?;
    serde_json::from_slice(&text).map(Some).with_context(|| {
        format!("{name}: not JSON: the store is damaged or was not copied completely")
    })
}

fn object(value: Option<&Value>) -> Map<String, Value> {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}

fn lengths(value: Option<&Value>, key: &str) -> Result<Vec<usize>> {
    let lengths = value.and_then(Value::as_array).and_then(|all| {
        all.iter().map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok())).collect()
    });
    lengths.with_context(|| format!("`{key}` is no list of lengths"))
}

fn version_3(json: &Value) -> Result<ArrayMetadata> {
    let grid = json.get("chunk_grid");
    let kind = grid.and_then(|grid| grid.get("name")).and_then(Value::as_str);
    ensure!(kind == Some("regular"), "chunks of several sizes (`chunk_grid`) are not read");
    let chunk = grid.and_then(|grid| grid.get("configuration")?.get("chunk_shape"));
    let name = json.get("data_type").and_then(Value::as_str).unwrap_or_default();
    let names = json.get("dimension_names").and_then(Value::as_array);
    ArrayMetadata {
        shape: lengths(json.get("shape"), "shape")?,
        chunk: lengths(chunk, "chunk_shape")?,
        stored: stored_type(name).with_context(|| {
            format!("`data_type: {}` is no number of a volume", json["data_type"])
        })?,
        axes: names.and_then(|names| letters(names)),
    }
    .checked()
}

fn version_2(json: &Value, attributes: &Map<String, Value>) -> Result<ArrayMetadata> {
    let dtype = json.get("dtype").and_then(Value::as_str).unwrap_or_default();
    let name = match dtype.trim_start_matches(['<', '>', '|', '=']) {
        "b1" => "bool",
        "u1" => "uint8",
        "i1" => "int8",
        "u2" => "uint16",
        "i2" => "int16",
        "u4" => "uint32",
        "i4" => "int32",
        "u8" => "uint64",
        "i8" => "int64",
        "f2" => "float16",
        "f4" => "float32",
        "f8" => "float64",
        _ => "",
    };
    // As xarray names them.
    let names = attributes.get("_ARRAY_DIMENSIONS").and_then(Value::as_array);
    ArrayMetadata {
        shape: lengths(json.get("shape"), "shape")?,
        chunk: lengths(json.get("chunks"), "chunks")?,
        stored: stored_type(name)
            .with_context(|| format!("`dtype: {}` is no number of a volume", json["dtype"]))?,
        axes: names.and_then(|names| letters(names)),
    }
    .checked()
}

impl ArrayMetadata {
    fn checked(self) -> Result<ArrayMetadata> {
        ensure!(
            self.shape.len() == self.chunk.len() && !self.chunk.contains(&0),
            "chunks {:?} of an array {:?}",
            self.chunk,
            self.shape
        );
        ensure!(
            self.shape.iter().try_fold(8usize, |all, &n| all.checked_mul(n)).is_some(),
            "the shape {:?} is larger than any volume",
            self.shape
        );
        Ok(self)
    }
}

fn stored_type(name: &str) -> Option<StoredType> {
    Some(match name {
        "bool" | "uint8" => StoredType::U8,
        "int8" => StoredType::I8,
        "uint16" => StoredType::U16,
        "int16" => StoredType::I16,
        "uint32" => StoredType::U32,
        "int32" => StoredType::I32,
        "uint64" => StoredType::U64,
        "int64" => StoredType::I64,
        "float16" => StoredType::F16,
        "float32" => StoredType::F32,
        "float64" => StoredType::F64,
        _ => return None,
    })
}

/// The axes of a list of names, if all of them are known.
fn letters(names: &[Value]) -> Option<String> {
    let letter = |name: &Value| {
        let name = name.as_str()?.to_ascii_lowercase();
        Some(match name.as_str() {
            "t" | "time" => 't',
            "c" | "channel" | "channels" => 'c',
            "z" | "depth" | "plane" => 'z',
            "y" | "height" | "row" => 'y',
            "x" | "width" | "col" => 'x',
            _ => return None,
        })
    };
    names.iter().map(letter).collect()
}

/// An image of OME-Zarr: an array, and smaller ones made of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Image {
    /// Names of the axes, one letter each.
    pub axes: String,
    /// Paths of the arrays within the group, the largest first.
    pub levels: Vec<String>,
    /// Space of the first of them. Its lengths stand along z, y and x.
    pub calibration: Calibration,
}

impl Image {
    /// From metadata of the versions 0.1 to 0.5 of the format,
    /// <https://ngff.openmicroscopy.org>.
    fn read(image: &Value, attributes: &Map<String, Value>) -> Result<Image> {
        let datasets = image.get("datasets").and_then(Value::as_array);
        let datasets = datasets.filter(|all| !all.is_empty()).context("there are no `datasets`")?;
        let levels: Option<Vec<String>> = datasets
            .iter()
            .map(|dataset| dataset.get("path").and_then(Value::as_str).map(str::to_owned))
            .collect();
        let levels = levels.context("one of `datasets` has no `path`")?;
        let axes = match image.get("axes").and_then(Value::as_array) {
            // As in the first versions.
            None => "tczyx".to_owned(),
            Some(axes) => axes
                .iter()
                .map(|axis| {
                    axis.get("name").unwrap_or(axis).as_str()?.to_lowercase().chars().next()
                })
                .collect::<Option<String>>()
                .context("one of `axes` has no name")?,
        };
        let units = image.get("axes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let unit_of = |axis: usize| {
            units.get(axis)?.get("unit").and_then(Value::as_str).and_then(LengthUnit::parse)
        };
        let of_level = steps(datasets[0].get("coordinateTransformations"), axes.len())?;
        let of_image = steps(image.get("coordinateTransformations"), axes.len())?;
        let scale = product(&of_level.scale, &of_image.scale);
        let places: Vec<Option<usize>> = "zyx".chars().map(|letter| axes.find(letter)).collect();
        let pick = |numbers: &[f64], missing: Option<f64>| -> Option<[f64; 3]> {
            let picked: Option<Vec<f64>> =
                places.iter().map(|place| place.map(|at| numbers[at]).or(missing)).collect();
            picked?.try_into().ok()
        };
        let unit = places.iter().flatten().find_map(|axis| unit_of(*axis));
        let factor = |axis: usize| match (unit_of(axis), unit) {
            (Some(own), Some(unit)) if own != unit => own.micrometres() / unit.micrometres(),
            _ => 1.0,
        };
        let in_unit = |numbers: Vec<f64>| -> Vec<f64> {
            numbers.into_iter().enumerate().map(|(axis, n)| n * factor(axis)).collect()
        };
        let origin = of_level.translation.map(|place| -> Vec<f64> {
            let place = product(&Some(place), &of_image.scale).unwrap_or_default();
            let moved = of_image.translation.unwrap_or_else(|| vec![0.0; place.len()]);
            place.iter().zip(moved).map(|(a, b)| a + b).collect()
        });
        let channels = attributes
            .get("omero")
            .and_then(|omero| omero.get("channels"))
            .and_then(Value::as_array)
            .and_then(|all| {
                all.iter()
                    .map(|channel| channel.get("label").and_then(Value::as_str).map(str::to_owned))
                    .collect::<Option<Vec<_>>>()
            });
        Ok(Image {
            calibration: Calibration {
                spacing: scale.map(in_unit).and_then(|scale| pick(&scale, Some(1.0))),
                unit,
                origin: origin.map(in_unit).and_then(|origin| pick(&origin, Some(0.0))),
                directions: None,
                channels: channels.unwrap_or_default(),
            },
            axes,
            levels,
        })
    }
}

#[derive(Default)]
struct Steps {
    scale: Option<Vec<f64>>,
    translation: Option<Vec<f64>>,
}

fn steps(list: Option<&Value>, rank: usize) -> Result<Steps> {
    let mut found = Steps::default();
    for step in list.and_then(Value::as_array).map_or(&[][..], Vec::as_slice) {
        for (key, place) in [("scale", &mut found.scale), ("translation", &mut found.translation)] {
            let Some(numbers) = step.get(key).and_then(Value::as_array) else { continue };
            let numbers: Option<Vec<f64>> = numbers.iter().map(Value::as_f64).collect();
            let numbers = numbers.filter(|numbers| numbers.len() == rank);
            *place = Some(numbers.with_context(|| format!("a `{key}` has not {rank} numbers"))?);
        }
    }
    Ok(found)
}

fn product(a: &Option<Vec<f64>>, b: &Option<Vec<f64>>) -> Option<Vec<f64>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.iter().zip(b).map(|(a, b)| a * b).collect()),
        (one, other) => one.clone().or_else(|| other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn image(multiscales: Value) -> Result<Image> {
        let node = json!({"ome": {"multiscales": [multiscales], "omero": {"channels": [{"label": "GFP"}]}}});
        let attributes = object(Some(&node));
        Ok(Node { array: None, attributes }.image()?.unwrap())
    }

    #[test]
    fn space_is_that_of_the_first_level() {
        let found = image(json!({
            "axes": [
                {"name": "c", "type": "channel"},
                {"name": "z", "type": "space", "unit": "micrometer"},
                {"name": "y", "type": "space", "unit": "nanometer"},
                {"name": "x", "type": "space", "unit": "nanometer"}
            ],
            "datasets": [
                {"path": "s0", "coordinateTransformations": [
                    {"type": "scale", "scale": [1, 0.5, 100, 200]},
                    {"type": "translation", "translation": [0, 1, 2, 3]}]},
                {"path": "s1"}
            ],
            "coordinateTransformations": [{"type": "scale", "scale": [1, 2, 1, 1]}]
        }))
        .unwrap();
        assert_eq!(
            (found.axes.as_str(), &found.levels[..]),
            ("czyx", &["s0".into(), "s1".into()][..])
        );
        let space = &found.calibration;
        assert_eq!(space.unit, Some(LengthUnit::Micrometre));
        assert_eq!(space.spacing, Some([1.0, 0.1, 0.2]));
        assert_eq!(space.origin, Some([2.0, 0.002, 0.003]));
        assert_eq!(space.channels, ["GFP"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |multiscales| format!("{:#}", image(multiscales).unwrap_err());
        assert!(message(json!({"datasets": []})).contains("no `datasets`"));
        assert!(message(json!({"datasets": [{}]})).contains("no `path`"));
        let short = json!({"datasets": [{"path": "0",
            "coordinateTransformations": [{"type": "scale", "scale": [1]}]}]});
        assert!(message(short).contains("5 numbers"));
    }
}
