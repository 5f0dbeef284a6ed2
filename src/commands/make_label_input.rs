//! `unet3d make-label-input`: AutoCellLabeler's input from an image and its regions.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use log::info;
use ndarray::{Array3, Array4, Axis};

use crate::cli::{self, Usage};
use crate::files::read_text;
use crate::format;
use crate::format::h5::ArrayFile;
use crate::instances::naming::{
    CropPlan, Cropped, RegionTables, WeightPlan, crop, human_labels, name_counts, padding,
    read_names, read_regions, region_tables,
};
use crate::volume::{Element, Values, Volume};
use crate::with_values;

/// Human labels of less confidence are not counted.
const COUNTED: f64 = 2.0;

/// Makes one input file.
pub fn make_label_input(options: &cli::MakeLabelInput) -> Result<()> {
    let Ok(size) = <[usize; 3]>::try_from(options.crop.clone()) else {
        bail!(Usage("--crop is three numbers: z,y,x".into()));
    };
    if size.contains(&0) {
        bail!(Usage("--crop: no axis can be 0".into()));
    }
    if options.output == options.regions_output {
        bail!(Usage("--output and --regions-output are one file".into()));
    }
    format::check_new(&[&options.output, &options.regions_output])?;
    let (image, pad, element) = image(options)?;
    let reader = format::open(&options.regions, &options.regions_dataset)?;
    let regions = read_regions(&*reader, 1)?;
    let [depth, height, width] = regions.size();
    ensure!(
        image.dim().1 == depth && image.dim().2 == height && image.dim().3 == width,
        "{} is {:?} voxels large (z, y, x), {} {:?}: they have to be the same",
        options.image.display(),
        &image.shape()[1..],
        options.regions.display(),
        regions.size()
    );
    let labels = Array3::from_shape_vec((depth, height, width), regions.labels())?;
    let most = labels.iter().copied().max().unwrap_or(0);
    let tables = match (&options.human, &options.names) {
        (Some(human), Some(names)) => Some(tables(options, human, names, most)?),
        _ => None,
    };
    let plan = CropPlan { size, centre: options.centre.into(), turned: options.dorsal };
    let mut cropped = crop(image.view(), labels.view(), pad, &plan)
        .with_context(|| options.regions.display().to_string())?;
    drop((image, labels));
    if let Some(channels) = &options.channels {
        let there = cropped.image.dim().0;
        if let Some(channel) = channels.iter().find(|channel| **channel >= there) {
            bail!(
                "{}: there is no channel {channel}: the image has {there}, counted from 0",
                options.image.display()
            );
        }
        cropped.image = cropped.image.select(Axis(0), channels);
    }
    if !cropped.cut_off.is_empty() {
        let list: Vec<String> = cropped.cut_off.iter().map(u32::to_string).collect();
        info!("{} region(s) reach out of the crop: {}", list.len(), list.join(", "));
    }
    for output in [&options.output, &options.regions_output] {
        if let Some(folder) = output.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)
                .with_context(|| format!("making the folder {}", folder.display()))?;
        }
    }
    write(options, cropped, tables.as_ref(), element, reader.element())?;
    info!("{} and {}", options.output.display(), options.regions_output.display());
    Ok(())
}

/// The image with its channels, the value to pad it with, and the type to write.
fn image(options: &cli::MakeLabelInput) -> Result<(Array4<f64>, f64, Element)> {
    let volume = format::open(&options.image, &options.image_dataset)?.read()?;
    let stored = volume.element();
    let mut image = doubles(volume);
    let pad = padding(image.view())
        .with_context(|| format!("{} has no values", options.image.display()))?
        .clamp(0.0, f64::from(u16::MAX));
    image.mapv_inplace(|value| if value < 0.0 { 0.0 } else { value });
    let Some(path) = &options.all_red else { return Ok((image, pad, stored)) };
    let red = format::open(path, &options.image_dataset)?.read()?;
    ensure!(
        red.channels() == 1 && red.size() == [image.dim().1, image.dim().2, image.dim().3],
        "{} has the shape {:?}, {} {:?}: it is to be one more channel",
        path.display(),
        red.shape(),
        options.image.display(),
        image.shape()
    );
    image.append(Axis(0), doubles(red).view())?;
    let mut image = image.as_standard_layout().into_owned();
    let original = options.original;
    // numpy's cast wraps what uint16 cannot hold.
    image.mapv_inplace(|value| match original {
        true => f64::from(value as i64 as u16),
        false => f64::from(value as u16),
    });
    Ok((image, pad, Element::U16))
}

fn doubles(volume: Volume) -> Array4<f64> {
    match volume.cast(Element::F64).values {
        Values::F64(values) => values,
        _ => unreachable!("a cast gives the type that was asked for"),
    }
}

fn tables(
    options: &cli::MakeLabelInput,
    human: &Path,
    names: &Path,
    most: u32,
) -> Result<RegionTables> {
    let text = read_text(human)?;
    let context = || human.display().to_string();
    let labels = human_labels(&text, options.min_confidence).with_context(context)?;
    let counts: HashMap<String, f64> = match &options.counts {
        Some(path) => {
            let text = read_text(path)?;
            // JSON is YAML.
            serde_saphyr::from_str(&text)
                .with_context(|| format!("{}: names and counts are needed", path.display()))?
        }
        None => name_counts(&human_labels(&text, COUNTED).with_context(context)?),
    };
    if let Some((name, count)) = counts.iter().find(|(_, count)| count.is_nan() || **count <= 0.0) {
        let file = options.counts.as_deref().unwrap_or(human);
        bail!("{}: the count of {name} is {count}: more than 0 is needed", file.display());
    }
    let names = read_names(names, &options.names_dataset)?;
    let plan = WeightPlan {
        foreground: options.weights.clone(),
        id_weight: options.id_weight,
        background: options.background_weight,
        original: options.original,
        ..WeightPlan::default()
    };
    region_tables(&names[1..], &labels, &counts, most, &plan).with_context(context)
}

fn write(
    options: &cli::MakeLabelInput,
    cropped: Cropped,
    tables: Option<&RegionTables>,
    element: Element,
    regions_element: Element,
) -> Result<()> {
    let file = ArrayFile::create(&options.output)?;
    let image = Volume::channelled(cropped.image).cast(element);
    with_values!(&image.values, values => file.array("raw", values.view()))?;
    if let Some(tables) = tables {
        let (depth, height, width) = cropped.regions.dim();
        let shape = [tables.label.len(), depth, height, width];
        let label = file.channels::<u8>("label", shape)?;
        for (channel, table) in tables.label.iter().enumerate() {
            let values = cropped.regions.mapv(|id| table[id as usize]);
            file.channel(&label, channel, values.view())?;
        }
        let weight = file.channels::<i64>("weight", shape)?;
        for (channel, table) in tables.weight.iter().enumerate() {
            let values = cropped.regions.mapv(|id| table[id as usize]);
            file.channel(&weight, channel, values.view())?;
        }
    }
    let regions = ArrayFile::create(&options.regions_output)?;
    let ids = cropped.regions.mapv(f64::from).insert_axis(Axis(0));
    let ids = Volume::plain(ids).cast(regions_element);
    with_values!(&ids.values, values => regions.array("roi", values.index_axis(Axis(0), 0)))?;
    file.finish()?;
    regions.finish()
}
