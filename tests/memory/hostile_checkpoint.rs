//! Malicious checkpoints: every one is refused with an error that names the file, quickly
//! and without allocating more memory than the file justifies.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use unet3d::checkpoint::{Checkpoint, File, PickleValue};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::support::peak::{Peak, alone};

/// An archive with the given entries below `a/`.
fn archive(method: CompressionMethod, entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in entries {
        zip.start_file(format!("a/{name}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A pickle with one storage of 16 bytes beside it, key `0`.
fn pickled(pickle: &[u8]) -> Vec<u8> {
    archive(CompressionMethod::Stored, &[("data.pkl", pickle), ("data/0", &[1; 16])])
}

fn int(value: i64) -> Vec<u8> {
    [&[0x8a, 8][..], &value.to_le_bytes()].concat()
}

fn tuple(values: &[i64]) -> Vec<u8> {
    let mut bytes = b"(".to_vec();
    values.iter().for_each(|&value| bytes.extend(int(value)));
    bytes.push(b't');
    bytes
}

/// `_rebuild_tensor_v2` on a storage of `elements` float32 with key `0`.
fn tensor(elements: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    [
        &b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"[..],
        b"X\x01\0\0\x000X\x03\0\0\0cpu",
        &int(elements),
        b"tQ",
        &int(offset),
        &tuple(shape),
        &tuple(strides),
        b"\x89NtR",
    ]
    .concat()
}

fn lone_tensor(elements: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    pickled(&[tensor(elements, offset, shape, strides), b".".to_vec()].concat())
}

/// A file of safetensors: a header and so many bytes behind it.
fn safetensors(header: &str, bytes: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; bytes]].concat()
}

fn cases() -> Vec<(&'static str, Vec<u8>)> {
    let zeros = vec![0; 64 << 20];
    let many = i64::from(1 << 24);
    // Each list contains the previous one ten times: 10³⁰ elements in the end.
    let mut laughs = b"]".to_vec();
    for level in 0..30u8 {
        laughs.extend([b'q', level, b'0', b']', b'(']);
        (0..10).for_each(|_| laughs.extend([b'h', level]));
        laughs.push(b'e');
    }
    laughs.push(b'.');
    // A list of a hundred thousand, copied a hundred thousand times.
    let mut copies = b"cbuiltins\nlist\nq\0](".to_vec();
    copies.extend(vec![b'N'; 100_000]);
    copies.extend(b"e\x85q\x010(");
    (0..100_000).for_each(|_| copies.extend(b"h\0h\x01R"));
    copies.extend(b"t.");
    // The same storage taken whole a hundred times.
    let mut shared = b"(".to_vec();
    let entry = tensor(1 << 20, 0, &[1 << 20], &[1]);
    (0..100).for_each(|_| shared.extend(&entry));
    shared.extend(b"t.");
    let megabytes = vec![0x3f; 4 << 20];
    // A complete archive whose directory points two names to the same entry.
    let overlap = {
        let bytes = archive(
            CompressionMethod::Stored,
            &[("data.pkl", &tensor(4, 0, &[4], &[1])), ("data/0", &zeros[..100_000])],
        );
        let mut zip = zip::ZipArchive::new(Cursor::new(bytes.clone())).unwrap();
        let start = zip.central_directory_start() as usize;
        assert_eq!(zip.by_index(1).unwrap().size(), 100_000);
        let directory = &bytes[start..bytes.len() - 22];
        let last = directory.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
        let mut out = bytes[..bytes.len() - 22].to_vec();
        for digit in b'1'..=b'9' {
            let mut again = directory[last..].to_vec();
            let name = again.windows(6).position(|w| w == b"data/0").unwrap();
            again[name + 5] = digit;
            out.extend(again);
        }
        let mut end = bytes[bytes.len() - 22..].to_vec();
        end[8..10].copy_from_slice(&11u16.to_le_bytes());
        end[10..12].copy_from_slice(&11u16.to_le_bytes());
        let size = (out.len() - start) as u32;
        end[12..16].copy_from_slice(&size.to_le_bytes());
        out.extend(end);
        out
    };

    vec![
        ("empty", vec![]),
        ("no archive", b"PK\x03\x04 and so on".to_vec()),
        ("text", b"epoch: 3".to_vec()),
        ("a pickle that torch did not write", b"\x80\x02}q\0.".to_vec()),
        ("an archive without a pickle", archive(CompressionMethod::Stored, &[("x", b"")])),
        (
            "a bomb of zeros as storage",
            archive(
                CompressionMethod::Deflated,
                &[("data.pkl", &tensor(many, 0, &[many], &[1])), ("data/0", &zeros)],
            ),
        ),
        (
            "a bomb of zeros as pickle",
            archive(CompressionMethod::Deflated, &[("data.pkl", &zeros)]),
        ),
        ("entries that overlap", overlap),
        ("a storage that is not there", {
            archive(CompressionMethod::Stored, &[("data.pkl", &tensor(4, 0, &[4], &[1]))])
        }),
        ("a storage shorter than said", lone_tensor(many, 0, &[many], &[1])),
        ("a storage of impossible size", lone_tensor(i64::MAX, 0, &[4], &[1])),
        ("a storage of negative size", lone_tensor(-4, 0, &[4], &[1])),
        ("a tensor longer than its storage", lone_tensor(4, 0, &[5], &[1])),
        ("a tensor behind its storage", lone_tensor(4, 4, &[1], &[1])),
        ("a tensor far behind", lone_tensor(4, i64::MAX, &[1], &[1])),
        ("a tensor before its storage", lone_tensor(4, -1, &[1], &[1])),
        ("strides out of the storage", lone_tensor(4, 0, &[2, 2], &[2, 3])),
        ("strides that wrap around", lone_tensor(4, 0, &[3, 2], &[i64::MAX, i64::MAX])),
        ("negative strides", lone_tensor(4, 3, &[4], &[-1])),
        ("a negative size", lone_tensor(4, 0, &[-1], &[1])),
        ("sizes whose product wraps", lone_tensor(4, 0, &[1 << 32, 1 << 32, 0], &[0, 0, 0])),
        ("one number repeated a billion times", lone_tensor(4, 0, &[1 << 15, 1 << 15], &[0, 0])),
        ("more strides than sizes", lone_tensor(4, 0, &[4], &[1, 1])),
        ("a thousand dimensions", lone_tensor(4, 0, &[1; 1000], &[1; 1000])),
        ("lists within lists", {
            pickled(&[vec![b']'; 1 << 16], vec![b'a'; (1 << 16) - 1], b".".to_vec()].concat())
        }),
        ("a list within itself", pickled(b"]q\0h\0a.")),
        ("a billion laughs", pickled(&laughs)),
        ("copies of copies", pickled(&copies)),
        (
            "one storage taken a hundred times",
            archive(CompressionMethod::Stored, &[("data.pkl", &shared), ("data/0", &megabytes)]),
        ),
        ("text longer than the file", pickled(b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f")),
        ("bytes longer than the file", pickled(b"B\xff\xff\xff\x7f")),
        ("an integer longer than the file", pickled(b"\x8b\xff\xff\xff\x7f")),
        ("an integer of 80 bits", pickled(b"\x8a\x0a0123456789.")),
        ("a reference to nothing", pickled(b"j\xff\xff\xff\xff.")),
        ("a memo far out", pickled(b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xff")),
        ("an empty stack", pickled(b".")),
        ("more taken than put", pickled(b"N0000.")),
        ("a mark too few", pickled(b"NNt.")),
        ("a key without a value", pickled(b"}(Nu.")),
        ("an unknown instruction", pickled(b"\xff.")),
        ("a module", pickled(b"ctorch.nn.modules.container\nSequential\n)\x81.")),
        ("a call of the shell", pickled(b"cposix\nsystem\nX\x04\0\0\0true\x85R.")),
        ("a call by instance", pickled(b"(X\x04\0\0\0trueios\nsystem\n.")),
        ("a call by object", pickled(b"(cos\nsystem\nX\x04\0\0\0trueo.")),
        ("a call by stack", pickled(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.")),
        ("an extension", pickled(b"\x82\x01.")),
        ("a storage without a tensor", {
            pickled(
                b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ.",
            )
        }),
        ("a storage of something else", pickled(b"X\x06\0\0\0moduleQ.")),
        ("a type that is called", pickled(b"ctorch\nFloatStorage\n)R.")),
        ("a sign that is no boolean", {
            let tensor = tensor(4, 0, &[4], &[1]);
            pickled(&[&tensor[..tensor.len() - 2], b"}X\x03\0\0\0negK\x01stR."].concat())
        }),
        ("metadata that is no dict", {
            let tensor = tensor(4, 0, &[4], &[1]);
            pickled(&[&tensor[..tensor.len() - 2], b"K\x01tR."].concat())
        }),
        ("a type within a type", pickled(b"cother\nThing\n)R)R.")),
        ("an object with keywords", pickled(b"cother\nThing\n)}K\x01K\x02s\x92.")),
        ("a header of safetensors that is no JSON", safetensors("{]", 0)),
        ("a header nested without end", safetensors(&"{\"a\":".repeat(1 << 18), 0)),
        ("a header longer than its tensors", {
            safetensors(r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, 12)
        }),
        ("tensors of safetensors that overlap", {
            let header = r#"{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},
                "b":{"dtype":"U8","shape":[8],"data_offsets":[4,12]}}"#;
            safetensors(header, 12)
        }),
        ("a shape of safetensors that wraps", {
            let header = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],
                "data_offsets":[0,0]}}"#;
            safetensors(header, 0)
        }),
        ("a tensor of safetensors that ends before it begins", {
            safetensors(r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}}"#, 4)
        }),
        ("rebuilding that rebuilds", {
            let name = b"ctorch._tensor\n_rebuild_from_type_v2\n";
            pickled(&[&name[..], b"(", name, b"N)NtR."].concat())
        }),
    ]
}

/// Reads a file including all tensors.
fn read_whole(path: &Path) -> Result<(), unet3d::checkpoint::CheckpointError> {
    let file = File::open(path)?;
    let mut kept = Vec::new();
    let mut waiting = vec![&file.root];
    while let Some(value) = waiting.pop() {
        if let PickleValue::Tensor(tensor) = value {
            kept.push(tensor.data()?);
        }
        waiting.extend(value.items().into_iter().flatten());
        waiting.extend(value.entries().into_iter().flatten().map(|(_, value)| value));
    }
    Ok(())
}

#[test]
fn harm_is_refused() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = cases()
        .into_iter()
        .map(|(what, bytes)| {
            let path = folder.path().join(format!("{what}.pytorch"));
            fs::write(&path, bytes).unwrap();
            path
        })
        .collect();
    assert!(paths.len() > 45);
    let memory = Peak::start();
    for path in &paths {
        for error in [read_whole(path).err(), Checkpoint::read(path).err()] {
            let message =
                error.unwrap_or_else(|| panic!("{} was read", path.display())).to_string();
            assert!(message.starts_with(path.to_str().unwrap()), "{message}");
            assert!(message.len() < 400, "{message}");
        }
    }
    let grown = memory.grown();
    assert!(grown < 64 << 20, "{grown} bytes more than before");
}

#[test]
fn what_is_sound_but_unusual_is_read() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sound.pytorch");
    // An expanded scalar, a stride that is never used, and no elements at all.
    let cases: [(&[i64], &[i64], usize); 3] =
        [(&[3, 4], &[0, 0], 12), (&[1, 4], &[i64::MAX, 1], 4), (&[0, 9], &[7, 9], 0)];
    for (shape, strides, elements) in cases {
        fs::write(&path, lone_tensor(4, 0, shape, strides)).unwrap();
        let file = File::open(&path).unwrap();
        let PickleValue::Tensor(tensor) = &file.root else { panic!("no tensor") };
        let data = tensor.data().unwrap();
        assert_eq!(data.elements(), elements);
        assert_eq!(data.to_f64(), vec![f64::from(f32::from_bits(0x0101_0101)); elements]);
    }
}
