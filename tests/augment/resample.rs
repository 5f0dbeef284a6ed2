//! The resampling kernels against scipy.ndimage and SimpleITK, whose results
//! `fixtures/make_kernel.py` wrote.

use hdf5::{File, Group, H5Type};
use unet3d::resample::Size;
use unet3d::resample::bspline::{BSpline, Deformation};
use unet3d::resample::gaussian::{Edge, gaussian_filter};
use unet3d::resample::map::{Affine, Coordinates, Map, Row};
use unet3d::resample::modes::Spectrum;
use unet3d::resample::sample::{self, Border};
use unet3d::resample::spline::{Coefficients, Extension, pad};
use unet3d::resample::volume::{Fill, Resampling, resample};
use unet3d::volume::{Values, Volume};

fn open(name: &str) -> File {
    File::open(format!("{}/tests/fixtures/kernel/{name}.h5", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn read<T: H5Type>(group: &Group, name: &str) -> Vec<T> {
    group.dataset(name).unwrap().read_raw().unwrap()
}

fn size(group: &Group, name: &str) -> Size {
    group.dataset(name).unwrap().shape().try_into().unwrap()
}

fn attribute(group: &Group, name: &str) -> Vec<f64> {
    group.attr(name).unwrap().read_raw().unwrap()
}

/// Largest difference as a share of the range of `wanted`.
fn worst(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    let low = wanted.iter().copied().fold(f32::INFINITY, f32::min);
    let high = wanted.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let difference =
        found.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, |a: f32, b| a.max(b));
    assert!(found.iter().all(|value| value.is_finite()));
    difference / (high - low)
}

fn differing<T: PartialEq>(found: &[T], wanted: &[T]) -> usize {
    assert_eq!(found.len(), wanted.len());
    found.iter().zip(wanted).filter(|(a, b)| a != b).count()
}

fn plain<T>(values: Vec<T>, size: Size) -> ndarray::Array4<T> {
    ndarray::Array4::from_shape_vec((1, size[0], size[1], size[2]), values).unwrap()
}

fn resampled_f32(values: &[f32], size: Size, how: Resampling, map: &mut dyn Map) -> Vec<f32> {
    let volume = Volume::plain(plain(values.to_vec(), size));
    match resample(volume, how, map).unwrap().values {
        Values::F32(array) => array.into_raw_vec_and_offset().0,
        other => panic!("{other:?}"),
    }
}

fn resampled_u16(values: &[u16], size: Size, how: Resampling, map: &mut dyn Map) -> Vec<u16> {
    let volume = Volume::plain(plain(values.to_vec(), size));
    match resample(volume, how, map).unwrap().values {
        Values::U16(array) => array.into_raw_vec_and_offset().0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn gaussian_filter_agrees_with_scipy() {
    let file = open("scipy");
    let mut compared = 0;
    for group in file.group("gaussian").unwrap().groups().unwrap() {
        let (input, size) = (read::<f32>(&group, "input"), size(&group, "input"));
        for name in group.member_names().unwrap() {
            let edge = match name.split('_').next() {
                Some("reflect") => Edge::Reflect,
                Some("nearest") => Edge::Nearest,
                _ => continue,
            };
            let wanted = read::<f32>(&group, &name);
            let sigma: Vec<f64> =
                group.dataset(&name).unwrap().attr("sigma").unwrap().read_raw().unwrap();
            let sigma = [sigma[0], sigma[1], sigma[2]];
            let mut single = input.clone();
            gaussian_filter(&mut single, size, sigma, edge);
            assert!(worst(&single, &wanted) < 1e-5, "{} {name}", group.name());
            let mut double: Vec<f64> = input.iter().map(|&x| f64::from(x)).collect();
            gaussian_filter(&mut double, size, sigma, edge);
            let double: Vec<f32> = double.iter().map(|&x| x as f32).collect();
            assert!(worst(&double, &wanted) < 1e-6, "{} {name}", group.name());
            compared += 1;
        }
    }
    assert_eq!(compared, 12);
}

#[test]
fn spline_coefficients_agree_with_scipy() {
    let file = open("scipy");
    for group in file.group("spline").unwrap().groups().unwrap() {
        let (input, size) = (read::<f32>(&group, "input"), size(&group, "input"));
        for (name, extension) in [("reflect", Extension::Reflect), ("mirror", Extension::Mirror)] {
            for order in [2, 3] {
                let wanted = read::<f32>(&group, &format!("{name}_{order}"));
                let found = Coefficients::of(&input, size, order, extension);
                let [_, height, width] = found.size;
                let mut inner = Vec::new();
                let [pad_z, pad_y, pad_x] = pad(size);
                for z in pad_z..pad_z + size[0] {
                    for y in pad_y..pad_y + size[1] {
                        let start = (z * height + y) * width + pad_x;
                        inner.extend_from_slice(&found.values[start..start + size[2]]);
                    }
                }
                let worst = worst(&inner, &wanted);
                assert!(worst < 2e-6, "{} {name} {order}: {worst}", group.name());
            }
        }
    }
}

#[test]
fn interpolation_agrees_with_scipy() {
    let file = open("scipy");
    for group in file.group("coordinates").unwrap().groups().unwrap() {
        let (raw, label) = (read::<f32>(&group, "raw"), read::<u16>(&group, "label"));
        let size = size(&group, "raw");
        let points = read::<f64>(&group, "points");
        let fields: Vec<&[f64]> = points.chunks_exact(raw.len()).collect();
        let fields = [fields[0], fields[1], fields[2]];
        for (mode, border) in [("reflect", Border::Reflect), ("constant", Border::Constant)] {
            for order in 0..=3 {
                let how = |fill| Resampling { order, border, fill: Fill::Value(fill) };
                let map = &mut Coordinates { fields, size };
                let found = resampled_f32(&raw, size, how(0.625), map);
                let wanted = read::<f32>(&group, &format!("raw_{mode}_{order}"));
                let worst = worst(&found, &wanted);
                let place = format!("{} {mode} {order}", group.name());
                assert!(worst < if order == 0 { f32::EPSILON } else { 5e-6 }, "{place}: {worst}");
                let found = resampled_u16(&label, size, how(2.0), map);
                let wanted = read::<u16>(&group, &format!("label_{mode}_{order}"));
                // Linear and spline results may be halves, which round either way.
                let allowed = if order == 0 { 0 } else { label.len() / 100 };
                assert!(differing(&found, &wanted) <= allowed, "{place}");
            }
        }
    }
}

/// The case's transform; ITK's (x, y, z) turned into (z, y, x).
fn deformation(case: &Group, size: Size) -> Deformation {
    let affine = if case.attr("matrix").is_ok() {
        let (m, t) = (attribute(case, "matrix"), attribute(case, "translation"));
        Affine {
            matrix: std::array::from_fn(|i| std::array::from_fn(|j| m[(2 - i) * 3 + 2 - j])),
            translation: [t[2], t[1], t[0]],
        }
    } else {
        Affine::IDENTITY
    };
    let bend = case.dataset("coefficients").ok().map(|data_set| {
        let mesh: Vec<i64> = case.attr("mesh").unwrap().read_raw().unwrap();
        let order: i64 = case.attr("order").unwrap().read_scalar().unwrap();
        let all: Vec<f64> = data_set.read_raw().unwrap();
        let each: Vec<Vec<f64>> =
            all.chunks_exact(all.len() / mesh.len()).map(<[f64]>::to_vec).collect();
        let z = each.get(2).cloned().unwrap_or_else(|| vec![0.0; each[0].len()]);
        let mesh = [mesh.get(2).map_or(0, |&n| n as usize), mesh[1] as usize, mesh[0] as usize];
        BSpline::over(size, mesh, order as usize, [z, each[1].clone(), each[0].clone()])
    });
    Deformation { affine, bend }
}

#[test]
fn resampling_agrees_with_itk() {
    let file = open("itk");
    let all = file.group("itk").unwrap();
    let (raw, size) = (read::<f32>(&all, "raw"), size(&all, "raw"));
    let label: Vec<u16> = read::<u8>(&all, "label").into_iter().map(u16::from).collect();
    let counts = read::<u16>(&all, "counts");
    let mut cases = 0;
    for case in all.groups().unwrap() {
        let name = case.name();
        let deformation = deformation(&case, size);
        let how = |order, fill| Resampling { order, border: Border::Itk, fill: Fill::Value(fill) };
        for (kind, order, tolerance) in
            [("nn", 0, f32::EPSILON), ("linear", 1, 5e-6), ("bspline", 3, 5e-6)]
        {
            let found = resampled_f32(&raw, size, how(order, 0.375), &mut &deformation);
            let worst = worst(&found, &read::<f32>(&case, &format!("raw_{kind}")));
            assert!(worst < tolerance, "{name} {kind}: {worst}");
        }
        cases += 1;
        if case.dataset("label_nn").is_err() {
            continue;
        }
        let found = resampled_u16(&label, size, how(0, 9.0), &mut &deformation);
        let wanted: Vec<u16> = read::<u8>(&case, "label_nn").into_iter().map(u16::from).collect();
        assert_eq!(differing(&found, &wanted), 0, "{name}");
        let found = resampled_u16(&counts, size, how(1, 7.75), &mut &deformation);
        let wanted = read::<u16>(&case, "counts_linear");
        // Values are truncated to integers: rounding errors may change them by one.
        assert!(differing(&found, &wanted) <= 2, "{name}: {}", differing(&found, &wanted));
    }
    assert_eq!(cases, 7);
}

#[test]
fn pieces_of_a_row_agree_with_the_definition() {
    let file = open("itk");
    let all = file.group("itk").unwrap();
    let size = size(&all, "raw");
    for case in all.groups().unwrap() {
        let deformation = deformation(&case, size);
        let Some(bend) = &deformation.bend else { continue };
        let mut row = Row::new(size[2]);
        for (z, y) in [(0, 0), (3, 7), (size[0] - 1, size[1] - 1)] {
            (&deformation).row(z, y, &mut row);
            let (first, step) = deformation.affine.line(z, y);
            for i in 0..size[2] {
                let p: [f64; 3] = std::array::from_fn(|axis| first[axis] + step[axis] * i as f64);
                let d = bend.displacement(p);
                for (found, axis) in [row.z[i], row.y[i], row.x[i]].into_iter().zip(0..) {
                    assert!((found - p[axis] - d[axis]).abs() < 1e-10, "{} {i}", case.name());
                }
            }
        }
    }
}

#[test]
fn modes_of_noise_give_the_filtered_noise() {
    let file = open("scipy");
    for group in file.group("elastic").unwrap().groups().unwrap() {
        let size = size(&group, "field");
        let number = |name: &str| attribute(&group, name)[0];
        let spectrum = Spectrum::of_gaussian(size, number("sigma"), number("alpha"));
        let (modes, field) = (read::<f64>(&group, "noise_modes"), read::<f64>(&group, "field"));
        let [kz, ky, kx] = spectrum.counts();
        let mut kept = Vec::new();
        for z in 0..kz {
            for y in 0..ky {
                let start = (z * size[1] + y) * size[2];
                kept.extend_from_slice(&modes[start..start + kx]);
            }
        }
        let mut kept = kept.into_iter();
        let amplitudes = spectrum.amplitudes(|| kept.next().unwrap());
        assert_eq!(kept.next(), None);
        let whole = spectrum.field([Some(amplitudes), None, None]);
        let mut map = whole.map();
        let mut row = Row::new(size[2]);
        let mut squares = 0.0;
        for z in 0..size[0] {
            for y in 0..size[1] {
                map.row(z, y, &mut row);
                for x in 0..size[2] {
                    let wanted = field[(z * size[1] + y) * size[2] + x];
                    let error = row.z[x] - z as f64 - wanted;
                    assert!(error.abs() < 1e-3, "{}", group.name());
                    squares += error * error;
                    assert_eq!((row.y[x], row.x[x]), (y as f64, x as f64));
                }
            }
        }
        let error = (squares / field.len() as f64).sqrt();
        assert!(error < 1e-4, "{}: {error}", group.name());
    }
}

#[test]
fn whole_steps_move_voxels_unchanged() {
    let size = [3, 4, 5];
    let values: Vec<f32> = (0..60).map(|i| i as f32 * 1.7 - 9.0).collect();
    let shifted = Affine { translation: [1.0, 0.0, -2.0], ..Affine::IDENTITY };
    for border in [Border::Constant, Border::Itk] {
        for order in [0, 1] {
            let how = Resampling { order, border, fill: Fill::Value(-1.0) };
            let found = resampled_f32(&values, size, how, &mut { shifted });
            for (i, found) in found.into_iter().enumerate() {
                let (z, y, x) = (i / 20 + 1, i / 5 % 4, i % 5);
                let wanted = if z < 3 && x >= 2 { values[z * 20 + y * 5 + x - 2] } else { -1.0 };
                assert_eq!(found, wanted, "{border:?} {order} {i}");
            }
        }
    }
}

#[test]
fn fill_is_asked_for_only_when_something_is_outside() {
    let size = [2, 2, 2];
    let input = [1.0f32; 8];
    let mut output = [0.0; 8];
    let mut asked = 0;
    let mut fill = |_: usize| {
        asked += 1;
        5.0
    };
    let mut identity = Affine::IDENTITY;
    sample::linear(&input, size, Border::Itk, &mut identity, &mut fill, &mut output);
    assert_eq!(output, input);
    let mut away = Affine { translation: [9.0; 3], ..Affine::IDENTITY };
    sample::linear(&input, size, Border::Itk, &mut away, &mut fill, &mut output);
    assert_eq!(output, [5.0; 8]);
    assert_eq!(asked, 1);
}
