//! Flags of the commands that look at volumes and write them anew.

use std::ops::Range;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Verbosity;

#[derive(Args, Debug)]
#[command(after_long_help = "Examples:\n  unet3d convert v.ome.tif v.zarr\n  \
unet3d convert v.h5 v.nii.gz --dataset raw --crop 0:64,:,100:612\n  \
unet3d convert v.zarr v.tif --channels 1 --voxel-size 0.5,0.5,0.5")]
pub struct Convert {
    /// The volume to read; its end may choose, as in v.tif:t=3.
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// The file to write, in the format of its extension: .h5, .zarr, .tif, .ome.tif,
    /// .nrrd, .nii, .nii.gz or .mha.
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
    /// The volume within the input, where it has several.
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// What the axes of the input are, the slowest first, as in zyx or czyx.
    #[arg(long)]
    pub axes: Option<String>,
    /// Channels to keep, in this order, as in 0,2-4.
    #[arg(long, value_name = "LIST", value_parser = parse_channels)]
    pub channels: Option<Channels>,
    /// Part of the volume, Z,Y,X, each as in 10:50, :50, 10: or : for all.
    #[arg(long, value_name = "Z,Y,X", value_parser = parse_crop)]
    pub crop: Option<Crop>,
    /// Resample to voxels of this size, in micrometres.
    #[arg(long, value_name = "Z,Y,X", value_parser = parse_lengths)]
    pub voxel_size: Option<Lengths>,
    /// The size of the input's voxels in micrometres, where its file tells none or a
    /// wrong one.
    #[arg(long, value_name = "Z,Y,X", value_parser = parse_lengths)]
    pub set_voxel_size: Option<Lengths>,
    /// The voxels are labels: they are picked, not averaged.
    #[arg(long)]
    pub labels: bool,
    /// Compression of the output; Zarr has zstd in the place of gzip.
    #[arg(long, value_enum, default_value = "gzip")]
    pub compression: CompressionKind,
    /// Version of OME-Zarr that is written: 0.5 is Zarr 3, 0.4 is Zarr 2.
    #[arg(long, value_enum, default_value = "0.5")]
    pub zarr_version: ZarrVersion,
    /// 1 is fast, 9 is small.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub compression_level: u8,
    /// Replace what stands under the output's name.
    #[arg(long)]
    pub overwrite: bool,
    /// Threads (default: all cores).
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    #[command(flatten)]
    pub verbosity: Verbosity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompressionKind {
    Gzip,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ZarrVersion {
    #[value(name = "0.5")]
    Newest,
    #[value(name = "0.4")]
    Previous,
}

#[derive(Args, Debug)]
pub struct Info {
    /// Volumes, predictions, checkpoints and configurations.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Print JSON: a list with an entry for each file.
    #[arg(long)]
    pub json: bool,
    /// Do not read the voxels: no range and no histogram.
    #[arg(long)]
    pub no_voxels: bool,
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// Numbers of channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channels(pub Vec<usize>);

/// The part along z, y and x; `None` for the end of the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crop(pub [(usize, Option<usize>); 3]);

/// Lengths along z, y and x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lengths(pub [f64; 3]);

fn parse_channels(text: &str) -> Result<Channels, String> {
    let wrong = || format!("'{text}' names no channels; write numbers from 0, as in 0,2-4");
    let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
    let mut channels = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            None => channels.push(number(part)?),
            Some((first, last)) => {
                let range = number(first)?..=number(last)?;
                if range.is_empty() || *range.end() > 1 << 20 {
                    return Err(wrong());
                }
                channels.extend(range);
            }
        }
    }
    Ok(Channels(channels))
}

fn parse_crop(text: &str) -> Result<Crop, String> {
    let wrong = || format!("'{text}' is no part of a volume; write Z,Y,X as in 10:50,:,0:512");
    let parts: Vec<(usize, Option<usize>)> = text
        .split(',')
        .map(|part| {
            let (first, end) = part.trim().split_once(':').ok_or_else(wrong)?;
            let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
            let first = if first.trim().is_empty() { 0 } else { number(first)? };
            let end = if end.trim().is_empty() { None } else { Some(number(end)?) };
            Ok((first, end))
        })
        .collect::<Result<_, String>>()?;
    parts.try_into().map(Crop).map_err(|_| wrong())
}

fn parse_lengths(text: &str) -> Result<Lengths, String> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    let numbers = numbers.and_then(|numbers| <[f64; 3]>::try_from(numbers).ok());
    match numbers.filter(|all| all.iter().all(|n| n.is_finite() && *n > 0.0)) {
        Some(lengths) => Ok(Lengths(lengths)),
        None => Err(format!("'{text}' is no size; write Z,Y,X above 0, as in 1,0.5,0.5")),
    }
}

impl Crop {
    /// The voxels of a volume of that size.
    ///
    /// # Errors
    /// A part that is empty or leaves the volume.
    pub fn ranges(&self, size: [usize; 3]) -> Result<[Range<usize>; 3], String> {
        let mut ranges = [0..0, 0..0, 0..0];
        for (axis, name) in ["z", "y", "x"].into_iter().enumerate() {
            let (first, end) = self.0[axis];
            let range = first..end.unwrap_or(size[axis]);
            if range.is_empty() || range.end > size[axis] {
                return Err(format!(
                    "`--crop` asks for {name} {}:{} of a volume that is {} voxels long there",
                    range.start, range.end, size[axis]
                ));
            }
            ranges[axis] = range;
        }
        Ok(ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_volumes_are_read() {
        assert_eq!(parse_channels("0,2-4,1").unwrap().0, [0, 2, 3, 4, 1]);
        assert!(parse_channels("4-2").is_err() && parse_channels("a").is_err());
        let crop = parse_crop("2:5,:,7:").unwrap();
        assert_eq!(crop.ranges([9, 8, 10]).unwrap(), [2..5, 0..8, 7..10]);
        assert!(crop.ranges([4, 8, 10]).unwrap_err().contains("z 2:5"));
        assert!(parse_crop("2:5,:").is_err() && parse_crop("1,2,3").is_err());
        assert_eq!(parse_lengths("1, 0.5,2").unwrap().0, [1.0, 0.5, 2.0]);
        assert!(parse_lengths("1,0,2").is_err() && parse_lengths("1,2").is_err());
    }
}
