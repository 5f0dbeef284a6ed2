//! Metadata as the versions that are written have them: OME-Zarr 0.5 is Zarr 3, and 0.4,
//! [`Edition::Previous`], is Zarr 2.

use serde_json::{Map, Value, json};

use super::level::ArraySpec;
use crate::volume::{Compression, Edition, StoredType};

/// The files that describe an array, with their content.
pub(super) fn array_files(spec: &ArraySpec) -> Vec<(&'static str, Value)> {
    let names = &["c", "z", "y", "x"][4 - spec.shape.len()..];
    match spec.edition {
        Edition::Newest => vec![("zarr.json", version_3(spec, names))],
        Edition::Previous => vec![
            (".zarray", version_2(spec)),
            // As xarray names axes.
            (".zattrs", json!({"_ARRAY_DIMENSIONS": names})),
        ],
    }
}

/// The value of voxels that are not stored.
fn fill(stored: StoredType) -> Value {
    if stored.element().is_float() { json!(0.0) } else { json!(0) }
}

/// As zarr-python 3 writes them.
fn version_3(spec: &ArraySpec, names: &[&str]) -> Value {
    let bytes = match spec.stored.size() {
        1 => json!({"name": "bytes"}),
        _ => json!({"name": "bytes", "configuration": {"endian": "little"}}),
    };
    let mut codecs = vec![bytes];
    if spec.compression != Compression::None {
        // The default of zarr-python.
        let configuration = json!({"level": 0, "checksum": false});
        codecs.push(json!({"name": "zstd", "configuration": configuration}));
    }
    if spec.shard.is_some() {
        codecs = vec![json!({
            "name": "sharding_indexed",
            "configuration": {
                "chunk_shape": spec.chunk,
                "codecs": codecs,
                "index_codecs": [
                    {"name": "bytes", "configuration": {"endian": "little"}},
                    {"name": "crc32c"},
                ],
                "index_location": "end",
            },
        })];
    }
    json!({
        "zarr_format": 3,
        "node_type": "array",
        "shape": spec.shape,
        "data_type": spec.stored.name(),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": spec.file()}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill(spec.stored),
        "codecs": codecs,
        "attributes": {},
        "dimension_names": names,
        "storage_transformers": [],
    })
}

/// As zarr-python 2 writes them: its default, Blosc, is what most programs of that time read.
fn version_2(spec: &ArraySpec) -> Value {
    let compressor = match spec.compression {
        Compression::None => Value::Null,
        Compression::Gzip { .. } => {
            json!({"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0})
        }
    };
    json!({
        "zarr_format": 2,
        "shape": spec.shape,
        "chunks": spec.chunk,
        "dtype": dtype(spec.stored),
        "compressor": compressor,
        "fill_value": fill(spec.stored),
        "order": "C",
        "filters": null,
        "dimension_separator": "/",
    })
}

/// The name of a type in Zarr 2, that of numpy.
fn dtype(stored: StoredType) -> &'static str {
    match stored {
        StoredType::U8 => "|u1",
        StoredType::I8 => "|i1",
        StoredType::U16 => "<u2",
        StoredType::I16 => "<i2",
        StoredType::U32 => "<u4",
        StoredType::I32 => "<i4",
        StoredType::U64 => "<u8",
        StoredType::I64 => "<i8",
        StoredType::F16 => "<f2",
        StoredType::F32 => "<f4",
        StoredType::F64 => "<f8",
    }
}

/// The path of a file of chunks of an array.
pub(super) fn chunk_path(edition: Edition, array: &str, numbers: &[usize]) -> String {
    let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
    let numbers = numbers.join("/");
    match edition {
        Edition::Newest => format!("{array}/c/{numbers}"),
        Edition::Previous => format!("{array}/{numbers}"),
    }
}

/// The files that make a directory a group, the one with its attributes last.
pub(super) fn group_files(edition: Edition, attributes: Value) -> Vec<(&'static str, Value)> {
    match edition {
        Edition::Newest => {
            let group = json!({"zarr_format": 3, "node_type": "group", "attributes": attributes});
            vec![("zarr.json", group)]
        }
        Edition::Previous => {
            vec![(".zgroup", json!({"zarr_format": 2})), (".zattrs", attributes)]
        }
    }
}

/// Whether a file at the top of a store is the one with its attributes.
pub(super) fn is_description(name: &str) -> bool {
    ["zarr.json", ".zattrs"].contains(&name)
}

/// The attributes of an image, of what OME-Zarr says of it.
pub(super) fn image_attributes(
    edition: Edition,
    mut ome: Map<String, Value>,
) -> Map<String, Value> {
    if edition == Edition::Newest {
        ome.insert("version".into(), "0.5".into());
        return Map::from_iter([("ome".to_owned(), ome.into())]);
    }
    let version = |part: &mut Value| {
        if let Some(part) = part.as_object_mut() {
            part.insert("version".into(), "0.4".into());
        }
    };
    let images = ome.get_mut("multiscales").and_then(Value::as_array_mut);
    images.into_iter().flatten().for_each(version);
    for part in ["omero", "image-label"] {
        ome.get_mut(part).into_iter().for_each(version);
    }
    ome
}

/// The attributes of the group of label images.
pub(super) fn labels_attributes(edition: Edition, names: &[&str]) -> Map<String, Value> {
    let labels = Map::from_iter([("labels".to_owned(), json!(names))]);
    match edition {
        Edition::Newest => image_attributes(edition, labels),
        Edition::Previous => labels,
    }
}
