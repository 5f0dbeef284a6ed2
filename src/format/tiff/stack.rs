//! What the pages of a TIFF file are, as ImageJ, OME-TIFF and tifffile note it.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::ome;
use crate::volume::{Calibration, LengthUnit};

/// The pages of a file as an array.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stack {
    /// Names of the axes that pages are counted along, the slowest first.
    pub axes: String,
    /// Their lengths.
    pub dims: Vec<usize>,
    /// Number of the page of each place, in the order of the axes; `None` if they follow
    /// each other.
    pub pages: Option<Vec<usize>>,
    /// Whether only the first page stands in the directory and the others follow it
    /// without one, as ImageJ writes stacks above 4 GB.
    pub one_directory: bool,
    pub calibration: Calibration,
}

/// What is known of the first page beside its note.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FirstPage {
    /// Size of a pixel along y and x in the unit that the note or the tag gives.
    pub pixel: Option<[f64; 2]>,
    /// The tag `ResolutionUnit`: 2 for inches, 3 for centimetres.
    pub unit: Option<u16>,
}

impl Stack {
    /// Reads the note of the first page of a file with that many pages.
    ///
    /// # Errors
    /// A note that contradicts the file, and images that are spread over several files.
    pub fn of(note: &str, pages: usize, first: FirstPage) -> Result<Stack> {
        let note = note.trim_matches('\0').trim();
        if note.starts_with("ImageJ=") {
            return imagej(note, pages, first);
        }
        if note.ends_with("OME>") && note.contains("<OME") {
            return ome::stack(note, pages);
        }
        let mut calibration = Calibration::default();
        // Of resolutions without a unit, as 1 pixel an inch, nothing is to be learned.
        if let (Some([y, x]), Some(3)) = (first.pixel, first.unit) {
            calibration.spacing = Some([y.max(x), y, x]);
            calibration.unit = Some(LengthUnit::Centimetre);
        }
        let (axes, dims) = match shaped(note, pages) {
            Some(found) => found,
            None => ("z".to_owned(), vec![pages]),
        };
        Ok(Stack { axes, dims, calibration, ..Stack::default() })
    }
}

/// The axes in a note of tifffile's, `{"shape": [2, 5, 64, 64], "axes": "CZYX"}`.
fn shaped(note: &str, pages: usize) -> Option<(String, Vec<usize>)> {
    let note: Value = serde_json::from_str(note).ok()?;
    let shape = note.get("shape")?.as_array()?.iter().map(|n| n.as_u64().map(|n| n as usize));
    let shape = shape.collect::<Option<Vec<_>>>()?;
    let dims = shape.get(..shape.len().checked_sub(2)?)?.to_vec();
    if dims.iter().try_fold(1usize, |all, &n| all.checked_mul(n))? != pages {
        return None;
    }
    let named = note.get("axes").and_then(Value::as_str).map(str::to_ascii_lowercase);
    let axes = match named.filter(|axes| axes.len() == shape.len()) {
        // `Q` and `I` are axes without a meaning: pages.
        Some(axes) => axes[..dims.len()].replace(['q', 'i'], "z"),
        None => ["", "z", "cz", "tcz"].get(dims.len())?.to_string(),
    };
    Some((axes, dims))
}

fn imagej(note: &str, pages: usize, first: FirstPage) -> Result<Stack> {
    let text = |key: &str| {
        note.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::trim)
    };
    let count = |key: &str| -> Result<Option<usize>> {
        let Some(text) = text(key) else { return Ok(None) };
        text.parse().map(Some).with_context(|| format!("ImageJ's note says `{key}={text}`"))
    };
    let images = count("images")?.unwrap_or(1);
    let channels = count("channels")?.unwrap_or(1);
    let frames = count("frames")?.unwrap_or(1);
    let slices = match count("slices")? {
        Some(slices) => slices,
        // Of a plain stack, all pages are slices.
        None if channels == 1 && frames == 1 => images,
        None => 1,
    };
    let all = [frames, slices, channels].iter().try_fold(1usize, |all, &n| all.checked_mul(n));
    ensure!(
        all == Some(images),
        "ImageJ's note says images={images}, and {channels} channels × {slices} slices × {frames} \
         frames: save it again with ImageJ"
    );
    ensure!(
        pages == images || pages == 1,
        "ImageJ's note says images={images}, and the file has {pages} pages: it is damaged or was \
         not copied completely"
    );
    let unit = text("unit").and_then(LengthUnit::parse);
    let mut calibration = Calibration { unit, ..Calibration::default() };
    // Without a unit, ImageJ counts pixels.
    if let (Some([y, x]), Some(_)) = (first.pixel, unit) {
        let z = text("spacing").and_then(|text| text.parse::<f64>().ok()).map(f64::abs);
        calibration.spacing = Some([z.filter(|z| *z > 0.0).unwrap_or(1.0), y, x]);
    }
    Ok(Stack {
        axes: "tzc".into(),
        dims: vec![frames, slices, channels],
        pages: None,
        one_directory: pages < images,
        calibration,
    })
}

/// Checks a number of pages against those that a note names.
pub(super) fn ensure_pages(wanted: usize, pages: usize) -> Result<()> {
    if wanted > pages {
        bail!(
            "its note says that it has {wanted} pages, and it has {pages}: the file is damaged or \
             was not copied completely"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hyperstacks_count_channels_first() {
        let note = "ImageJ=1.54f\nimages=12\nchannels=2\nslices=3\nframes=2\nhyperstack=true\n\
                    unit=micron\nspacing=0.5\n";
        let first = FirstPage { pixel: Some([0.1, 0.2]), unit: Some(1) };
        let stack = Stack::of(note, 12, first).unwrap();
        assert_eq!((stack.axes.as_str(), stack.dims), ("tzc", vec![2, 3, 2]));
        assert_eq!(stack.calibration.spacing, Some([0.5, 0.1, 0.2]));
        assert_eq!(stack.calibration.unit, Some(LengthUnit::Micrometre));
        assert!(Stack::of(note, 1, first).unwrap().one_directory);
        assert!(Stack::of(note, 11, first).unwrap_err().to_string().contains("11 pages"));
        let plain = Stack::of("ImageJ=1.54f\nimages=12\n", 12, FirstPage::default()).unwrap();
        assert_eq!(plain.dims, [1, 12, 1]);
        let wrong = note.replace("images=12", "images=11");
        assert!(Stack::of(&wrong, 11, first).unwrap_err().to_string().contains("2 channels"));
    }

    #[test]
    fn tifffile_notes_the_shape() {
        let of = |note: &str, pages| {
            let stack = Stack::of(note, pages, FirstPage::default()).unwrap();
            (stack.axes, stack.dims)
        };
        assert_eq!(of(r#"{"shape": [2, 5, 64, 64]}"#, 10), ("cz".into(), vec![2, 5]));
        assert_eq!(
            of(r#"{"shape": [2, 5, 64, 64], "axes": "TZYX"}"#, 10),
            ("tz".into(), vec![2, 5])
        );
        assert_eq!(of(r#"{"shape": [2, 5, 64, 64]}"#, 9), ("z".into(), vec![9]));
        assert_eq!(of("a note", 3), ("z".into(), vec![3]));
    }
}
