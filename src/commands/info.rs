//! `unet3d info`: what a file is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::checkpoint::{self, PickleValue};
use crate::cli;
use crate::config::Tree;
use crate::files;
use crate::format::{self, MADE_BY, Standing};
use crate::predict::{INPUT, standing_of};
use crate::runtime::report::print;
use crate::samples::MADE_BY_PREDICTION;
use crate::volume::{StatisticsBuilder, Values, Volume, VolumeFile, VolumeReader};

/// Bytes of the parts in which a volume is read, about.
const PART: usize = 32 << 20;

/// Different labels in a histogram, at most.
const MOST_LABELS: usize = 256;

/// Labels that are printed, at most.
const SHOWN_LABELS: usize = 16;

/// What is wrong where stdout takes nothing.
const NOT_PRINTED: &str = "what was found cannot be printed";

pub fn info(options: &cli::Info) -> Result<()> {
    let mut all = Vec::new();
    for path in &options.files {
        let found = describe(path, !options.no_voxels)?;
        if !options.json {
            let mut text = String::new();
            list(&found, &mut text);
            print(text.as_bytes()).context(NOT_PRINTED)?;
        }
        all.push(Value::Object(found));
    }
    if options.json {
        let text = serde_json::to_string_pretty(&all)? + "\n";
        print(text.as_bytes()).context(NOT_PRINTED)?;
    }
    Ok(())
}

/// What is known of a file, as JSON.
fn describe(path: &Path, voxels: bool) -> Result<Map<String, Value>> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let file = format::file_of(path);
    let mut found = Map::new();
    found.insert("file".into(), absolute.display().to_string().into());
    let extension = file.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let what = if ["yaml", "yml"].contains(&extension.as_str()) {
        configuration(path).map(|more| ("configuration", more))
    } else if format::is_store(&file) || format::is_recognised(&file) {
        volumes(path, voxels).map(|more| ("volumes", more))
    } else if CHECKPOINTS.contains(&extension.as_str()) {
        of_checkpoint(path).map(|more| ("checkpoint", more))
    } else if file.is_dir() {
        bail!("{}: is a folder: name files or Zarr stores in it", absolute.display())
    } else {
        volumes(path, voxels).map(|more| ("volumes", more))
    };
    let (kind, more) = what?;
    let kind = match more.get(MADE_BY).and_then(Value::as_str) {
        Some(MADE_BY_PREDICTION) => "prediction",
        _ => kind,
    };
    found.insert("kind".into(), kind.into());
    found.extend(more);
    Ok(found)
}

/// Extensions of files of weights.
const CHECKPOINTS: [&str; 6] = ["pytorch", "pt", "pth", "ckpt", "bin", "safetensors"];

fn configuration(path: &Path) -> Result<Map<String, Value>> {
    let tree = Tree::read(path, &[])?;
    let all: Value = serde_json::from_str(&tree.root.to_json()).unwrap_or_default();
    let mut found = summary_of(&all);
    found.insert("configuration".into(), all);
    Ok(found)
}

/// What of a configuration says what it is about.
fn summary_of(configuration: &Value) -> Map<String, Value> {
    let mut found = Map::new();
    for (name, pointer) in [
        ("model", "/model"),
        ("model_path", "/model_path"),
        ("class_names", "/class_names"),
        ("checkpoint_dir", "/trainer/checkpoint_dir"),
        ("loss", "/loss/name"),
        ("optimizer", "/optimizer"),
        ("training_files", "/loaders/train/file_paths"),
        ("validation_files", "/loaders/val/file_paths"),
        ("test_files", "/loaders/test/file_paths"),
    ] {
        if let Some(value) = configuration.pointer(pointer) {
            found.insert(name.into(), value.clone());
        }
    }
    found
}

fn of_checkpoint(path: &Path) -> Result<Map<String, Value>> {
    let mut found = Map::new();
    found.insert("sha256".into(), checkpoint::sha256(path)?.into());
    let extension = path.extension().unwrap_or_default();
    if extension.eq_ignore_ascii_case("safetensors") {
        let state = checkpoint::read_model_state(path)?;
        let parameters: usize = state.iter().map(|(_, data)| data.elements()).sum();
        found.insert("tensors".into(), state.len().into());
        found.insert("parameters".into(), parameters.into());
        return Ok(found);
    }
    let root = checkpoint::File::open(path)?.root;
    let weights = ["model_state_dict", "state_dict"].iter().find_map(|key| root.get(key));
    let weights = weights.unwrap_or(&root).entries().unwrap_or_default();
    let tensors = weights.iter().filter_map(|(_, value)| match value {
        PickleValue::Tensor(tensor) => Some(tensor.shape().iter().product::<usize>()),
        _ => None,
    });
    let sizes: Vec<usize> = tensors.collect();
    if sizes.is_empty() {
        bail!("{}: holds no weights of a network", path.display());
    }
    found.insert("tensors".into(), sizes.len().into());
    found.insert("parameters".into(), sizes.iter().sum::<usize>().into());
    for (name, keys) in [
        ("iterations", &["num_iterations"][..]),
        ("epoch", &["epoch", "num_epochs"]),
        ("best_score", &["best_eval_score"]),
        ("higher_is_better", &["eval_score_higher_is_better"]),
    ] {
        let value = keys.iter().find_map(|key| root.get(key)).and_then(plain);
        if let Some(value) = value {
            found.insert(name.into(), value);
        }
    }
    let own = root.get("unet3d");
    let text = |key: &str| own.and_then(|own| own.get(key)).and_then(PickleValue::as_str);
    if let Some(version) = text("version") {
        found.insert("unet3d_version".into(), version.into());
    }
    if let Some(run) = own.and_then(|own| own.get("run")).and_then(plain) {
        found.insert("run".into(), run);
    }
    if let Some(data) = own.and_then(|own| own.get("data")).and_then(plain) {
        found.insert("training_data".into(), data);
    }
    if let Some(config) = text("config") {
        let config: Value = serde_json::from_str(config).unwrap_or_default();
        found.extend(summary_of(&config));
        found.insert("configuration".into(), config);
    }
    Ok(found)
}

/// A value as JSON, if it is one of text, numbers and their lists.
fn plain(value: &PickleValue) -> Option<Value> {
    Some(match value {
        PickleValue::None => Value::Null,
        PickleValue::Bool(flag) => (*flag).into(),
        PickleValue::Int(number) => (*number).into(),
        PickleValue::Float(number) if number.is_finite() => (*number).into(),
        PickleValue::Float(number) => number.to_string().into(),
        PickleValue::Str(text) => text.to_string().into(),
        PickleValue::List(items) | PickleValue::Tuple(items) => {
            items.iter().filter_map(plain).collect()
        }
        PickleValue::Dict(entries) | PickleValue::OrderedDict(entries) => {
            let named = entries
                .iter()
                .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), plain(value)?)));
            Value::Object(named.collect())
        }
        // One number: numpy's scalars, such as scores, are tensors without axes.
        PickleValue::Tensor(tensor) if tensor.shape().is_empty() => {
            (*tensor.data().ok()?.to_f64().first()?).into()
        }
        _ => return None,
    })
}

fn volumes(path: &Path, voxels: bool) -> Result<Map<String, Value>> {
    let file = format::open_file(path)?;
    let mut found = Map::new();
    if let Some(format) = format::of(path) {
        found.insert("format".into(), format.name.into());
    }
    let names = if file.names_volumes() { file.names() } else { vec![String::new()] };
    let mut all = Vec::new();
    for name in &names {
        let volume = file.volume(name).and_then(|volume| of_volume(&*volume, voxels));
        all.push(match volume {
            Ok(mut found) => {
                if !name.is_empty() {
                    found.insert("name".into(), name.clone().into());
                }
                Value::Object(found)
            }
            // An array that is no volume says nothing about the others.
            Err(error) if names.len() > 1 => json!({"name": name, "error": format!("{error:#}")}),
            Err(error) => return Err(error),
        });
    }
    found.insert("volumes".into(), all.into());
    for name in [MADE_BY, "unet3d_version", "converted_from"] {
        if let Some(text) = file.attribute(name).ok().flatten() {
            found.insert(name.into(), text.into());
        }
    }
    if found.get(MADE_BY).and_then(Value::as_str) == Some(MADE_BY_PREDICTION) {
        found.extend(of_prediction(path, &*file, voxels));
    }
    Ok(found)
}

/// What a prediction was made of, and whether it still is as it was written.
fn of_prediction(path: &Path, file: &dyn VolumeFile, voxels: bool) -> Map<String, Value> {
    let text = |name: &str| file.attribute(name).ok().flatten();
    let mut found = Map::new();
    let configuration = text("configuration");
    let configuration: Value =
        configuration.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let mut checkpoint = Map::new();
    if let Some(sum) = text("checkpoint_sha256") {
        checkpoint.insert("sha256".into(), sum.into());
    }
    if let Some(path) = configuration.get("model_path").and_then(Value::as_str) {
        checkpoint.insert("file".into(), path.into());
        let same = checkpoint::sha256(Path::new(path)).ok().map(Value::from);
        if let Some(sum) = same {
            checkpoint.insert("unchanged".into(), (checkpoint.get("sha256") == Some(&sum)).into());
        }
    }
    found.insert("checkpoint".into(), checkpoint.into());
    if let Some(record) = text(INPUT)
        && let Some(input) = files::recorded_input(&record)
    {
        let unchanged = files::is_current(&record, input);
        found.insert(
            "input".into(),
            json!({"file": input.display().to_string(), "unchanged": unchanged}),
        );
    }
    if let Some(model) = configuration.get("model") {
        found.insert("model".into(), model.clone());
    }
    if voxels {
        let state = match standing_of(path) {
            Standing::Whole => "as it was written".to_owned(),
            Standing::Damaged(why) => format!("damaged: {why}"),
            Standing::Changed(how) => format!("changed since it was written: {how}"),
            _ => "without a checksum".to_owned(),
        };
        found.insert("state".into(), state.into());
    }
    found.insert("configuration".into(), configuration);
    found
}

fn of_volume(volume: &dyn VolumeReader, voxels: bool) -> Result<Map<String, Value>> {
    let mut found = Map::new();
    found.insert("shape".into(), json!(volume.shape()));
    let axes = if volume.has_channels() { "czyx" } else { "zyx" };
    found.insert("axes".into(), axes.into());
    found.insert("type".into(), volume.stored().name().into());
    if let Some(chunk) = volume.chunk_shape() {
        let chunk = &chunk[usize::from(!volume.has_channels())..];
        found.insert("chunks".into(), json!(chunk));
    }
    let space = volume.calibration();
    if let Some(size) = volume.voxel_size() {
        found.insert("voxel_size_um".into(), json!(size));
    }
    if let Some(origin) = space.origin {
        found.insert("origin".into(), json!(origin));
    }
    if let Some(directions) = space.directions {
        found.insert("directions".into(), json!(directions));
    }
    if !space.channels.is_empty() {
        found.insert("channel_names".into(), json!(space.channels));
    }
    if voxels {
        found.extend(of_voxels(volume)?);
    }
    Ok(found)
}

/// Range and, of whole numbers, how often each occurs.
fn of_voxels(volume: &dyn VolumeReader) -> Result<Map<String, Value>> {
    let threads = thread::available_parallelism().map_or(1, |n| n.get());
    let mut statistics = StatisticsBuilder::new(volume.channels(), volume.size()[0]);
    let mut labels = Some(BTreeMap::new());
    for (channels, window) in volume.tiles(PART) {
        let part = volume.read_part(channels.clone(), &window, threads)?;
        count(&part, &mut labels);
        let [z, y, _] = window.origin;
        let last = window.end()[1] == volume.size()[1];
        statistics
            .add_rows(&part, [channels.start, z, y], last)
            .with_context(|| volume.describe())?;
    }
    let statistics = statistics.finish();
    let mut found = Map::new();
    found.insert("min".into(), statistics.min.into());
    found.insert("max".into(), statistics.max.into());
    found.insert("mean".into(), statistics.mean.into());
    found.insert("std".into(), statistics.std.into());
    if let Some(labels) = labels.filter(|labels| !labels.is_empty()) {
        let labels = labels.into_iter().map(|(label, voxels)| json!([label, voxels]));
        found.insert("histogram".into(), labels.collect());
    }
    Ok(found)
}

/// Counts whole numbers, unless there are too many different ones.
fn count(part: &Volume, labels: &mut Option<BTreeMap<i64, u64>>) {
    fn add<T: Copy + Into<i64>>(
        values: impl Iterator<Item = T>,
        labels: &mut BTreeMap<i64, u64>,
    ) -> bool {
        // Neighbours are often alike.
        let mut run: Option<(i64, u64)> = None;
        for value in values.map(Into::into) {
            match &mut run {
                Some((label, voxels)) if *label == value => *voxels += 1,
                _ => {
                    if let Some((label, voxels)) = run.replace((value, 1)) {
                        *labels.entry(label).or_default() += voxels;
                    }
                    if labels.len() > MOST_LABELS {
                        return false;
                    }
                }
            }
        }
        if let Some((label, voxels)) = run {
            *labels.entry(label).or_default() += voxels;
        }
        labels.len() <= MOST_LABELS
    }
    let Some(all) = labels else { return };
    let few = match &part.values {
        Values::U8(array) => add(array.iter().copied(), all),
        Values::U16(array) => add(array.iter().copied(), all),
        Values::I32(array) => add(array.iter().copied(), all),
        Values::I64(array) => add(array.iter().copied(), all),
        Values::F32(_) | Values::F64(_) => false,
    };
    if !few {
        *labels = None;
    }
}

/// Prints what is known, a line each.
fn list(found: &Map<String, Value>, out: &mut String) {
    let text = |key: &str| found.get(key).and_then(Value::as_str).unwrap_or_default();
    let format = text("format");
    let of = if format.is_empty() { String::new() } else { format!(", {format}") };
    let _ = writeln!(out, "{}: {}{of}", text("file"), text("kind"));
    for (key, value) in found {
        match key.as_str() {
            "file" | "kind" | "format" | "configuration" => {}
            "volumes" => value.as_array().into_iter().flatten().for_each(|volume| {
                list_volume(volume, out);
            }),
            _ => {
                let _ = writeln!(out, "  {}: {}", key.replace('_', " "), shown(value));
            }
        }
    }
}

fn list_volume(volume: &Value, out: &mut String) {
    let name = volume.get("name").and_then(Value::as_str).unwrap_or("volume");
    if let Some(error) = volume.get("error").and_then(Value::as_str) {
        let _ = writeln!(out, "  {name}: no volume: {error}");
        return;
    }
    let entry = |key: &str| volume.get(key).map(shown).unwrap_or_default();
    let chunks = match volume.get("chunks") {
        Some(chunks) => format!(", chunks {}", shown(chunks)),
        None => String::new(),
    };
    let _ = writeln!(
        out,
        "  {name}: {} {}, axes {}{chunks}",
        entry("shape"),
        entry("type"),
        entry("axes")
    );
    for (key, label) in [
        ("voxel_size_um", "voxel size (z, y, x) in µm"),
        ("origin", "origin (z, y, x)"),
        ("directions", "directions of z, y, x"),
        ("channel_names", "channels"),
    ] {
        if let Some(value) = volume.get(key) {
            let _ = writeln!(out, "    {label}: {}", shown(value));
        }
    }
    if volume.get("min").is_some() {
        let [min, max, mean, std] = ["min", "max", "mean", "std"].map(entry);
        let _ = writeln!(out, "    range {min} to {max}, mean {mean}, standard deviation {std}");
    }
    let Some(histogram) = volume.get("histogram").and_then(Value::as_array) else { return };
    let counts: Vec<(i64, u64)> = histogram
        .iter()
        .filter_map(|pair| Some((pair.get(0)?.as_i64()?, pair.get(1)?.as_u64()?)))
        .collect();
    let all: u64 = counts.iter().map(|(_, voxels)| voxels).sum();
    let share = |voxels: u64| 100.0 * voxels as f64 / all.max(1) as f64;
    let mut parts: Vec<String> = counts
        .iter()
        .take(SHOWN_LABELS)
        .map(|(label, voxels)| format!("{label} ({:.2} %)", share(*voxels)))
        .collect();
    if counts.len() > SHOWN_LABELS {
        parts.push(format!("… {} values in all", counts.len()));
    }
    let _ = writeln!(out, "    values: {}", parts.join(", "));
}

/// A value in one line.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            format!("({})", items.join(", "))
        }
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("{key} {}", shown(value)));
            entries.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}
