//! Cuts regions apart by a watershed from markers, each region in its bounding box.

use std::borrow::Cow;
use std::collections::HashMap;

use anyhow::{Result, ensure};

use crate::regions::maxima::{apart, h_maxima, local_maxima};
use crate::regions::{Connectivity, Flood, Region, Run, Runs, distance_to};
use crate::resample::gaussian::{Edge, gaussian_filter, weights};
use crate::runtime::memory::{bytes, ensure_bytes};
use crate::runtime::threads;

use super::plan::{Flooding, Height};
use super::planes::{Planes, slabs};

/// Bytes that a voxel takes in the box of a region that is cut, about.
const CUT_BYTES: usize = 16;

/// Voxels along x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub z: usize,
    pub y: usize,
    pub start: usize,
    pub end: usize,
}

impl Stretch {
    /// A run of row `row` in a volume of that height.
    pub fn of(row: usize, run: Run, height: usize) -> Stretch {
        let (z, y) = (row / height, row % height);
        Stretch { z, y, start: run.start as usize, end: run.end as usize }
    }

    /// One voxel (z, y, x).
    pub fn voxel([z, y, x]: [usize; 3]) -> Stretch {
        Stretch { z, y, start: x, end: x + 1 }
    }

    fn voxels(&self) -> usize {
        self.end - self.start
    }
}

/// A region that may be cut.
pub struct RegionToCut {
    pub label: u32,
    pub region: Region,
    /// Its voxels in scan order.
    pub members: Vec<Stretch>,
    pub markers: Markers,
}

/// From where the flood starts.
pub enum Markers {
    /// Voxels with the number of their marker, from 1 and without a gap.
    Given(Vec<(u32, Stretch)>),
    /// The maxima of the distance to the background.
    Distance,
}

/// How maxima of the distance become markers.
#[derive(Clone, Copy, Debug)]
pub struct DistanceMarkers {
    pub sigma: f64,
    pub height: f32,
    pub apart: f64,
}

/// The pieces of a region.
pub struct Pieces {
    pub label: u32,
    /// How many there are.
    pub count: u32,
    /// The region's voxels in scan order with the number of their piece, from 1.
    runs: Vec<(u32, u32)>,
}

/// How all jobs are done.
pub struct Cutter<'a> {
    pub flooding: Flooding,
    pub distance: DistanceMarkers,
    /// Voxel spacing along z, y, x.
    pub spacing: [f64; 3],
    /// What `flooding.height` needs: the probability or the raw image.
    pub heights: Option<&'a dyn Planes>,
    pub size: [usize; 3],
    pub threads: usize,
}

/// A box of heights in a larger array.
struct Heights<'a> {
    values: &'a [f32],
    /// Where the array begins, and its size.
    origin: [usize; 3],
    size: [usize; 3],
}

impl Heights<'_> {
    fn row(&self, z: usize, y: usize, x: usize, voxels: usize) -> &[f32] {
        let [z, y, x] = [z - self.origin[0], y - self.origin[1], x - self.origin[2]];
        let start = (z * self.size[1] + y) * self.size[2] + x;
        &self.values[start..start + voxels]
    }
}

impl Cutter<'_> {
    /// Cuts all regions; the pieces come in the order of the jobs.
    ///
    /// Heights in a file are read once, in slabs; a region that reaches over several
    /// keeps the heights of its box until it is complete.
    ///
    /// # Errors
    /// Heights that cannot be read, and a region whose box does not fit into memory.
    pub fn run(&self, jobs: &[RegionToCut]) -> Result<Vec<Pieces>> {
        for size in jobs.iter().map(|job| job.region.box_size()) {
            let remedy = "raise --threshold, so that objects hang together less, or take \
                          --split none";
            ensure_bytes(
                bytes(&size, CUT_BYTES),
                || format!("regions of {size:?} voxels"),
                remedy,
            )?;
            ensure!(
                Flood::fits(size),
                "a region of {size:?} voxels is too large to be cut; {remedy}"
            );
        }
        let Some(planes) = self.heights else {
            let all: Vec<usize> = (0..jobs.len()).collect();
            let mut pieces = self.parallel(&all, |index| self.cut(&jobs[index], None));
            pieces.sort_unstable_by_key(|(index, _)| *index);
            return Ok(pieces.into_iter().map(|(_, pieces)| pieces).collect());
        };
        let [_, height, width] = self.size;
        let mut boxes: HashMap<usize, Vec<f32>> = HashMap::new();
        let mut done: Vec<(usize, Pieces)> = Vec::with_capacity(jobs.len());
        let mut waiting: Vec<usize> = (0..jobs.len()).collect();
        for slices in slabs(planes) {
            if waiting.is_empty() {
                break;
            }
            let reached = |index: &usize| jobs[*index].region.min[0] < slices.end;
            if !waiting.iter().any(reached) {
                continue;
            }
            let values: Cow<'_, [f32]> = planes.read(slices.clone())?;
            let slab = Heights {
                values: &values,
                origin: [slices.start, 0, 0],
                size: [slices.len(), height, width],
            };
            let mut ready = Vec::new();
            waiting.retain(|&index| {
                let region = &jobs[index].region;
                let complete = region.max[0] < slices.end;
                if region.min[0] < slices.end && (region.min[0] < slices.start || !complete) {
                    let heights = boxes.entry(index).or_default();
                    let [_, rows, voxels] = region.box_size();
                    for z in region.min[0].max(slices.start)..(region.max[0] + 1).min(slices.end) {
                        for y in region.min[1]..region.min[1] + rows {
                            heights.extend(slab.row(z, y, region.min[2], voxels));
                        }
                    }
                }
                if complete {
                    ready.push(index);
                }
                !complete
            });
            done.extend(self.parallel(&ready, |index| {
                let region = &jobs[index].region;
                let own = boxes.get(&index).map(|values| Heights {
                    values,
                    origin: region.min,
                    size: region.box_size(),
                });
                self.cut(&jobs[index], Some(own.as_ref().unwrap_or(&slab)))
            }));
            ready.iter().for_each(|index| drop(boxes.remove(index)));
        }
        done.sort_unstable_by_key(|(index, _)| *index);
        Ok(done.into_iter().map(|(_, pieces)| pieces).collect())
    }

    /// Calls `work` for every index, on all threads.
    fn parallel(
        &self,
        indices: &[usize],
        work: impl Fn(usize) -> Pieces + Sync,
    ) -> Vec<(usize, Pieces)> {
        threads::map(indices.to_vec(), self.threads, |index| (index, work(index)))
    }

    fn cut(&self, job: &RegionToCut, heights: Option<&Heights<'_>>) -> Pieces {
        let distance = match (&job.markers, self.flooding.height) {
            (Markers::Distance, _) | (_, Height::Distance) => Some(self.distances(job)),
            _ => None,
        };
        let found;
        let markers = match &job.markers {
            Markers::Given(markers) => markers,
            Markers::Distance => {
                found = distance.as_ref().map_or_else(Vec::new, |inside| self.maxima(inside));
                &found
            }
        };
        let count = markers.iter().map(|(marker, _)| *marker).max().unwrap_or(0);
        let whole = |stretch: &Stretch| (1, stretch.voxels() as u32);
        if count < 2 {
            let runs = job.members.iter().map(whole).collect();
            return Pieces { label: job.label, count: 1, runs };
        }
        let [z0, y0, x0] = job.region.min;
        let [depth, rows, voxels] = job.region.box_size();
        let mut flood = Flood::new([depth, rows, voxels]);
        if self.flooding.confined {
            flood.block_all();
        }
        let place = |stretch: &Stretch| [stretch.z - z0, stretch.y - y0, stretch.start - x0];
        for stretch in &job.members {
            match self.flooding.confined {
                true => flood.allow(place(stretch), stretch.voxels()),
                false => flood.want(place(stretch), stretch.voxels()),
            }
        }
        for z in 0..depth {
            for y in 0..rows {
                match (self.flooding.height, heights, &distance) {
                    (Height::Distance, _, Some(inside)) => {
                        let inside = inside.heights();
                        let row = inside.row(z + z0, y + y0, x0, voxels);
                        flood.set_heights([z, y, 0], row.iter().map(|value| -value));
                    }
                    (Height::Probability, Some(heights), _) => {
                        let row = heights.row(z + z0, y + y0, x0, voxels);
                        flood.set_heights([z, y, 0], row.iter().map(|value| -value));
                    }
                    (_, Some(heights), _) => {
                        let row = heights.row(z + z0, y + y0, x0, voxels);
                        flood.set_heights([z, y, 0], row.iter().copied());
                    }
                    _ => {}
                }
            }
        }
        for (marker, stretch) in markers {
            for x in stretch.start..stretch.end {
                flood.mark([stretch.z - z0, stretch.y - y0, x - x0], *marker);
            }
        }
        flood.run(self.flooding.connectivity, self.flooding.rule);
        let mut runs: Vec<(u32, u32)> = Vec::with_capacity(job.members.len());
        for stretch in &job.members {
            let mut begun = false;
            for piece in flood.labels(place(stretch), stretch.voxels()) {
                // A part that no marker reaches stays with the first piece.
                let piece = piece.max(1);
                match runs.last_mut() {
                    Some(last) if begun && last.0 == piece => last.1 += 1,
                    _ => runs.push((piece, 1)),
                }
                begun = true;
            }
        }
        Pieces { label: job.label, count, runs }
    }

    /// The smoothed distance of the region's voxels to the nearest other voxel.
    ///
    /// A ball of voxels nearer than the background is connected, so that the box of
    /// the region with a rim of one voxel has all that the distance depends on.
    fn distances(&self, job: &RegionToCut) -> Inside {
        let sigma = self.distance.sigma;
        let rim = if sigma > 0.0 { weights(sigma).len() } else { 1 };
        let origin: [usize; 3] = job.region.min.map(|least| least.saturating_sub(rim));
        let size: [usize; 3] = std::array::from_fn(|axis| {
            (job.region.max[axis] + 1 + rim).min(self.size[axis]) - origin[axis]
        });
        let mut outside = vec![true; size.iter().product()];
        for stretch in &job.members {
            let row = (stretch.z - origin[0]) * size[1] + stretch.y - origin[1];
            let start = row * size[2] + stretch.start - origin[2];
            outside[start..start + stretch.voxels()].fill(false);
        }
        let mut values = distance_to(&outside, size, self.spacing);
        if values.iter().any(|value| value.is_infinite()) {
            // The volume is full: nothing tells its voxels apart.
            values.fill(0.0);
        }
        gaussian_filter(&mut values, size, [sigma; 3], Edge::Reflect);
        Inside { values, outside, origin, size }
    }

    /// Markers at the maxima of the distance within the region.
    fn maxima(&self, inside: &Inside) -> Vec<(u32, Stretch)> {
        let mask: Vec<bool> = inside.outside.iter().map(|outside| !outside).collect();
        let DistanceMarkers { height, apart: least, .. } = self.distance;
        let (values, size) = (&inside.values, inside.size);
        let mut maxima = if height > 0.0 {
            h_maxima(values, Some(&mask), size, Connectivity::Corners26, height)
        } else {
            local_maxima(values, Some(&mask), size, Connectivity::Corners26)
        };
        if least > 0.0 {
            apart(&mut maxima, size, self.spacing, least);
        }
        let mut markers = Vec::new();
        for (maximum, marker) in maxima.iter().zip(1..) {
            for &voxel in &maximum.voxels {
                let voxel = voxel as usize;
                let place =
                    [voxel / (size[1] * size[2]), voxel / size[2] % size[1], voxel % size[2]];
                let voxel = std::array::from_fn(|axis| place[axis] + inside.origin[axis]);
                markers.push((marker, Stretch::voxel(voxel)));
            }
        }
        markers
    }
}

/// Distances in a box around a region.
struct Inside {
    values: Vec<f32>,
    /// Which voxels are not of the region.
    outside: Vec<bool>,
    origin: [usize; 3],
    size: [usize; 3],
}

impl Inside {
    fn heights(&self) -> Heights<'_> {
        Heights { values: &self.values, origin: self.origin, size: self.size }
    }
}

/// The image with every region in its pieces: the first keeps the region's label, the
/// others get new ones after the largest, region after region. `pieces` are in
/// ascending order of labels. Returns also the label before the cut for each label.
pub fn numbered(regions: &Runs, count: u32, pieces: &[Pieces]) -> (Runs, Vec<u32>) {
    let mut before: Vec<u32> = (1..=count).collect();
    // By label: where its pieces go on, and the number of its second piece.
    let mut cursors: HashMap<u32, (std::slice::Iter<'_, (u32, u32)>, u32)> = HashMap::new();
    for region in pieces.iter().filter(|region| region.count > 1) {
        cursors.insert(region.label, (region.runs.iter(), before.len() as u32 + 1));
        before.extend((1..region.count).map(|_| region.label));
    }
    let mut image = Runs::begin(regions.size());
    let mut row_runs: Vec<Run> = Vec::new();
    for row in 0..regions.rows() {
        row_runs.clear();
        for run in regions.row(row) {
            let Some((runs, second)) = cursors.get_mut(&run.label) else {
                row_runs.push(*run);
                continue;
            };
            let mut start = run.start;
            while start < run.end
                && let Some(&(piece, voxels)) = runs.next()
            {
                let label = if piece == 1 { run.label } else { *second + piece - 2 };
                row_runs.push(Run { start, end: start + voxels, label });
                start += voxels;
            }
        }
        image.push_row(row_runs.iter().copied());
    }
    (image, before)
}
