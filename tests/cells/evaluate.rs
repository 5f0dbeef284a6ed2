//! `unet3d evaluate` against MONAI, StarDist, scikit-image and scipy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hdf5::{File, Group};
use ndarray::{Array1, Array3, ArrayD};
use serde_json::Value;

use crate::names::json;
use crate::support::fixture;
use crate::support::lab::Lab;
use crate::support::program::{Run, program};

fn evaluate(lab: &Lab, words: &[&str]) -> Run {
    let mut run = program();
    run.arg("evaluate");
    for word in words {
        run.arg(word.replace('@', &lab.path("").display().to_string()));
    }
    run.output().expect("the program starts").into()
}

/// Copies data sets of a group to a file of its own.
fn file_of(group: &Group, names: &[(&str, &str)], path: &Path) {
    let file = File::create(path).unwrap();
    for (from, to) in names {
        let dataset = group.dataset(from).unwrap();
        let copied = if dataset.dtype().unwrap().is::<f32>() {
            let values: ArrayD<f32> = dataset.read_dyn().unwrap();
            file.new_dataset_builder().with_data(&values).create(*to).unwrap()
        } else {
            let values: ArrayD<u16> = dataset.read_dyn().unwrap();
            file.new_dataset_builder().with_data(&values).create(*to).unwrap()
        };
        if let Ok(size) = group.attr("voxel_size") {
            let size: Vec<f64> = size.read_raw().unwrap();
            copied.new_attr_builder().with_data(&size).create("element_size_um").unwrap();
        }
    }
}

fn close(found: &Value, expected: f64, what: &str) {
    if !expected.is_finite() {
        // What has no value there has none here.
        assert!(found.is_null(), "{what}: {found}");
        return;
    }
    let found = found.as_f64().unwrap_or_else(|| panic!("{what}: {found}"));
    assert!(
        (found - expected).abs() <= 1e-6 * expected.abs().max(1.0),
        "{what}: {found} {expected}"
    );
}

#[test]
fn classes_score_as_in_monai() {
    let record = File::open(fixture("evaluate/semantic.h5")).unwrap();
    let lab = Lab::new();
    fs::create_dir(lab.path("found")).unwrap();
    fs::create_dir(lab.path("truth")).unwrap();
    let names = record.member_names().unwrap();
    for name in &names {
        let group = record.group(name).unwrap();
        let found = lab.path(&format!("found/{name}_predictions.h5"));
        file_of(&group, &[("predictions", "predictions")], &found);
        file_of(&group, &[("label", "label")], &lab.path(&format!("truth/{name}.h5")));
    }
    evaluate(&lab, &["@found", "@truth", "--output=@out", "--background"]).succeeded();
    let summary = json(&lab.path("out/summary.json"));
    assert_eq!(summary["kind"], "semantic");
    let files = summary["files"].as_array().unwrap();
    assert_eq!(files.len(), names.len());
    for file in files {
        let name = file["file"].as_str().unwrap();
        let group = record.group(name).unwrap();
        for score in ["dice", "iou", "precision", "recall", "hausdorff95", "average_distance"] {
            let values: Array1<f64> = group.dataset(score).unwrap().read().unwrap();
            for (class, expected) in values.iter().enumerate() {
                let what = format!("{name} class {class} {score}");
                close(&file["classes"][class.to_string()][score], *expected, &what);
            }
        }
        let mean = |score: &str| -> f64 {
            let values: Array1<f64> = group.dataset(score).unwrap().read().unwrap();
            let values: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        close(&file["classes"]["mean"]["dice"], mean("dice"), name);
        close(&file["classes"]["mean"]["hausdorff95"], mean("hausdorff95"), name);
    }
    // The mean over files, with an interval around it.
    let entry = &summary["mean"]["1"]["dice"];
    let number = |key: &str| entry[key].as_f64().unwrap();
    let all: Vec<f64> =
        files.iter().map(|file| file["classes"]["1"]["dice"].as_f64().unwrap()).collect();
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    assert!((number("mean") - mean).abs() < 1e-12);
    assert!(number("low") < mean && mean < number("high"));
    // The table has the same numbers.
    let table = fs::read_to_string(lab.path("out/scores.csv")).unwrap();
    let row = table.lines().find(|line| line.starts_with("isotropic,1,")).unwrap();
    let dice: f64 = row.split(',').nth(2).unwrap().parse().unwrap();
    let file = files.iter().find(|file| file["file"] == "isotropic").unwrap();
    assert_eq!(file["classes"]["1"]["dice"].as_f64(), Some(dice));
}

/// Recorded objects as predictions and truth of one folder.
fn objects(lab: &Lab) -> File {
    let record = File::open(fixture("evaluate/objects.h5")).unwrap();
    for name in record.member_names().unwrap() {
        let group = record.group(&name).unwrap();
        let found = lab.path(&format!("{name}_instances.h5"));
        file_of(&group, &[("instances", "instances")], &found);
        let names = [("label", "label"), ("instances", "raw")];
        file_of(&group, &names, &lab.path(&format!("{name}.h5")));
    }
    record
}

#[test]
fn objects_score_as_in_stardist_and_scikit_image() {
    let lab = Lab::new();
    let record = objects(&lab);
    // The folder has the truth as well: files named as predictions are the predictions.
    evaluate(&lab, &["@", "@", "--kind=instances", "--output=@out", "--threads=2"]).succeeded();
    let summary = json(&lab.path("out/summary.json"));
    for file in summary["files"].as_array().unwrap() {
        let name = file["file"].as_str().unwrap();
        let group = record.group(name).unwrap();
        let scores = &file["classes"]["objects"];
        let mut mean = 0.0;
        for score in group.attr_names().unwrap() {
            let attribute = group.attr(&score).unwrap();
            let expected = attribute.read_scalar::<f64>().unwrap();
            close(&scores[&score], expected, &format!("{name} {score}"));
            mean += if score.starts_with("ap_") { expected / 10.0 } else { 0.0 };
        }
        close(&scores["average_precision"], mean, name);
    }
    // Half of an object in each of two: a split, and a match at IoU 0.5 exactly.
    let halves = &summary["files"][4]["classes"]["objects"];
    assert_eq!((&halves["splits"], &halves["merges"]), (&Value::from(1.0), &Value::from(0.0)));
}

#[test]
fn two_sets_of_predictions_are_compared_file_by_file() {
    let lab = Lab::new();
    objects(&lab);
    // The truth itself, against the recorded predictions.
    fs::create_dir(lab.path("perfect")).unwrap();
    for case in 0..6 {
        let from = lab.path(&format!("case_{case}.h5"));
        let truth: Array3<u16> =
            File::open(from).unwrap().dataset("label").unwrap().read().unwrap();
        let file = File::create(lab.path(&format!("perfect/case_{case}_instances.h5"))).unwrap();
        file.new_dataset_builder().with_data(&truth).create("instances").unwrap();
    }
    let words = ["@perfect", "@", "--against=@", "--kind=instances", "--output=@out"];
    evaluate(&lab, &words).succeeded();
    let summary = json(&lab.path("out/summary.json"));
    let entry = &summary["against"]["objects"]["average_precision"];
    let differences: Vec<f64> = summary["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            let other = file["against"]["classes"]["objects"]["average_precision"].as_f64();
            file["classes"]["objects"]["average_precision"].as_f64().unwrap() - other.unwrap()
        })
        .collect();
    let mean = differences.iter().sum::<f64>() / 6.0;
    assert!((entry["mean"].as_f64().unwrap() - mean).abs() < 1e-12);
    // All six are better: two of 64 arrangements of signs are as extreme.
    assert_eq!(entry["p"].as_f64(), Some(2.0 / 64.0));
    assert_eq!(entry["files"], 6);
    let table = fs::read_to_string(lab.path("out/scores.csv")).unwrap();
    assert!(table.lines().next().unwrap().contains(",against_average_precision"));
}

#[test]
fn p_values_are_those_of_scipy() {
    let cases = json(&fixture("evaluate/paired.json"));
    for (number, case) in cases.as_array().unwrap().iter().enumerate() {
        let differences: Vec<f64> = case["differences"]
            .as_array()
            .unwrap()
            .iter()
            .map(|value| value.as_f64().unwrap())
            .collect();
        let p = unet3d::evaluate::wilcoxon(&differences).unwrap();
        let expected = case["p"].as_f64().unwrap();
        assert!((p / expected - 1.0).abs() < 1e-6, "{number}: {p} {expected}");
    }
}

#[test]
fn names_are_compared_with_those_of_people() {
    let lab = Lab::new();
    let folder = fixture("recorded/cells/a");
    let run = |report: &str| {
        let mut run = program();
        run.arg("evaluate").arg(folder.join("paper.csv")).arg(folder.join("human.csv"));
        run.arg("--output").arg(lab.path("out")).arg("--report").arg(lab.path(report));
        Run::from(run.output().unwrap()).succeeded();
    };
    run("report.html");
    let summary = json(&lab.path("out/summary.json"));
    assert_eq!(summary["kind"], "names");
    // Counted by hand in another way: line by line.
    let rows = |name: &str| {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        unet3d::instances::naming::table_rows(&text).unwrap()
    };
    let people = json(&folder.join("human_map.json"))["2"]["names"].clone();
    let (mut compared, mut agree) = (0, 0);
    for row in rows("paper.csv").iter().skip(1) {
        let Some(names) = people.get(&row[2]).and_then(Value::as_array) else { continue };
        let human = names[0].as_str().unwrap().trim_end_matches("-alt");
        if names.len() == 1 && human != "UNKNOWN" {
            compared += 1;
            agree += i32::from(row[0].trim_end_matches("-alt") == human);
        }
    }
    assert!(compared > 10 && agree > 0);
    let scores = &summary["files"][0]["classes"]["names"];
    assert_eq!(scores["compared"].as_f64(), Some(f64::from(compared)));
    let share = f64::from(agree) / f64::from(compared);
    assert!((scores["agreement"].as_f64().unwrap() - share).abs() < 1e-12);
    let tables = &summary["names"];
    let sum = |table: &str, key: &str| -> i64 {
        tables[table].as_object().unwrap().values().map(|one| one[key].as_i64().unwrap()).sum()
    };
    for table in ["by_confidence", "by_name"] {
        assert_eq!((sum(table, "compared"), sum(table, "agree")), (compared.into(), agree.into()));
    }
    let confused: i64 = tables["confusion"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["regions"].as_i64().unwrap())
        .sum();
    assert_eq!(confused, i64::from(compared - agree));
    // The outputs are ours and may be written again.
    run("report.html");
}

#[test]
fn what_cannot_be_scored_is_told_and_the_rest_goes_on() {
    let lab = Lab::new();
    objects(&lab);
    fs::write(lab.path("case_2_instances.h5"), "nothing").unwrap();
    let words = ["@", "@", "--kind=instances", "--output=@out"];
    evaluate(&lab, &words).failed_with(1, &["1 of 6 file(s) failed"]);
    let summary = json(&lab.path("out/summary.json"));
    assert_eq!(summary["files"].as_array().unwrap().len(), 5);
    assert!(summary["failed"][0]["error"].as_str().unwrap().contains("case_2_instances.h5"));
    // Nothing that is not ours is replaced.
    fs::write(lab.path("out/scores.csv"), "mine\n").unwrap();
    evaluate(&lab, &words).failed_with(1, &["scores.csv", "not replaced"]);
    assert_eq!(fs::read_to_string(lab.path("out/scores.csv")).unwrap(), "mine\n");
}

#[test]
fn what_does_not_fit_together_is_an_error_that_names_the_file() {
    let lab = Lab::new();
    let labels = Array3::<u16>::from_shape_fn((2, 4, 5), |(_, _, x)| (x > 2) as u16 * 7);
    let write = |name: &str, dataset: &str, values: &Array3<u16>| {
        let file = File::create(lab.path(name)).unwrap();
        file.new_dataset_builder().with_data(values).create(dataset).unwrap();
    };
    write("a_instances.h5", "instances", &labels);
    write("b.h5", "label", &Array3::zeros((2, 4, 4)));
    write("seven.h5", "label", &labels);
    let values = ndarray::Array4::<f32>::from_elem((2, 2, 4, 5), 0.5);
    lab.volume("c_predictions.h5", &[("predictions", values.into_dyn())]);
    fs::create_dir(lab.path("none")).unwrap();
    let fails = |words: &[&str], code: i32, parts: &[&str]| {
        evaluate(&lab, &[words, &["--output=@out"]].concat()).failed_with(code, parts);
    };
    fails(&["@a_instances.h5", "@b.h5"], 1, &["a_instances.h5", "b.h5", "[2, 4, 5]", "[2, 4, 4]"]);
    fails(&["@c_predictions.h5", "@seven.h5"], 1, &["seven.h5", "class 7", "--binary"]);
    fails(&["@none", "@b.h5"], 1, &["none", "no predictions"]);
    fails(&["@missing", "@b.h5"], 1, &["missing", "no such file"]);
    fails(&["@a_instances.h5", "@b.h5", "--binary"], 2, &["--binary", "semantic"]);
    fails(&["@a_instances.h5", "@b.h5", "--voxel-size=1,1"], 2, &["--voxel-size"]);
    evaluate(&lab, &["@c_predictions.h5", "@seven.h5", "--binary", "--output=@out"]).succeeded();
    assert!(!lab.path("out/report.html").exists());
}

#[test]
fn values_that_are_no_probabilities_are_told_and_bytes_are_scaled() {
    let lab = Lab::new();
    let truth = Array3::<u16>::from_shape_fn((3, 6, 8), |(_, _, x)| u16::from(x > 4));
    let file = File::create(lab.path("truth.h5")).unwrap();
    file.new_dataset_builder().with_data(&truth).create("label").unwrap();
    drop(file);
    let scores = |name: &str, words: &str| {
        let prediction = format!("@{name}");
        let told = evaluate(&lab, &[&prediction, "@truth.h5", "--output=@out"]).succeeded();
        assert!(told.out.contains(words), "{words}: {}", told.out);
        json(&lab.path("out/summary.json"))["mean"]["1"]["dice"]["mean"].as_f64().unwrap()
    };
    // One channel, as bytes: 255 stands for 1.
    let bytes =
        truth.mapv(|class| if class == 1 { 140u8 } else { 120 }).insert_axis(ndarray::Axis(0));
    let file = File::create(lab.path("bytes.h5")).unwrap();
    file.new_dataset_builder().with_data(&bytes).create("predictions").unwrap();
    drop(file);
    assert_eq!(scores("bytes.h5", "stored as uint8, of which 255 stands for probability 1"), 1.0);
    let mut values = truth.mapv(|class| if class == 1 { 1.5f32 } else { -0.25 });
    values[[0, 0, 0]] = f32::NAN;
    lab.volume("odd.h5", &[("predictions", values.into_dyn())]);
    assert_eq!(scores("odd.h5", "1 value(s) are NaN and count as the least"), 1.0);
    scores("odd.h5", "89 value(s) are negative and 54 above 1");
}

/// A browser without a window, if there is one.
fn browser() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("UNET3D_BROWSER") {
        return Some(path.into());
    }
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    names.iter().flat_map(|name| folders.iter().map(move |f| f.join(name))).find(|p| p.is_file())
}

/// A report of objects with slices.
fn written_report(lab: &Lab) -> String {
    objects(lab);
    let words =
        ["@", "@", "--kind=instances", "--raw=@", "--output=@out", "--report=@out/report.html"];
    // The truth holds the raw image as well.
    evaluate(lab, &words).succeeded();
    fs::read_to_string(lab.path("out/report.html")).unwrap()
}

#[test]
fn the_report_is_one_page_with_the_slices_of_the_worst_files() {
    let lab = Lab::new();
    let page = written_report(&lab);
    for outside in ["http://", "https://", "src=\"", "@import", "{{"] {
        let there = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!there.contains(outside), "{outside}");
    }
    let data = page.split("type=\"application/json\">").nth(1).unwrap();
    let data: Value = serde_json::from_str(data.split("</script>").next().unwrap()).unwrap();
    let mut summary = json(&lab.path("out/summary.json"));
    for seal in ["checksum", "scores_sha256"] {
        assert!(summary.as_object_mut().unwrap().remove(seal).is_some());
    }
    assert_eq!(data["summary"], summary);
    let order: Vec<usize> =
        data["order"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    let precision = |file: usize| {
        data["summary"]["files"][file]["classes"]["objects"]["average_precision"].as_f64().unwrap()
    };
    assert!(order.windows(2).all(|pair| precision(pair[0]) <= precision(pair[1])));
    let views = data["views"].as_array().unwrap();
    assert_eq!(views.len(), 3);
    for (view, file) in views.iter().zip(order) {
        assert_eq!(view["name"], data["summary"]["files"][file]["file"]);
        assert_eq!(view["pictures"].as_array().unwrap().len(), 8);
    }
}

#[test]
fn a_click_moves_the_report_through_its_slices() {
    let Some(browser) = browser() else {
        eprintln!("no browser was found (UNET3D_BROWSER): the page was not opened");
        return;
    };
    let lab = Lab::new();
    // The clicks of a reader, and what the page shows after each of them.
    let clicks = r##"<iframe id="busy" hidden></iframe><script>
// While this frame is not complete, neither is the page: the browser waits for the clicks.
const busy = document.getElementById("busy").contentDocument;
busy.open();
(async () => {
  const seen = [];
  const wait = async (place) => {
    for (let i = 0; i < 3000 && canvas.dataset.shown !== place; i++) await new Promise((r) => setTimeout(r, 10));
    const part = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let sum = 0;
    for (let i = 0; i < part.length; i++) sum = (sum * 31 + part[i]) % 1000003;
    seen.push(`${canvas.dataset.shown} ${document.getElementById("place").textContent} #${sum}`);
  };
  const canvas = document.getElementById("canvas");
  const press = (id) => document.getElementById(id).click();
  await wait("0/4");
  press("next"); await wait("0/5");
  press("next"); press("next"); await wait("0/7");
  press("next"); await wait("0/7");
  press("previous"); await wait("0/6");
  press("show-wrong"); await new Promise((r) => setTimeout(r, 200)); await wait("0/6");
  const slider = document.getElementById("slice");
  slider.value = 1; slider.dispatchEvent(new Event("input")); await wait("0/1");
  const file = document.getElementById("file");
  file.value = 2; file.dispatchEvent(new Event("change")); await wait("2/4");
  document.querySelectorAll("#files th")[2].click();
  seen.push(document.querySelectorAll("#files tr")[1].firstChild.textContent);
  document.title = "done";
  document.body.prepend(Object.assign(document.createElement("pre"), { id: "seen", textContent: seen.join("\n") }));
})().finally(() => busy.close());
</script></body>"##;
    let page = written_report(&lab).replace("</body>", clicks);
    fs::write(lab.path("clicked.html"), page).unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu"])
        .arg(format!("--user-data-dir={}", lab.path("profile").display()))
        .arg("--dump-dom")
        .arg(lab.path("clicked.html"))
        .output()
        .unwrap();
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    let seen = page.split("<pre id=\"seen\">").nth(1).unwrap_or_else(|| {
        panic!("the page did not run: {}", String::from_utf8_lossy(&output.stderr))
    });
    let seen: Vec<&str> = seen.split("</pre>").next().unwrap().lines().collect();
    let places: Vec<&str> = seen[..8].iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(places, ["0/4", "0/5", "0/7", "0/7", "0/6", "0/6", "0/1", "2/4"]);
    assert!(seen[0].contains("slice 5,") && seen[0].contains("pixels disagree"), "{seen:?}");
    // Slices look different, and so does one without its disagreement.
    let looks = |line: usize| seen[line].rsplit('#').next().unwrap();
    assert!(looks(0) != looks(1) && looks(4) != looks(5), "{seen:?}");
    assert_eq!(looks(2), looks(3));
    assert!(seen[8].starts_with("case_"), "{seen:?}");
}
