//! Checkpoints against torch: reads the files of `tests/fixtures/make_checkpoint.py`, and
//! has `tests/fixtures/check_checkpoint.py` read the files that are written here.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use unet3d::checkpoint::{
    Checkpoint, CheckpointError, DType, File, PickleValue, TensorData, read_model_state, sha256,
    strip_prefixes, write,
};

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn fixture(name: &str) -> PathBuf {
    fixtures().join("checkpoint").join(format!("{name}.pytorch"))
}

#[derive(Deserialize)]
pub struct Expected {
    pub dtype: String,
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

#[test]
fn tensors_are_those_that_torch_saved() {
    let text = std::fs::read_to_string(fixtures().join("checkpoint/expected.json")).unwrap();
    let files: BTreeMap<String, BTreeMap<String, Expected>> =
        serde_saphyr::from_str(&text).unwrap();
    assert_eq!(files.len(), 14);
    for (name, tensors) in files {
        let state = read_model_state(&fixture(&name)).unwrap();
        assert_eq!(state.len(), tensors.len(), "{name}");
        for (key, data) in state {
            let expected = &tensors[&key];
            assert_eq!(data.dtype.name(), expected.dtype, "{name} {key}");
            assert_eq!(data.shape, expected.shape, "{name} {key}");
            assert_eq!(data.to_f64(), expected.values, "{name} {key}");
        }
    }
}

#[test]
fn order_of_the_model_is_kept() {
    let names: Vec<String> =
        read_model_state(&fixture("adam")).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names[..4], ["conv.weight", "conv.bias", "norm.weight", "norm.bias"]);
}

#[test]
fn module_prefix_is_removed_when_all_names_have_it() {
    let mut state = read_model_state(&fixture("data_parallel")).unwrap();
    assert_eq!(state[0].0, "module.conv.weight");
    strip_prefixes(&mut state);
    assert_eq!(state[0].0, "conv.weight");

    let scalar = || TensorData::from_f32(vec![], &[0.0]);
    let mut mixed = vec![("module.a".to_string(), scalar()), ("b".to_string(), scalar())];
    strip_prefixes(&mut mixed);
    assert_eq!(mixed[0].0, "module.a");
}

#[test]
fn typed_state_of_adam() {
    for name in ["adam", "adam_legacy", "adam_protocol4", "adam_legacy_protocol3", "cuda"] {
        let checkpoint = Checkpoint::read(&fixture(name)).unwrap();
        assert_eq!((checkpoint.epoch, checkpoint.num_iterations), (3, 120), "{name}");
        assert_eq!(checkpoint.best_eval_score, 0.8125);
        assert!(checkpoint.eval_score_higher_is_better);
        assert_eq!(checkpoint.device, "cuda:0");
        assert_eq!((checkpoint.max_num_epochs, checkpoint.max_num_iterations), (10, 100_000));
        assert_eq!((checkpoint.validate_after_iters, checkpoint.log_after_iters), (10, 20));
        assert_eq!((checkpoint.h5_dir.as_str(), checkpoint.validate_iters), ("", None));
        assert!(checkpoint.extra.is_empty());
        let optimizer = checkpoint.optimizer;
        let group = &optimizer.groups[0];
        let number = |name: &str| group.setting(name).and_then(PickleValue::as_float);
        assert_eq!((number("lr"), number("weight_decay")), (Some(2e-4), Some(1e-5)));
        assert_eq!(number("eps"), Some(1e-8));
        let betas = group.setting("betas").and_then(PickleValue::items).unwrap();
        let betas: Vec<_> = betas.iter().filter_map(PickleValue::as_float).collect();
        assert_eq!(betas, [0.9, 0.999]);
        assert_eq!(group.setting("amsgrad").and_then(PickleValue::as_bool), Some(false));
        assert!(group.setting("momentum").is_none());
        assert_eq!(group.params, [0, 1, 2, 3, 4, 5]);
        assert_eq!(optimizer.state.len(), 6);
        for ((id, state), expected) in optimizer.state.iter().zip(0..) {
            assert_eq!((*id, state.step), (expected, Some(3)));
            let (mean, square) = (state.tensor("exp_avg"), state.tensor("exp_avg_sq"));
            assert_eq!(mean.unwrap().shape, square.unwrap().shape);
            assert!(square.unwrap().to_f64().iter().all(|&x| x >= 0.0));
            assert_eq!(state.tensors.len(), 2);
        }
    }
    let old = Checkpoint::read(&fixture("adam_integer_step")).unwrap();
    assert_eq!(old.optimizer.state[5].1.step, Some(3));
    assert_eq!(old.best_eval_score, f64::NEG_INFINITY);
}

#[test]
fn typed_state_of_sgd() {
    let checkpoint = Checkpoint::read(&fixture("sgd")).unwrap();
    assert_eq!(checkpoint.best_eval_score, 0.5, "a tensor");
    let group = &checkpoint.optimizer.groups[0];
    let number = |name: &str| group.setting(name).and_then(PickleValue::as_float);
    assert_eq!((number("lr"), number("momentum")), (Some(0.01), Some(0.9)));
    assert_eq!(group.setting("nesterov").and_then(PickleValue::as_bool), Some(true));
    let (_, state) = &checkpoint.optimizer.state[0];
    assert_eq!(state.tensor("momentum_buffer").unwrap().shape, [2, 1, 3, 3, 3]);
    assert_eq!(state.step, None);
}

#[test]
fn python_goes_on_with_what_is_written_here() {
    let folder = tempfile::tempdir().unwrap();
    for (name, algorithm) in [("adam", "adam"), ("adam_integer_step", "adam"), ("sgd", "sgd")] {
        let path = folder.path().join("last_checkpoint.pytorch");
        let mut checkpoint = Checkpoint::read(&fixture(name)).unwrap();
        checkpoint.extra = vec![
            (
                "scheduler".into(),
                PickleValue::dict([("best", PickleValue::Float(f64::NEG_INFINITY))]),
            ),
            ("configuration".into(), "größe: [1, 2]".into()),
            ("random".into(), PickleValue::Bytes([0, 0xff, 0x7f].into())),
            ("large".into(), PickleValue::Int(-(1 << 62))),
            (
                "tensor".into(),
                PickleValue::Tensor(TensorData::from_f32(vec![2], &[1.5, 2.5]).into()),
            ),
        ];
        checkpoint.clone().write(&path).unwrap();

        let again = Checkpoint::read(&path).unwrap();
        assert_eq!(again.model_state, checkpoint.model_state);
        assert_eq!(again.optimizer.state, checkpoint.optimizer.state);
        assert_eq!(again.extra("configuration").unwrap().as_str(), Some("größe: [1, 2]"));

        let output = Command::new(python())
            .arg(fixtures().join("check_checkpoint.py"))
            .args([&path, &fixture(name)])
            .arg(algorithm)
            .output()
            .expect("Python with torch: set UNET3D_PYTHON or make .venv");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        assert_eq!(output.stdout, b"same\n");
    }
}

pub fn python() -> PathBuf {
    match std::env::var_os("UNET3D_PYTHON") {
        Some(python) => python.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python"),
    }
}

#[test]
fn python_values_of_all_protocols() {
    for protocol in 2..=5 {
        let path = fixture(&format!("values_protocol{protocol}"));
        let root = File::open(&path).unwrap().root;
        let number = |key: &str| root.get(key).unwrap().as_float().unwrap();
        assert_eq!([number("f2"), number("f4"), number("f8")], [0.5, -0.25, 1e300]);
        assert_eq!(number("big"), 2.5, "a big-endian scalar");
        let integer = |key: &str| match root.get(key) {
            Some(PickleValue::Int(integer)) => *integer,
            other => panic!("{key}: {other:?}"),
        };
        assert_eq!(["i1", "i2", "i4", "i8"].map(integer), [-5, -300, -70_000, -(1 << 40)]);
        assert_eq!(["u1", "u2", "u4", "u8"].map(integer), [200, 60_000, 1 << 31, 1 << 40]);
        assert_eq!(["long", "minus", "word"].map(integer), [1 << 62, -1, 40_000]);
        assert_eq!(root.get("b1").unwrap().as_bool(), Some(true));
        assert_eq!(root.get("text").unwrap().as_str(), Some("größe ✓"));
        assert!(matches!(root.get("raw"), Some(PickleValue::Bytes(raw)) if **raw == [0, 0xff]));
        assert!(matches!(root.get("nothing"), Some(PickleValue::None)));
        let tuple = root.get("tuple").unwrap().items().unwrap();
        assert_eq!(tuple[1].items().unwrap()[1].as_int(), Some(3));
        assert_eq!(tuple[2].items().unwrap().len(), 0);
        assert_eq!(root.get("size").unwrap().items().unwrap().len(), 2);
        assert_eq!(root.get("device").unwrap().as_str(), Some("cuda:1"));
        assert!(matches!(root.get("dtype"), Some(PickleValue::Type(t)) if **t == *"torch.float16"));
        assert_eq!(root.get("set").unwrap().items().unwrap()[0].as_int(), Some(5));
        let seven =
            root.entries().unwrap().iter().find(|(key, _)| matches!(key, PickleValue::Int(7)));
        assert_eq!(seven.unwrap().1.as_str(), Some("integer key"));
    }
    for protocol in 0..=1 {
        let path = fixture(&format!("values_protocol{protocol}"));
        let root = File::open(&path).unwrap().root;
        assert_eq!(root.get("text").unwrap().as_str(), Some("größe ✓ \\ \n"), "{protocol}");
        assert_eq!(root.get("number").unwrap().as_float(), Some(0.5));
        assert_eq!(root.get("integer").unwrap().as_int(), Some(-12));
        assert_eq!(root.get("flag").unwrap().as_bool(), Some(true));
        assert!(matches!(root.get("none"), Some(PickleValue::None)));
        assert_eq!(root.get("list").unwrap().items().unwrap().len(), 2);
    }
}

#[test]
fn functions_are_named_and_never_called() {
    for (name, global) in [("evil_system", "posix.system"), ("evil_eval", "builtins.eval")] {
        let path = fixture(name);
        match File::open(&path) {
            Err(error @ CheckpointError::UnknownGlobal { .. }) => {
                let message = error.to_string();
                assert!(message.contains(global), "{message}");
                assert!(message.starts_with(path.to_str().unwrap()), "{message}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(!Path::new("/tmp/unet3d_was_here").exists());
}

#[test]
fn every_type_survives_writing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("types.pytorch");
    for dtype in DType::ALL {
        // All bit patterns of a byte; booleans have only two.
        let count = if dtype == DType::Bool { 2 } else { 256 };
        let bytes: Vec<u8> = (0..count).map(|byte| byte as u8).collect();
        let data = TensorData::new(dtype, vec![1, count / dtype.size(), 1], bytes);
        write(&path, &PickleValue::dict([("t", PickleValue::Tensor(data.clone().into()))]))
            .unwrap();
        let root = File::open(&path).unwrap().root;
        let Some(PickleValue::Tensor(tensor)) = root.get("t") else { panic!("no tensor") };
        assert_eq!(tensor.data().unwrap(), data);
    }
}

#[test]
fn wrong_contents_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.pytorch");
    let message = |value: PickleValue| {
        write(&path, &value).unwrap();
        Checkpoint::read(&path).unwrap_err().to_string()
    };
    assert!(message(PickleValue::Int(3)).contains("holds an integer and no dict"));
    assert!(
        message(PickleValue::dict([("epoch", PickleValue::Int(3))]))
            .contains("`optimizer_state_dict`")
    );
    let state = PickleValue::dict([("conv.weight", PickleValue::Int(3))]);
    let found = message(PickleValue::dict([
        ("model_state_dict", state),
        (
            "optimizer_state_dict",
            PickleValue::dict([("state", PickleValue::dict([("", PickleValue::None); 0]))]),
        ),
    ]));
    assert!(found.contains("`state` and `param_groups`"), "{found}");

    let error = Checkpoint::read(&folder.path().join("absent.pytorch")).unwrap_err();
    assert!(matches!(error, CheckpointError::Read { .. }), "{error}");
    assert!(error.to_string().contains("absent.pytorch"));
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for name in ["adam", "adam_legacy", "views", "types_legacy", "deflated"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        assert!(read_all(whole.clone()).is_ok(), "{name}");
        for length in 0..whole.len() {
            assert!(read_all(whole[..length].to_vec()).is_err(), "{name} cut at {length}");
        }
    }
}

#[test]
fn a_flipped_bit_never_panics_and_is_found_where_a_checksum_guards_it() {
    let whole = std::fs::read(fixture("adam")).unwrap();
    let original = read_all(whole.clone()).unwrap();
    let mut changed = 0;
    for position in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[position] ^= 1 << (position % 8);
        if let Ok(tensors) = read_all(bytes) {
            changed += usize::from(tensors != original);
        }
    }
    assert_eq!(changed, 0, "flipped bits that changed a tensor unnoticed");
    let whole = std::fs::read(fixture("adam_legacy")).unwrap();
    for position in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[position] ^= 1 << (position % 8);
        let _ = read_all(bytes);
    }
}

/// All tensors of a file, at any depth.
fn read_all(bytes: Vec<u8>) -> Result<Vec<TensorData>, CheckpointError> {
    fn collect(value: &PickleValue, out: &mut Vec<TensorData>) -> Result<(), CheckpointError> {
        match value {
            PickleValue::Tensor(tensor) => out.push(tensor.data()?),
            PickleValue::List(items) | PickleValue::Tuple(items) => {
                for item in items {
                    collect(item, out)?;
                }
            }
            PickleValue::Dict(entries) | PickleValue::OrderedDict(entries) => {
                for (_, value) in entries {
                    collect(value, out)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
    let file = File::from_reader(Path::new("memory"), Cursor::new(bytes))?;
    let mut tensors = Vec::new();
    collect(&file.root, &mut tensors)?;
    Ok(tensors)
}

#[test]
fn sha256_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("abc");
    std::fs::write(&path, "abc").unwrap();
    // The example of FIPS 180-2.
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256(&path).unwrap(), expected);
}
