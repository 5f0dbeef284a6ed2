//! Commands that explain the program: `explain`, `completions` and `man`.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::lab::Lab;
use crate::support::program::{unet3d, with_flags};

#[test]
fn a_key_is_explained_by_its_path_its_end_or_a_name() {
    let explained = |word: &str| unet3d(["explain", word]).succeeded().out;
    let by_path = explained("trainer.iters");
    assert!(by_path.starts_with("trainer.iters\n"), "{by_path}");
    assert!(by_path.contains("Stop after this many iterations."), "{by_path}");
    assert_eq!(explained("iters"), by_path);
    // The phases have the same keys, and items of lists are counted in a path.
    let halo = explained("predictor.patch_halo");
    assert!(halo.contains("[4, 8, 8]") || halo.contains("[4,8,8]"), "{halo}");
    let crop = explained("loaders.train.transformer.raw.0.centered");
    assert!(crop.starts_with("loaders.train.transformer.raw.centered (of CropToFixed)"), "{crop}");
    let stride = explained("stride_shape");
    assert!(stride.contains("loaders.{train,val,test}.slice_builder.stride_shape"), "{stride}");
    let loss = explained("DiceLoss");
    assert!(loss.starts_with("loss: DiceLoss\n"), "{loss}");
    assert!(loss.contains("sigmoid_normalization"), "{loss}");
}

#[test]
fn a_word_that_is_not_there_gets_the_nearest() {
    unet3d(["explain", "trainer.itters"]).failed_with(2, &["`trainer.itters`", "`iters`"]);
    unet3d(["explain", "qqqq"]).failed_with(2, &["docs/configuration.md"]);
}

#[test]
fn completions_are_a_script_of_the_shell() {
    let script = unet3d(["completions", "bash"]).succeeded().out;
    for word in ["predict", "--skip-existing", "make-training-data"] {
        assert!(script.contains(word), "no {word}");
    }
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(bash.wait().unwrap().success());
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(unet3d(["completions", shell]).succeeded().out.contains("predict"), "{shell}");
    }
}

#[test]
fn every_command_has_a_man_page() {
    let lab = Lab::new();
    let folder = lab.path("man");
    unet3d(["man".as_ref(), "--output".as_ref(), folder.as_os_str()]).succeeded();
    for page in ["unet3d.1", "unet3d-train.1", "unet3d-predict.1", "unet3d-explain.1"] {
        let text = fs::read_to_string(folder.join(page)).unwrap();
        assert!(text.contains(".SH DESCRIPTION") || text.contains(".SH SYNOPSIS"), "{page}");
    }
    let train = fs::read_to_string(folder.join("unet3d-train.1")).unwrap();
    assert!(train.contains("resume"), "{train}");
}

#[test]
fn feature_maps_that_do_not_fit_the_transposed_convolutions_are_told() {
    let lab = Lab::new();
    let upstream = UPSTREAM.replace("NETWORK", "UNet3D");
    for network in ["UNet3D", "ResidualUNet3D", "ResidualUNetSE3D", "UNet2D", "ResidualUNet2D"] {
        let patch = if network.ends_with("2D") { "[1, 64, 64]" } else { "[16, 64, 64]" };
        let text = upstream.replace("UNet3D", network).replace("PATCH", patch);
        let config = lab.config("c.yaml", &text);
        let check = |maps: &str| {
            let maps = format!("model.f_maps={maps}");
            with_flags("check", &config, &["--no-data"], &[&maps])
        };
        check("[4, 8, 16]").succeeded();
        check("[4, 8, 12]").failed_with(2, &["`model.f_maps`", "deconv", "12 is not twice 8"]);
    }
    // ASGD does not run upstream either.
    let config = lab.config("c.yaml", &upstream.replace("PATCH", "[16, 64, 64]"));
    with_flags("check", &config, &["--no-data"], &["optimizer={name: ASGD}"])
        .failed_with(2, &["`optimizer.name`", "ASGD", "fails upstream too"]);
}

const UPSTREAM: &str = "
device: cpu
model: {name: NETWORK, in_channels: 1, out_channels: 1, num_groups: 2, upsample: deconv}
trainer: {checkpoint_dir: '@/run', max_num_epochs: 1, max_num_iterations: 1}
optimizer: {learning_rate: 0.01}
loss: {name: BCEWithLogitsLoss}
eval_metric: {name: MSE}
loaders:
  train: &data
    file_paths: ['@/train.h5']
    slice_builder: {name: SliceBuilder, patch_shape: PATCH, stride_shape: PATCH}
    transformer:
      raw: [{name: ToTensor, expand_dims: true}]
      label: [{name: ToTensor, expand_dims: true}]
  val:
    <<: *data
    file_paths: ['@/val.h5']
";

/// Runs a line of a shell with the program as `$0`.
fn shell(line: &str, folder: &std::path::Path) -> std::process::Output {
    Command::new("bash")
        .args(["-o", "pipefail", "-c", line, env!("CARGO_BIN_EXE_unet3d")])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", folder)
        .current_dir(folder)
        .output()
        .unwrap()
}

#[test]
fn readers_that_end_are_no_error_and_full_disks_are() {
    let lab = Lab::new();
    lab.balls("a.h5", [4, 8, 8], 1);
    for command in ["info a.h5 a.h5", "info --json a.h5", "explain iters", "completions bash"] {
        let done = shell(&format!("\"$0\" {command} | :"), &lab.path(""));
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && told.is_empty(), "{command}: {told}");
        let done = shell(&format!("\"$0\" {command} > /dev/full"), &lab.path(""));
        let told = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{command}: {told}");
        assert!(told.starts_with("error: ") && told.contains("No space left"), "{told}");
    }
}

#[test]
fn paths_begin_at_home_and_need_a_working_directory() {
    let lab = Lab::new();
    lab.balls("a.h5", [4, 8, 8], 1);
    fs::create_dir(lab.path("deep")).unwrap();
    let line = "cd deep && \"$0\" convert '~/a.h5' --dataset=raw --set-voxel-size=1,1,1 \
                \"~/deep/../a.nrrd\" && \"$0\" man --output='~'";
    let done = shell(line, &lab.path(""));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(lab.path("a.nrrd").is_file() && lab.path("unet3d.1").is_file());
    assert_eq!(fs::read_dir(lab.path("deep")).unwrap().count(), 0);
    let done = shell("mkdir gone && cd gone && rmdir ../gone && \"$0\" info a.h5", &lab.path(""));
    let told = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{told}");
    assert!(told.starts_with("error: the working directory does not exist any more"), "{told}");
}

#[test]
fn pipes_and_devices_are_named_and_not_waited_for() {
    let lab = Lab::new();
    lab.balls("a.h5", [4, 8, 8], 1);
    fs::write(lab.path("names.txt"), "AVA\n").unwrap();
    assert!(Command::new("mkfifo").arg(lab.path("pipe.csv")).status().unwrap().success());
    let cells = "--regions a.h5 --regions-dataset label";
    let naming =
        format!("name-cells --predictions a.h5 --predictions-dataset raw {cells} --output t.csv");
    let crop = format!("make-label-input --image a.h5 {cells} --output i.h5 --regions-output r.h5");
    for command in [
        "predict --checkpoint pipe.csv a.h5",
        "import pipe.csv",
        "info pipe.csv",
        "evaluate --kind names pipe.csv pipe.csv",
        "evaluate --kind names /dev/zero /dev/zero",
        &format!("{naming} --names pipe.csv"),
        &format!("{naming} --names names.txt --matches pipe.csv"),
        &format!("{naming} --names names.txt --pairs pipe.csv"),
        &format!("{crop} --crop 4,8,8 --names names.txt --human pipe.csv"),
    ] {
        let done = shell(&format!("timeout 20 \"$0\" {command}"), &lab.path(""));
        let told = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{command}: {told}");
        let named = told.contains("pipe.csv") || told.contains("/dev/zero");
        assert!(named && told.contains("ordinary file"), "{command}: {told}");
    }
}
