//! `unet3d name-cells`: one name for each region.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use log::{info, warn};

use crate::cli::{self, Usage};
use crate::files::{PartialFile, read_text};
use crate::format;
use crate::instances::naming::{
    MatrixPlan, NameMatrix, NamedRegion, Pairs, Regions, UNKNOWN, averaged, coordinates,
    give_names, label_table, read_matrix, read_names, read_regions, table_rows, write_matrix,
};

/// Names the regions of one animal.
pub fn name_cells(options: &cli::NameCells) -> Result<()> {
    let several = options.predictions.len();
    if options.regions.len() != several {
        bail!(Usage(format!(
            "{several} --predictions, but {} --regions: each prediction needs its regions",
            options.regions.len()
        )));
    }
    if (several > 1) != options.links.is_some() {
        bail!(Usage("several --predictions need --links, and --links several of them".into()));
    }
    if options.voxel_size.as_ref().is_some_and(|size| size.len() != 3 || size.contains(&0.0)) {
        bail!(Usage("--voxel-size is three numbers above 0: z,y,x".into()));
    }
    if options.matrix.as_ref() == Some(&options.output) {
        bail!(Usage("--output and --matrix are one file".into()));
    }
    let threads = match options.threads {
        Some(threads) => usize::from(threads),
        None => thread::available_parallelism().map_or(1, |n| n.get()),
    };
    let outputs = [Some(&options.output), options.matrix.as_ref()];
    let outputs: Vec<&Path> = outputs.into_iter().flatten().map(PathBuf::as_path).collect();
    format::check_new(&outputs)?;
    for output in outputs {
        if let Some(folder) = output.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)
                .with_context(|| format!("making the folder {}", folder.display()))?;
        }
    }
    let names = read_names(&options.names, &options.names_dataset)?;
    let links = options.links.as_ref().map(|path| links(path, options)).transpose()?;
    let mut plan = options.plan();
    if let Some(path) = &options.matches {
        plan.matches = numbers(path)?;
    }
    if let Some(path) = &options.pairs {
        plan.pairs = Pairs::Table(pairs(path)?);
    }

    let matrix_plan = MatrixPlan {
        edge_weight: options.edge_weight,
        contamination_probability: options.contamination_probability,
        original: options.original,
    };
    let mut matrices = Vec::new();
    let mut places = Vec::new();
    for (predictions, regions) in options.predictions.iter().zip(&options.regions) {
        let volume = format::open(predictions, &options.predictions_dataset)?;
        let regions = format::open(regions, &options.regions_dataset)?;
        let (matrix, strange) =
            read_matrix(&*volume, &*regions, names.len(), matrix_plan, threads)?;
        if strange.nan > 0 {
            warn!("{}: {} value(s) are NaN and count as 0", volume.describe(), strange.nan);
        }
        if strange.outside > 0 {
            warn!(
                "{}: {} value(s) within regions are negative or above 1: are these probabilities?",
                volume.describe(),
                strange.outside
            );
        }
        info!("{}: {} region(s)", volume.describe(), matrix.ids.len());
        matrices.push(matrix);
        if options.rois.is_none() {
            places.push(coordinates(&read_regions(&*regions, threads)?));
        }
    }
    let places = match (&options.rois, &links) {
        (Some(rois), _) => {
            let rois = format::open(rois, &options.regions_dataset)?;
            coordinates(&read_regions(&*rois, threads)?)
        }
        (None, Some(links)) => linked_places(&places, links),
        (None, None) => places.swap_remove(0),
    };
    let matrix = match &links {
        Some(links) => averaged(&matrices, links),
        None => matrices.swap_remove(0),
    };

    let strangers: Vec<String> = options
        .exclude_regions
        .iter()
        .filter(|id| matrix.ids.binary_search(id).is_err())
        .map(u32::to_string)
        .collect();
    if !strangers.is_empty() {
        warn!("--exclude-regions: there is no region {}", strangers.join(", "));
    }
    let regions = Regions { coordinates: &places, sizes: Some(&matrix.sizes) };
    let mut rows = give_names(&plan, &names, &matrix, &regions)?;
    cropped(options, &matrix, &places, &mut rows);
    let failed = || format!("{}: writing failed", options.output.display());
    let table = PartialFile::of_text(&options.output, &label_table(&rows)).with_context(failed)?;
    if let Some(path) = &options.matrix {
        write_matrix(path, &matrix, &names)?;
    }
    table.keep_new().with_context(failed)?;
    let named = rows.iter().filter(|row| row.name != UNKNOWN).count();
    info!("{}: {named} of {} region(s) have a name", options.output.display(), rows.len());
    Ok(())
}

/// Tells of regions that the crop left out, and adds rows for them if that is wanted.
fn cropped(
    options: &cli::NameCells,
    matrix: &NameMatrix,
    places: &BTreeMap<u32, [i64; 3]>,
    rows: &mut Vec<NamedRegion>,
) {
    let lost: Vec<u32> =
        places.keys().copied().filter(|id| matrix.ids.binary_search(id).is_err()).collect();
    if lost.is_empty() {
        return;
    }
    let list: Vec<String> = lost.iter().map(u32::to_string).collect();
    info!("{} region(s) are not in the cropped image: {}", lost.len(), list.join(", "));
    if options.cropped_rows {
        rows.extend(lost.into_iter().map(|region| NamedRegion {
            name: UNKNOWN.to_owned(),
            coordinates: places[&region],
            region,
            confidence: 0,
            probability: 0.0,
            alternative: false,
            contaminated: false,
            alternatives: String::new(),
            notes: "ROI cropped off. ".to_owned(),
        }));
    }
}

/// A number a line.
fn numbers(path: &Path) -> Result<Vec<i64>> {
    let text = read_text(path)?;
    let lines = text.lines().map(str::trim).zip(1..).filter(|(line, _)| !line.is_empty());
    lines
        .map(|(line, number)| {
            let value = line.parse::<f64>().ok().filter(|value| value.fract() == 0.0);
            let value = value.with_context(|| {
                format!("{}: line {number} is {line:?}: a whole number is needed", path.display())
            })?;
            Ok(value as i64)
        })
        .collect()
}

/// The first two columns of a table.
fn pairs(path: &Path) -> Result<Vec<[String; 2]>> {
    let rows = table_rows(&read_text(path)?).with_context(|| path.display().to_string())?;
    rows.iter()
        .map(|row| match &row[..] {
            [one, other, ..] => Ok([one.trim().to_owned(), other.trim().to_owned()]),
            _ => Err(anyhow!("{}: {row:?} is no pair of names", path.display())),
        })
        .collect()
}

/// The cell of each (prediction, region).
fn links(path: &Path, options: &cli::NameCells) -> Result<BTreeMap<(usize, u32), u32>> {
    let rows = table_rows(&read_text(path)?).with_context(|| path.display().to_string())?;
    let (heading, rows) =
        rows.split_first().with_context(|| format!("{} is empty", path.display()))?;
    let column = |name: &str| {
        heading.iter().position(|cell| cell.trim().eq_ignore_ascii_case(name)).with_context(|| {
            format!("{}: there is no column `{name}`, but {heading:?}", path.display())
        })
    };
    let columns = [column("prediction")?, column("region")?, column("cell")?];
    let mut links = BTreeMap::new();
    for row in rows {
        let [prediction, region, cell] =
            columns.map(|column| row.get(column).map_or("", |cell| cell.trim()));
        let number = |text: &str| {
            text.parse::<f64>()
                .ok()
                .filter(|value| value.fract() == 0.0 && (0.0..=16_777_216.0).contains(value))
                .map(|value| value as u32)
        };
        let by_name = || {
            options.predictions.iter().position(|path| {
                path.as_os_str() == prediction
                    || path.file_name().is_some_and(|name| name == prediction)
                    || path.file_stem().is_some_and(|stem| stem == prediction)
            })
        };
        let by_number = number(prediction)
            .and_then(|number| (number as usize).checked_sub(1))
            .filter(|index| *index < options.predictions.len());
        let wrong = || anyhow!("{}: {row:?} links no region of --predictions", path.display());
        let index = by_name().or(by_number).with_context(wrong)?;
        let region = number(region).with_context(wrong)?;
        // A region without a cell has no link.
        if let Some(cell) = number(cell).filter(|cell| *cell > 0)
            && let Some(other) = links.insert((index, region), cell)
            && other != cell
        {
            bail!("{}: region {region} of {prediction} has two cells", path.display());
        }
    }
    Ok(links)
}

/// The coordinates of each cell: those of its region in the first prediction that has
/// one.
fn linked_places(
    places: &[BTreeMap<u32, [i64; 3]>],
    links: &BTreeMap<(usize, u32), u32>,
) -> BTreeMap<u32, [i64; 3]> {
    let mut found = BTreeMap::new();
    for (&(prediction, region), &cell) in links {
        if let Some(place) = places[prediction].get(&region) {
            found.entry(cell).or_insert(*place);
        }
    }
    found
}
