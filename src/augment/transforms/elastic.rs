//! `ElasticDeformation`: a smooth random displacement of every voxel.

use anyhow::Result;

use super::affine::deviation;
use super::stream::RandomSource;
use super::{Transform, TransformClass, TransformContext, TransformEntry};
use crate::config::Parameter;
use crate::resample::Size;
use crate::resample::by_index::by_index;
use crate::resample::modes::{Field, Spectrum};
use crate::resample::sample::Border;
use crate::resample::volume::{Fill, Resampling, resample};
use crate::volume::{Volume, Voxels};

pub(super) static ENTRY: TransformEntry = TransformEntry {
    name: "ElasticDeformation",
    class: TransformClass::Geometric,
    meaning: "Displaces voxels by normal noise, gaussian-filtered and times `alpha`, as \
              scipy.ndimage.map_coordinates with mode reflect.",
    parameters: &[
        Parameter::integer("spline_order", 3, "0 nearest (labels), 1 linear, 2 or 3")
            .within(0.0, 3.0)
            .required(),
        Parameter::number("alpha", 2000.0, "factor of the filtered noise").at_least(0.0),
        deviation("sigma", 50.0, "of the gaussian filter, in voxels").within(0.0, 1e4),
        Parameter::probability("execution_probability", 0.1, "how often it acts"),
        Parameter::flag("apply_3d", true, "false: nothing moves along z"),
    ],
    build: |section| {
        Ok(Box::new(ElasticDeformation {
            geometry: Geometry {
                alpha: section.number("alpha"),
                sigma: section.number("sigma"),
                apply_3d: section.flag("apply_3d"),
                execution_probability: section.number("execution_probability"),
            },
            resampling: Resampling {
                order: section.size("spline_order"),
                border: Border::Reflect,
                fill: Fill::Value(0.0),
            },
        }))
    },
};

struct ElasticDeformation {
    geometry: Geometry,
    resampling: Resampling,
}

impl Transform for ElasticDeformation {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        Ok(self.apply_voxels(volume.into(), context)?.expand())
    }

    fn apply_voxels(&self, volume: Voxels, context: &TransformContext<'_>) -> Result<Voxels> {
        let size = volume.size();
        let key =
            format!("{}/{}/{size:?}/{:?}", context.key.name, context.key.occurrence, self.geometry);
        let field = context.shared.get(key, || self.geometry.draw(size, &mut context.stream()));
        match field.as_ref() {
            Some(field) => by_index(volume, self.resampling, |volume, resampling| {
                resample(volume, resampling, &mut field.map())
            }),
            None => Ok(volume),
        }
    }
}

#[derive(Clone, Debug)]
struct Geometry {
    alpha: f64,
    sigma: f64,
    apply_3d: bool,
    execution_probability: f64,
}

impl Geometry {
    /// Draws whether it is applied, then the modes of the displacement in z (if any), y and x.
    fn draw(&self, size: Size, draws: &mut impl RandomSource) -> Option<Field> {
        if !draws.chance(self.execution_probability) || self.alpha == 0.0 {
            return None;
        }
        let spectrum = Spectrum::of_gaussian(size, self.sigma, self.alpha);
        let mut component = || Some(spectrum.amplitudes(|| draws.normal(0.0, 1.0)));
        let z = if self.apply_3d { component() } else { None };
        Some(spectrum.field([z, component(), component()]))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::augment::stream::Stream;
    use crate::resample::gaussian::{Edge, gaussian_filter};
    use crate::resample::map::{Map, Row};

    /// The modes have the distribution of filtered noise: the same mean square at the corner, in
    /// the middle of an edge and inside.
    #[test]
    fn displacements_vary_as_filtered_noise_does() {
        let size = [8, 10, 12];
        let geometry =
            Geometry { alpha: 50.0, sigma: 3.0, apply_3d: true, execution_probability: 1.0 };
        let places = [(0, 0, 0), (0, 5, 6), (4, 5, 6)];
        let rounds = 3000;
        let mut stream = Stream::seed_from_u64(5);
        let (mut found, mut wanted) = ([0.0; 3], [0.0; 3]);
        let mut row = Row::new(size[2]);
        for _ in 0..rounds {
            let field = geometry.draw(size, &mut stream).expect("it always acts");
            let mut map = field.map();
            let mut noise: Vec<f64> = (0..960).map(|_| stream.normal(0.0, 1.0)).collect();
            gaussian_filter(&mut noise, size, [3.0; 3], Edge::Reflect);
            for (i, (z, y, x)) in places.into_iter().enumerate() {
                map.row(z, y, &mut row);
                for moved in [row.z[x] - z as f64, row.y[x] - y as f64, row.x[x] - x as f64] {
                    found[i] += moved * moved / 3.0;
                }
                wanted[i] += (50.0 * noise[(z * 10 + y) * 12 + x]).powi(2);
            }
        }
        for (found, wanted) in found.into_iter().zip(wanted) {
            assert!((found / wanted - 1.0).abs() < 0.12, "{found} {wanted}");
        }
    }

    #[test]
    fn nothing_moves_along_z_unless_asked() {
        let size = [4, 6, 20];
        let geometry =
            Geometry { alpha: 50.0, sigma: 3.0, apply_3d: false, execution_probability: 1.0 };
        let field = geometry.draw(size, &mut Stream::seed_from_u64(1)).expect("it always acts");
        let mut row = Row::new(size[2]);
        field.map().row(2, 3, &mut row);
        assert!(row.z.iter().all(|&z| z == 2.0));
        assert!(row.y.iter().any(|&y| y != 3.0));
    }
}
