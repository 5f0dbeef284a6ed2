//! Weights as other programs store them: files of `tests/fixtures/make_foreign.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use unet3d::checkpoint::{
    Checkpoint, CheckpointError, File, PickleValue, TensorData, read_model_state, strip_prefixes,
};

use crate::format::{Expected, fixtures};

#[derive(Deserialize)]
struct Foreign {
    tensors: BTreeMap<String, BTreeMap<String, Expected>>,
    objects: Vec<String>,
    refused: BTreeMap<String, String>,
}

fn folder() -> PathBuf {
    fixtures().join("foreign")
}

fn foreign() -> Foreign {
    let text = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// What a file with a call of the shell would leave if it were executed.
fn nothing_was_executed() {
    assert!(!Path::new("/tmp/unet3d_was_here").exists());
}

#[test]
fn weights_of_other_programs_are_read() {
    let foreign = foreign();
    assert_eq!(foreign.tensors.len(), 25);
    for (name, tensors) in foreign.tensors {
        let mut state = read_model_state(&folder().join(&name)).unwrap();
        strip_prefixes(&mut state);
        assert_eq!(state.len(), tensors.len(), "{name}");
        for (key, data) in state {
            let expected = tensors.get(&key).unwrap_or_else(|| panic!("{name}: {key}"));
            assert_eq!(data.dtype.name(), expected.dtype, "{name} {key}");
            assert_eq!(data.shape, expected.shape, "{name} {key}");
            assert_eq!(data.to_f64(), expected.values, "{name} {key}");
        }
    }
    nothing_was_executed();
}

#[test]
fn objects_of_other_packages_are_left_out() {
    let expected = foreign().objects;
    assert!(expected.len() > 40);
    for name in ["protocol2", "protocol3", "protocol4", "protocol5", "legacy"] {
        let path = folder().join(format!("objects/{name}.pt"));
        let root = File::open(&path).unwrap().root;
        for place in [&root, root.get("before").unwrap()] {
            for key in &expected {
                assert!(place.get(key).is_some(), "{name}: {key}");
            }
        }
        let object = |key: &str| match root.get(key) {
            Some(PickleValue::Opaque(object)) => object.to_string(),
            other => panic!("{name}: {key} is {other:?}"),
        };
        assert_eq!(object("date"), "datetime.date");
        assert_eq!(object("path"), "pathlib.PurePosixPath");
        assert_eq!(object("enum"), "other.units.Unit");
        assert_eq!(object("called"), "posix.system");
        assert_eq!(object("longer_number"), "int of more than 64 bits");
        assert!(object("array").starts_with("numpy."));

        // The run itself can be gone on with.
        let checkpoint = Checkpoint::read(&path).unwrap();
        assert_eq!((checkpoint.epoch, checkpoint.num_iterations), (3, 120));
        assert_eq!(checkpoint.optimizer.groups[0].params, [0, 1, 2, 3, 4, 5]);
    }
    nothing_was_executed();
}

#[test]
fn weights_that_are_no_dense_tensors_are_refused_by_name() {
    let refused = foreign().refused;
    assert_eq!(refused.len(), 17);
    for (name, object) in refused {
        let path = folder().join("refused").join(&name);
        let message = read_model_state(&path).unwrap_err().to_string();
        assert!(message.contains(&object), "{name}: {message}");
        assert!(message.starts_with(path.to_str().unwrap()), "{message}");
    }
    nothing_was_executed();
}

#[test]
fn weights_alone_are_nothing_to_resume() {
    for name in ["bare.pt", "bare_legacy.pt", "lightning_model.ckpt", "plain.safetensors"] {
        let path = folder().join("wrapped").join(name);
        let error = Checkpoint::read(&path).unwrap_err();
        assert!(matches!(error, CheckpointError::Contents { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains("no `optimizer_state_dict`"), "{message}");
        assert!(message.contains("`trainer.pre_trained`"), "{message}");
    }
}

#[test]
fn files_without_weights_name_their_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.pt");
    let entries = [("epoch", PickleValue::Int(3)), ("network", PickleValue::None)];
    unet3d::checkpoint::write(&path, &PickleValue::dict(entries)).unwrap();
    let message = read_model_state(&path).unwrap_err().to_string();
    assert!(message.contains("its keys: `epoch`, `network`"), "{message}");
}

#[test]
fn prefixes_are_removed_when_all_names_have_them() {
    let stripped = |names: &[&str]| -> Vec<String> {
        let one = || TensorData::from_f32(vec![], &[0.0]);
        let mut state = names.iter().map(|name| (name.to_string(), one())).collect();
        strip_prefixes(&mut state);
        state.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(stripped(&["module._orig_mod.model.a", "module._orig_mod.model.b"]), ["a", "b"]);
    assert_eq!(stripped(&["net.module.a"]), ["a"]);
    assert_eq!(stripped(&["module.a", "b"]), ["module.a", "b"]);
    assert_eq!(stripped(&["module.a", "module.net.b"]), ["a", "net.b"]);
    assert_eq!(stripped(&["modules.a"]), ["modules.a"]);
    assert_eq!(stripped(&["n_averaged", "module.a"]), ["a"]);
    assert_eq!(stripped(&["n_averaged"]), ["n_averaged"]);
    assert!(stripped(&[]).is_empty());
}

#[test]
fn a_safetensors_file_cut_anywhere_is_an_error() {
    let whole = std::fs::read(folder().join("types.safetensors")).unwrap();
    let read = |bytes: Vec<u8>| {
        File::from_reader(Path::new("memory"), std::io::Cursor::new(bytes)).map(|file| file.root)
    };
    assert_eq!(read(whole.clone()).unwrap().entries().unwrap().len(), 12);
    for length in 0..whole.len() {
        assert!(read(whole[..length].to_vec()).is_err(), "cut at {length}");
    }
    assert!(read([whole, vec![0]].concat()).is_err());
}
