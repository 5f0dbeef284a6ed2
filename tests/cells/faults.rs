//! Input that is wrong, odd or large, to `unet3d instances` and `unet3d name-cells`.

use std::fs;

use hdf5::File;
use ndarray::{Array3, Array4, ArrayD, s};

use crate::support::lab::{Lab, read};
use crate::support::program::{Run, program};

fn run(lab: &Lab, command: &str, words: &[&str]) -> Run {
    let mut run = program();
    run.arg(command);
    for word in words {
        run.arg(word.replace('@', &lab.path("").display().to_string()));
    }
    run.output().expect("the program starts").into()
}

fn labels(lab: &Lab, name: &str) -> ArrayD<f32> {
    read(&lab.path(name), "instances")
}

/// Probabilities (2, D, H, W) with two bright boxes.
fn two_boxes() -> Array4<f32> {
    let mut volume = Array4::from_elem((2, 6, 12, 14), 0.1);
    volume.slice_mut(s![1, 1..4, 2..5, 2..6]).fill(0.9);
    volume.slice_mut(s![1, 2..5, 7..11, 8..13]).fill(0.8);
    volume
}

fn predictions(lab: &Lab, name: &str, volume: Array4<f32>) {
    lab.volume(name, &[("predictions", volume.into_dyn())]);
}

#[test]
fn a_broken_time_point_is_told_and_the_others_go_on() {
    let lab = Lab::new();
    predictions(&lab, "1_predictions.h5", two_boxes());
    fs::write(lab.path("2_predictions.h5"), "no volume").unwrap();
    predictions(&lab, "3_predictions.h5", two_boxes());
    let layout = ["--layout=antsun", "--output=@out"];
    run(&lab, "instances", &[&["@"], &layout[..]].concat())
        .failed_with(1, &["1 of 3 prediction(s) failed", "2_predictions.h5"]);
    // Each output by itself: without a raw image there is no signal.
    for t in [1, 3] {
        for file in ["img_roi/@.nrrd", "img_roi_watershed/@.nrrd", "centroids/@.txt"] {
            assert!(lab.path("out").join(file.replace('@', &t.to_string())).is_file(), "{file}");
        }
    }
    assert!(!lab.path("out/marker_signal").exists());
    assert!(!lab.path("out/img_roi/2.nrrd").exists());
}

#[test]
fn shapes_that_differ_are_named_with_both_files() {
    let lab = Lab::new();
    predictions(&lab, "a_predictions.h5", two_boxes());
    let raw = Array3::<f32>::zeros((6, 12, 13));
    lab.volume("raw.h5", &[("raw", raw.into_dyn())]);
    let words = ["a_predictions.h5", "raw.h5", "[6, 12, 14]", "[6, 12, 13]"];
    run(&lab, "instances", &["@a_predictions.h5", "--raw=@raw.h5"]).failed_with(1, &words);
    assert!(!lab.path("a_instances.h5").exists());
    run(&lab, "instances", &["@a_predictions.h5", "--channel=2"])
        .failed_with(1, &["2 channel(s)", "no channel 2"]);
    fs::create_dir(lab.path("empty")).unwrap();
    run(&lab, "instances", &["@empty"]).failed_with(1, &["empty", "no files of volumes"]);
    run(&lab, "instances", &["@none.h5"]).failed_with(1, &["none.h5", "no such file"]);
}

#[test]
fn values_that_are_no_probabilities_are_told() {
    let lab = Lab::new();
    let mut volume = two_boxes();
    volume[[1, 0, 0, 0]] = f32::NAN;
    volume[[1, 0, 0, 1]] = -0.5;
    volume[[1, 0, 0, 2]] = 3.0;
    predictions(&lab, "a_predictions.h5", volume);
    let told = run(&lab, "instances", &["@a_predictions.h5"]).succeeded();
    for words in ["1 voxel(s) are NaN and count as below", "1 voxel(s) are negative and 1 above 1"]
    {
        assert!(told.out.contains(words), "{}", told.out);
    }
    assert_eq!(
        labels(&lab, "a_instances.h5").iter().filter(|label| **label > 0.0).count(),
        36 + 60
    );

    // uint8: 255 stands for 1.
    let bytes = two_boxes().mapv(|value| (value * 255.0).round() as u8);
    let file = File::create(lab.path("b_predictions.h5")).unwrap();
    file.new_dataset_builder().with_data(&bytes).create("predictions").unwrap();
    drop(file);
    let told = run(&lab, "instances", &["@b_predictions.h5"]).succeeded();
    assert!(told.out.contains("stored as uint8, of which 255 stands for probability 1"));
    assert_eq!(labels(&lab, "a_instances.h5"), labels(&lab, "b_instances.h5"));

    // One channel is the probability.
    let single = two_boxes().slice(s![1..2, .., .., ..]).to_owned();
    predictions(&lab, "c_predictions.h5", single);
    let told = run(&lab, "instances", &["@c_predictions.h5"]).succeeded();
    assert!(told.out.contains("its one channel is the probability"));
    assert_eq!(labels(&lab, "a_instances.h5"), labels(&lab, "c_instances.h5"));

    let file = File::create(lab.path("d_predictions.h5")).unwrap();
    let numbers = Array3::<i32>::zeros((2, 3, 4));
    file.new_dataset_builder().with_data(&numbers).create("predictions").unwrap();
    drop(file);
    run(&lab, "instances", &["@d_predictions.h5"])
        .failed_with(1, &["d_predictions.h5", "int32", "probabilities are floats"]);
}

#[test]
fn more_regions_than_uint16_holds_are_written_as_uint32() {
    let lab = Lab::new();
    let volume =
        Array4::from_shape_fn((1, 1, 520, 520), |(_, _, y, x)| ((y + x) % 2) as f32 * 0.75);
    predictions(&lab, "a_predictions.h5", volume);
    let told = run(&lab, "instances", &["@a_predictions.h5", "--min-size=1"]).succeeded();
    assert!(told.out.contains("135200 regions, more than uint16 holds"), "{}", told.out);
    let file = File::open(lab.path("a_instances.h5")).unwrap();
    let dataset = file.dataset("instances").unwrap();
    assert!(dataset.dtype().unwrap().is::<u32>());
    assert_eq!(dataset.read_raw::<u32>().unwrap().into_iter().max(), Some(135_200));
    drop(file);
    let nrrd = ["@a_predictions.h5", "--min-size=1", "--format=nrrd"];
    run(&lab, "instances", &nrrd).succeeded();
    let read = unet3d::format::read(&lab.path("a_instances.nrrd"), "").unwrap();
    assert_eq!(read.into_f32().iter().copied().fold(0.0, f32::max), 135_200.0);
}

#[test]
fn the_result_depends_on_neither_threads_nor_blocks() {
    let lab = Lab::new();
    for case in ["antsun", "rods", "borders"] {
        let folder = crate::support::fixture("recorded/instances").join(case);
        fs::copy(folder.join("volume.h5"), lab.path("a_predictions.h5")).unwrap();
        fs::copy(folder.join("raw.nrrd"), lab.path("raw.nrrd")).unwrap();
        for split in ["thresholds", "distance"] {
            let mut results: Vec<(Vec<f32>, String)> = Vec::new();
            for (threads, memory) in [(1, 512), (3, 512), (1, 0), (3, 0)] {
                let [threads, memory] = [("threads", threads), ("memory", memory)]
                    .map(|(flag, value)| format!("--{flag}={value}"));
                let split = format!("--split={split}");
                let words = ["@a_predictions.h5", "--raw=@raw.nrrd", &split, &threads, &memory];
                run(&lab, "instances", &words).succeeded();
                let values = labels(&lab, "a_instances.h5").into_raw_vec_and_offset().0;
                results.push((values, fs::read_to_string(lab.path("a_instances.csv")).unwrap()));
            }
            assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{case} {split}");
        }
    }
}

#[test]
fn regions_are_left_out_filled_and_masked_on_request() {
    let lab = Lab::new();
    let mut volume = two_boxes();
    // A cavity, and a third region at the border.
    volume[[1, 3, 9, 10]] = 0.2;
    volume.slice_mut(s![1, 0..2, 0..2, 10..14]).fill(0.7);
    predictions(&lab, "a_predictions.h5", volume);
    let count = |words: &[&str]| {
        run(&lab, "instances", &[&["@a_predictions.h5", "--split=none"], words].concat())
            .succeeded();
        let values = labels(&lab, "a_instances.h5");
        let voxels = values.iter().filter(|label| **label > 0.0).count();
        (values.iter().copied().fold(0.0, f32::max) as usize, voxels)
    };
    assert_eq!(count(&[]), (3, 36 + 59 + 16));
    assert_eq!(count(&["--fill-cavities"]), (3, 36 + 60 + 16));
    assert_eq!(count(&["--drop-border"]), (2, 36 + 59));
    assert_eq!(count(&["--min-size", "20"]), (2, 36 + 59));
    assert_eq!(count(&["--max-size=40"]), (2, 36 + 16));
    assert_eq!(count(&["--threshold=0.85"]), (1, 36));
    let mut mask = Array3::<f32>::zeros((6, 12, 14));
    mask.slice_mut(s![.., .., 0..9]).fill(1.0);
    lab.volume("mask.h5", &[("label", mask.into_dyn())]);
    assert_eq!(count(&["--mask=@mask.h5"]), (2, 36 + 12));
}

#[test]
fn seeds_come_from_an_image_and_from_other_channels() {
    let lab = Lab::new();
    // One bar, with seeds at its ends.
    let mut volume = Array4::from_elem((3, 3, 5, 12), 0.0f32);
    volume.slice_mut(s![1, 1, 2, 1..11]).fill(0.9);
    volume.slice_mut(s![2, 1, 2, 1..3]).fill(0.9);
    volume.slice_mut(s![2, 1, 2, 8..11]).fill(0.9);
    // Channel 0 is the border between the two.
    volume[[0, 1, 2, 5]] = 0.9;
    predictions(&lab, "a_predictions.h5", volume);
    let mut seeds = Array3::<f32>::zeros((3, 5, 12));
    seeds[[1, 2, 1]] = 4.0;
    seeds[[1, 2, 10]] = 9.0;
    lab.volume("seeds.h5", &[("label", seeds.into_dyn())]);
    for words in ["--seeds=@seeds.h5", "--seed-channel=2", "--boundary-channel=0"] {
        run(&lab, "instances", &["@a_predictions.h5", "--split=seeds", words]).succeeded();
        let values = labels(&lab, "a_instances.h5");
        let bar: Vec<f32> = (1..11).map(|x| values[[1, 2, x]]).collect();
        assert_eq!((bar[0], bar[9]), (1.0, 2.0), "{words}: {bar:?}");
        assert!(bar.windows(2).all(|pair| pair[0] <= pair[1]), "{words}: {bar:?}");
    }
}

#[test]
fn labels_that_a_float32_confuses_are_no_seeds() {
    let lab = Lab::new();
    predictions(&lab, "a_predictions.h5", two_boxes());
    let file = File::create(lab.path("seeds.h5")).unwrap();
    let mut seeds = Array3::<u32>::zeros((6, 12, 14));
    seeds[[1, 2, 3]] = 16_777_217;
    file.new_dataset_builder().with_data(&seeds).create("label").unwrap();
    drop(file);
    run(&lab, "instances", &["@a_predictions.h5", "--split=seeds", "--seeds=@seeds.h5"])
        .failed_with(1, &["a_predictions.h5", "seeds", "16777216", "less than"]);
}

#[test]
fn cells_between_walls_depend_on_neither_threads_nor_memory() {
    let lab = Lab::new();
    let file = File::open(crate::support::fixture("instances/split.h5")).unwrap();
    let walls: ArrayD<f32> =
        file.group("boundary").unwrap().dataset("predictions").unwrap().read_dyn().unwrap();
    lab.volume("a_predictions.h5", &[("predictions", walls)]);
    for flags in [&["--min-size=20"][..], &["--slices", "--min-size=20"], &["--alpha=0.8"]] {
        let mut results: Vec<(Vec<f32>, String)> = Vec::new();
        for limits in [["--threads=1", "--memory=512"], ["--threads=2", "--memory=0"]] {
            let words = [&["@a_predictions.h5", "--method", "boundary"], &limits[..], flags];
            run(&lab, "instances", &words.concat()).succeeded();
            let values = labels(&lab, "a_instances.h5").into_raw_vec_and_offset().0;
            results.push((values, fs::read_to_string(lab.path("a_instances.csv")).unwrap()));
        }
        assert!(results[0] == results[1], "{flags:?}");
    }
}

#[test]
fn flags_that_exclude_each_other_are_wrong_usage() {
    let lab = Lab::new();
    predictions(&lab, "a_predictions.h5", two_boxes());
    for (words, parts) in [
        (&["--method=boundary", "--split=thresholds"][..], &["--split", "foreground"][..]),
        (&["--split=none", "--split-thresholds=0.7"], &["--split-thresholds", "thresholds"]),
        (&["--split-thresholds=0.7,0.8"], &["2 --split-thresholds", "3 --split-min-sizes"]),
        (&["--split=seeds"], &["--split seeds needs one of"]),
        (&["--layout=antsun"], &["--layout antsun", "--output"]),
        (&["--original", "--fill-cavities"], &["--fill-cavities", "--original"]),
        (&["--alpha=0.5"], &["--alpha", "--method boundary"]),
        (&["--voxel-size=1,2"], &["--voxel-size"]),
        (&["--method=boundary", "--split", "distance"], &["--split", "foreground"]),
        (&["--method=boundary", "--no-confine"], &["--no-confine", "foreground"]),
        (&["--split=none", "--no-confine"], &["--no-confine", "split"]),
        (&["--split=distance", "--seed-channel=0"], &["--seed-channel", "--split seeds"]),
        (&["--original", "--split=distance"], &["--split", "--original"]),
        (&["--min-size=10", "--max-size", "9"], &["--max-size 9", "--min-size 10"]),
        (&["--layout=antsun", "--output=@o", "--format=zarr"], &["--format", "antsun"]),
    ] {
        run(&lab, "instances", &[&["@a_predictions.h5"], words].concat()).failed_with(2, parts);
    }
    run(&lab, "instances", &["@a_predictions.h5", "--connectivity=8"])
        .failed_with(2, &["6, 18 or 26"]);
    run(&lab, "instances", &["@a_predictions.h5", "--format=png"])
        .failed_with(2, &["hdf5", "zarr", "nifti", "metaimage"]);
    assert!(!lab.path("a_instances.h5").exists());
}

#[test]
fn shares_of_the_files_are_all_of_them() {
    let lab = Lab::new();
    for name in ["1", "2", "10"] {
        predictions(&lab, &format!("{name}_predictions.h5"), two_boxes());
    }
    let there = |name: &str| lab.path(&format!("{name}_instances.h5")).exists();
    run(&lab, "instances", &["@", "--shard=1/2"]).succeeded();
    assert_eq!(["1", "2", "10"].map(there), [true, false, true]);
    run(&lab, "instances", &["@", "--shard=2/2"]).succeeded();
    assert!(there("2"));
}

#[test]
fn nothing_of_the_users_is_replaced() {
    let lab = Lab::new();
    predictions(&lab, "a_predictions.h5", two_boxes());
    for name in ["a_instances.h5", "a_instances.csv"] {
        fs::write(lab.path(name), "mine").unwrap();
        run(&lab, "instances", &["@a_predictions.h5"]).failed_with(1, &[name, "not replaced"]);
        assert_eq!(fs::read_to_string(lab.path(name)).unwrap(), "mine");
        fs::remove_file(lab.path(name)).unwrap();
    }
    run(&lab, "instances", &["@a_predictions.h5"]).succeeded();
    run(&lab, "instances", &["@a_predictions.h5"]).succeeded();
}

/// A prediction (3, D, H, W) of UNKNOWN, AVAL and AVAR, regions and names.
fn animal(lab: &Lab) {
    let mut regions = Array3::<f32>::zeros((4, 6, 20));
    let mut volume = Array4::<f32>::zeros((3, 4, 6, 20));
    volume.slice_mut(s![0, .., .., ..]).fill(1.0);
    for (id, x, class) in [(1, 1, 1), (2, 7, 2), (5, 14, 1)] {
        regions.slice_mut(s![1..3, 1..5, x..x + 4]).fill(id as f32);
        volume.slice_mut(s![0, 1..3, 1..5, x..x + 4]).fill(0.1);
        volume.slice_mut(s![class, 1..3, 1..5, x..x + 4]).fill(0.9 - 0.05 * id as f32);
    }
    predictions(lab, "p.h5", volume);
    lab.volume("roi.h5", &[("roi", regions.clone().into_dyn())]);
    lab.volume("whole.h5", &[("roi", regions.into_dyn())]);
    fs::write(lab.path("names.txt"), "AVAL\nAVAR\n").unwrap();
}

const ANIMAL: [&str; 4] =
    ["--predictions=@p.h5", "--regions=@roi.h5", "--names=@names.txt", "--output=@labels.csv"];

fn rows(lab: &Lab) -> Vec<Vec<String>> {
    let text = fs::read_to_string(lab.path("labels.csv")).unwrap();
    fs::remove_file(lab.path("labels.csv")).unwrap();
    unet3d::instances::naming::table_rows(&text).unwrap().split_off(1)
}

#[test]
fn names_and_classes_have_to_fit() {
    let lab = Lab::new();
    animal(&lab);
    let name = |more: &[&str]| run(&lab, "name-cells", &[&ANIMAL[..], more].concat());
    // Regions are whole numbers in a float type; nothing else is needed.
    name(&[]).succeeded();
    let found = rows(&lab);
    assert_eq!(found.len(), 3);
    assert_eq!((found[0][0].as_str(), found[0][2].as_str()), ("AVAL", "1"));
    // Halves are rounded to even, and counted from 1.
    assert_eq!(found[0][1], "3,3,3");

    fs::write(lab.path("names.txt"), "AVAL\nAVAR\nAVBL\n").unwrap();
    name(&[]).failed_with(1, &["p.h5", "3 classes", "4 names"]);
    fs::write(lab.path("names.txt"), "\n").unwrap();
    name(&[]).failed_with(1, &["names.txt", "no names"]);
    fs::write(lab.path("names.txt"), "AVAL\nAVAR\n").unwrap();
    name(&["--predictions=@p.h5"]).failed_with(2, &["2 --predictions, but 1 --regions"]);
    name(&["--voxel-size=0,1,1"]).failed_with(2, &["--voxel-size", "above 0"]);
    name(&["--matrix=@labels.csv"]).failed_with(2, &["--output and --matrix"]);
    fs::write(lab.path("links.csv"), "").unwrap();
    let twice = ["--predictions=@p.h5", "--regions=@roi.h5", "--links=@links.csv"];
    name(&twice).failed_with(1, &["links.csv", "empty"]);
    // The folder of the table is made, and a region that is not there is told.
    let told = run(
        &lab,
        "name-cells",
        &[&ANIMAL[..3], &["--output=@new/labels.csv", "--exclude-regions", "5,77"]].concat(),
    );
    assert!(told.succeeded().out.contains("there is no region 77"));
    assert!(lab.path("new/labels.csv").is_file());

    // What stands there is not replaced.
    fs::write(lab.path("labels.csv"), "mine").unwrap();
    name(&[]).failed_with(1, &["labels.csv", "not replaced"]);
    fs::remove_file(lab.path("labels.csv")).unwrap();

    let small = Array3::<f32>::zeros((4, 6, 19));
    lab.volume("roi.h5", &[("roi", small.into_dyn())]);
    name(&[]).failed_with(1, &["p.h5", "roi.h5", "[4, 6, 20]", "[4, 6, 19]"]);
    let halves = Array3::<f32>::from_elem((4, 6, 20), 1.5);
    lab.volume("roi.h5", &[("roi", halves.into_dyn())]);
    name(&[]).failed_with(1, &["roi.h5", "1.5", "whole numbers"]);
}

#[test]
fn regions_of_the_two_images_are_compared() {
    let lab = Lab::new();
    animal(&lab);
    let mut whole = read(&lab.path("whole.h5"), "roi");
    // Region 5 is only in the crop, region 9 only outside of it.
    whole.mapv_inplace(|id| if id == 5.0 { 0.0 } else { id });
    lab.volume("whole.h5", &[("roi", whole.clone())]);
    let name = |more: &[&str]| {
        run(&lab, "name-cells", &[&ANIMAL[..], &["--rois=@whole.h5"], more].concat())
    };
    name(&[]).failed_with(1, &["regions 5 are not in the image"]);
    let mut whole = read(&lab.path("roi.h5"), "roi");
    whole[[0, 0, 19]] = 9.0;
    lab.volume("whole.h5", &[("roi", whole)]);
    let told = name(&[]).succeeded();
    assert!(told.out.contains("1 region(s) are not in the cropped image: 9"), "{}", told.out);
    assert_eq!(rows(&lab).len(), 3);
    name(&["--cropped-rows"]).succeeded();
    let found = rows(&lab);
    assert_eq!((found[3][0].as_str(), found[3][2].as_str()), ("UNKNOWN", "9"));
}

#[test]
fn the_last_class_is_the_end_of_the_queue() {
    // Three regions, far apart, and two names that only one cell may have.
    let lab = Lab::new();
    animal(&lab);
    let words = ["--repeatable=glia", "--max-distance=1", "--max-prob-decrease=1", "--min-prob=0"];
    run(&lab, "name-cells", &[&ANIMAL[..], &words].concat()).succeeded();
    let found = rows(&lab);
    assert_eq!(found.len(), 3);
    let mut names: Vec<&str> = found.iter().map(|row| row[0].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["AVAL", "AVAR", "UNKNOWN"]);
}

#[test]
fn pairs_come_from_a_table_and_distances_from_a_spacing() {
    let lab = Lab::new();
    animal(&lab);
    let mut volume: Array4<f32> =
        read(&lab.path("p.h5"), "predictions").into_dimensionality().unwrap();
    // Region 1 may be either.
    volume.slice_mut(s![2, 1..3, 1..5, 1..5]).fill(0.4);
    predictions(&lab, "p.h5", volume);
    fs::write(lab.path("names.txt"), "left\nright\n").unwrap();
    fs::write(lab.path("pairs.csv"), "left,right\n").unwrap();
    let name = |more: &[&str]| {
        run(&lab, "name-cells", &[&ANIMAL[..], more].concat()).succeeded();
        rows(&lab)
    };
    let by_region =
        |rows: &[Vec<String>], id: &str| rows.iter().find(|row| row[2] == id).unwrap()[0].clone();
    let plain = |name: String| name.trim_end_matches("-alt").to_owned();
    assert_eq!(plain(by_region(&name(&[]), "1")), "left");
    assert_eq!(plain(by_region(&name(&["--pairs=@pairs.csv"]), "1")), "left|right");
    // Regions 1 and 5 have one name; 13 voxels apart they are two cells, unless a voxel is
    // small.
    let alone = name(&["--max-distance=8"]);
    assert!(by_region(&alone, "1").ends_with("-alt") || by_region(&alone, "5").ends_with("-alt"));
    let merged = name(&["--max-distance=8", "--voxel-size=1,1,0.5"]);
    assert!(merged.iter().all(|row| !row[0].ends_with("-alt")), "{merged:?}");
    assert!(merged.iter().any(|row| row[5].contains("likely merged")));
}

#[test]
fn probabilities_that_are_none_are_told_and_bytes_are_scaled() {
    let lab = Lab::new();
    animal(&lab);
    let name = || run(&lab, "name-cells", &[&ANIMAL[..], &["--matrix=@m.h5"]].concat());
    name().succeeded();
    let whole = rows(&lab);
    fs::remove_file(lab.path("m.h5")).unwrap();
    let volume: Array4<f32> = read(&lab.path("p.h5"), "predictions").into_dimensionality().unwrap();
    let bytes = volume.mapv(|value| (value * 255.0).round() as u8);
    let file = File::create(lab.path("p.h5")).unwrap();
    file.new_dataset_builder().with_data(&bytes).create("predictions").unwrap();
    drop(file);
    let told = name().succeeded();
    assert!(told.out.contains("stored as uint8, scaled to probabilities"), "{}", told.out);
    let scaled = rows(&lab);
    assert!(whole.iter().zip(&scaled).all(|(a, b)| a[..4] == b[..4]));
    fs::remove_file(lab.path("m.h5")).unwrap();
    let mut odd = volume;
    odd[[1, 1, 1, 1]] = f32::NAN;
    odd[[1, 1, 1, 2]] = -1.0;
    predictions(&lab, "p.h5", odd);
    let told = name().succeeded();
    for words in ["1 value(s) are NaN and count as 0", "1 value(s) within regions are negative"] {
        assert!(told.out.contains(words), "{}", told.out);
    }
}

#[test]
fn a_volume_of_one_slice_has_names_too() {
    let lab = Lab::new();
    let mut regions = Array3::<f32>::zeros((1, 8, 8));
    regions.slice_mut(s![0, 2..6, 2..6]).fill(3.0);
    let mut volume = Array4::<f32>::from_elem((2, 1, 8, 8), 0.2);
    volume.slice_mut(s![1, .., .., ..]).fill(0.8);
    predictions(&lab, "p.h5", volume);
    lab.volume("roi.h5", &[("roi", regions.into_dyn())]);
    fs::write(lab.path("names.txt"), "RID\n").unwrap();
    for edge in ["--edge-weight=0", "--edge-weight=0.01"] {
        run(&lab, "name-cells", &[&ANIMAL[..], &[edge]].concat()).succeeded();
        let found = rows(&lab);
        assert_eq!((found[0][0].as_str(), found[0][2].as_str()), ("RID", "3"));
    }
}
