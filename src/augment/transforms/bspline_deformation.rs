//! `BSplineDeformation`: random displacements on a mesh of control points.

use anyhow::Result;

use super::affine::deviation;
use super::stream::RandomSource;
use super::{ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape};
use crate::config::Parameter;
use crate::resample::Size;
use crate::resample::bspline::{BSpline, Deformation, counts};
use crate::resample::map::Affine;
use crate::resample::volume::{Fill, Resampling, resample, resample_slices};
use crate::volume::Volume;

pub(super) static ENTRY: TransformEntry = TransformEntry {
    name: "BSplineDeformation",
    class: TransformClass::Geometric,
    meaning: "Moves the control points of a mesh of B-splines at random, resampled as ITK does.",
    parameters: &[
        Parameter::integer("order", 3, "order of the splines if `use_z` is false").within(0.0, 3.0),
        Parameter::probability("execution_probability", 0.2, "how often it acts"),
        Parameter::number("cval", 0.0, "value of what lies outside; the median if absent")
            .optional(),
        Parameter::number(
            "spacing",
            100.0,
            "size of a cell of the mesh in voxels; nothing happens on a patch that is smaller",
        )
        .at_least(1.0),
        deviation("sigma", 20.0, "of the displacement of each control point, in voxels"),
        Parameter::flag("use_z", true, "false: one field of x and y for all slices"),
        Resampling::INTERPOLATOR,
    ],
    build: |section| {
        Ok(Box::new(BSplineDeformation {
            geometry: Geometry {
                order: if section.flag("use_z") { 3 } else { section.size("order") },
                spacing: section.number("spacing"),
                sigma: section.number("sigma"),
                use_z: section.flag("use_z"),
                execution_probability: section.number("execution_probability"),
            },
            resampling: Resampling::itk(
                section.text("interpolator"),
                section.maybe_number("cval").map_or(Fill::Median, Fill::Value),
            ),
        }))
    },
};

struct BSplineDeformation {
    geometry: Geometry,
    resampling: Resampling,
}

impl Transform for BSplineDeformation {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        let size = volume.size();
        let key =
            format!("{}/{}/{size:?}/{:?}", context.key.name, context.key.occurrence, self.geometry);
        let deformation =
            context.shared.get(key, || self.geometry.draw(size, &mut context.stream()));
        match deformation.as_ref() {
            Some(deformation) if !self.geometry.use_z => {
                resample_slices(volume, self.resampling, &mut &*deformation)
            }
            Some(deformation) => resample(volume, self.resampling, &mut &*deformation),
            None => Ok(volume),
        }
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        input.wants_3d()?;
        Ok(input)
    }
}

#[derive(Clone, Debug)]
struct Geometry {
    order: usize,
    spacing: f64,
    sigma: f64,
    use_z: bool,
    execution_probability: f64,
}

impl Geometry {
    /// Draws whether it is applied, then the displacements in x, in y and, with `use_z`, in z,
    /// each with x fastest.
    fn draw(&self, size: Size, draws: &mut impl RandomSource) -> Option<Deformation> {
        if !draws.chance(self.execution_probability) {
            return None;
        }
        let cells = size.map(|n| (n as f64 / self.spacing).floor() as usize);
        let bent = if self.use_z { 0..3 } else { 1..3 };
        if cells[bent].contains(&0) {
            // On a mesh without cells ITK has no displacement.
            return None;
        }
        let mesh = if self.use_z { cells } else { [0, cells[1], cells[2]] };
        let count: usize = counts(mesh, self.order).iter().product();
        let mut component = || (0..count).map(|_| draws.normal(0.0, self.sigma)).collect();
        let (x, y): (Vec<f64>, Vec<f64>) = (component(), component());
        let z = if self.use_z { component() } else { vec![0.0; count] };
        let bend = BSpline::over(size, mesh, self.order, [z, y, x]);
        Some(Deformation { affine: Affine::IDENTITY, bend: Some(bend) })
    }
}
