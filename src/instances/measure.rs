//! What is told of every region: size, place, probability and intensity.

use std::io::{self, Write};

use anyhow::Result;

use crate::regions::{Region, Runs};

use super::planes::{Planes, slabs};
use super::segment::Segmentation;

/// Sums of an image over the regions of another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Intensity {
    pub sum: f64,
    pub max: f32,
}

/// Sums and maxima of an image over regions 1 to `count`. The image is read once, and
/// summed in scan order whatever the slabs.
pub fn intensities(regions: &Runs, count: u32, image: &dyn Planes) -> Result<Vec<Intensity>> {
    let [_, height, width] = regions.size();
    let mut found = vec![Intensity { sum: 0.0, max: f32::NEG_INFINITY }; count as usize];
    for slices in slabs(image) {
        let rows = slices.start * height..slices.end * height;
        if regions.runs_before(rows.start) == regions.runs_before(rows.end) {
            continue;
        }
        let values = image.read(slices)?;
        for (row, values) in rows.zip(values.chunks_exact(width.max(1))) {
            for run in regions.row(row) {
                let one = &mut found[run.label as usize - 1];
                for &value in &values[run.start as usize..run.end as usize] {
                    one.sum += f64::from(value);
                    one.max = one.max.max(value);
                }
            }
        }
    }
    Ok(found)
}

/// The regions of a segmentation with all that is told of them.
pub struct RegionTable {
    /// By id, from 1 on.
    pub regions: Vec<Region>,
    pub probability: Vec<Intensity>,
    /// For each raw channel its name and what it adds up to in each region.
    pub raw: Vec<(String, Vec<Intensity>)>,
}

impl RegionTable {
    /// Measures the regions after the cut.
    pub fn new(
        found: &Segmentation,
        probability: &dyn Planes,
        raw: &[(String, &dyn Planes)],
    ) -> Result<RegionTable> {
        let measure = |image: &dyn Planes| intensities(&found.regions, found.count, image);
        Ok(RegionTable {
            regions: found.regions.regions(found.count).into_iter().flatten().collect(),
            probability: measure(probability)?,
            raw: raw
                .iter()
                .map(|(name, image)| Ok((name.clone(), measure(*image)?)))
                .collect::<Result<_>>()?,
        })
    }

    /// The centroids x, y, z of the regions, counted from 1 and rounded with halves to
    /// even.
    pub fn centroids(&self) -> impl Iterator<Item = [f64; 3]> {
        self.regions.iter().map(|region| {
            let [z, y, x] = region.centroid().map(f64::round_ties_even);
            [x, y, z]
        })
    }

    /// The mean of a raw channel in each region, rounded with halves to even.
    pub fn signal(&self, channel: usize) -> impl Iterator<Item = f64> {
        self.regions
            .iter()
            .zip(&self.raw[channel].1)
            .map(|(region, one)| (one.sum / region.voxels as f64).round_ties_even())
    }

    /// Writes the table as comma-separated values. Voxels are counted from 1 in the order x,
    /// y, z; lengths are in the unit of the voxel size (z, y, x), with the middle of
    /// the first voxel as origin.
    pub fn write_csv(
        &self,
        found: &Segmentation,
        voxel_size: Option<[f64; 3]>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut text = String::from("id,voxels");
        if voxel_size.is_some() {
            text += ",volume";
        }
        text += ",x,y,z";
        if voxel_size.is_some() {
            text += ",x_scaled,y_scaled,z_scaled";
        }
        text += ",x_min,x_max,y_min,y_max,z_min,z_max,mean_probability,max_probability";
        for (name, _) in &self.raw {
            text += &format!(",mean_{name}");
        }
        writeln!(out, "{text},touches_border,id_before_cut")?;
        let size = found.regions.size();
        for (index, region) in self.regions.iter().enumerate() {
            let voxels = region.voxels;
            let [z, y, x] = region.centroid();
            write!(out, "{},{voxels}", index + 1)?;
            if let Some(spacing) = voxel_size {
                let volume = voxels as f64 * spacing.iter().product::<f64>();
                write!(out, ",{}", number(volume))?;
            }
            write!(out, ",{},{},{}", number(x), number(y), number(z))?;
            if let Some([dz, dy, dx]) = voxel_size {
                let [x, y, z] = [(x - 1.0) * dx, (y - 1.0) * dy, (z - 1.0) * dz];
                write!(out, ",{},{},{}", number(x), number(y), number(z))?;
            }
            for axis in [2, 1, 0] {
                write!(out, ",{},{}", region.min[axis] + 1, region.max[axis] + 1)?;
            }
            let mean = |one: &Intensity| number(one.sum / voxels as f64);
            let probability = &self.probability[index];
            write!(out, ",{},{}", mean(probability), number(f64::from(probability.max)))?;
            for (_, channel) in &self.raw {
                write!(out, ",{}", mean(&channel[index]))?;
            }
            let border = u8::from(region.touches_border(size));
            writeln!(out, ",{border},{}", found.origins[index])?;
        }
        Ok(())
    }
}

/// Six digits behind the point at most.
fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use crate::instances::{Foreground, InMemory, Input, InstancesPlan, Split, segment};

    #[test]
    fn a_region_is_described_in_a_row() {
        let mut volume = vec![0.0f32; 2 * 3 * 4];
        for (at, value) in [(5, 0.75), (6, 1.0), (17, 0.75), (18, 0.5625)] {
            volume[at] = value;
        }
        let planes = InMemory::new(&volume, [2, 3, 4]);
        let plan = InstancesPlan::Foreground(Foreground {
            min_size: 1,
            split: Split::None,
            ..Foreground::default()
        });
        let input = Input {
            probability: &planes,
            mask: None,
            raw: None,
            seeds: None,
            spacing: [2.0, 0.5, 1.0],
            threads: 1,
            memory: 1 << 20,
            scratch: Path::new("."),
        };
        let found = segment(&plan, &input).unwrap();
        let raw = volume.iter().map(|value| value * 8.0).collect::<Vec<_>>();
        let raw = InMemory::new(&raw, [2, 3, 4]);
        let table = RegionTable::new(&found, &planes, &[("raw_0".into(), &raw)]).unwrap();
        let mut csv = Vec::new();
        table.write_csv(&found, Some(input.spacing), &mut csv).unwrap();
        assert_eq!(
            String::from_utf8(csv).unwrap().lines().collect::<Vec<_>>(),
            [
                "id,voxels,volume,x,y,z,x_scaled,y_scaled,z_scaled,x_min,x_max,y_min,y_max,z_min,\
                 z_max,mean_probability,max_probability,mean_raw_0,touches_border,id_before_cut",
                "1,4,4,2.5,2,1.5,1.5,0.5,1,2,3,2,2,1,2,0.765625,1,6.125,1,1",
            ]
        );
        assert_eq!(table.centroids().collect::<Vec<_>>(), [[2.0, 2.0, 2.0]]);
        assert_eq!(table.signal(0).collect::<Vec<_>>(), [6.0]);
    }
}
