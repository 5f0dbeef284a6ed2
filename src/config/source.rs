//! Reading the text of a configuration file.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, absolute};

/// Largest size of a configuration file in bytes. A volume given by mistake is not read.
const LARGEST: u64 = 64 << 20;

/// The text of a file.
///
/// # Errors
/// What is wrong with the file and how to put it right: it does not exist, it is a
/// directory, FIFO or device, or its bytes are no UTF-8 text.
pub(super) fn read(file: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => {
            let absolute = absolute(file).unwrap_or_else(|_| file.to_path_buf());
            format!("no such configuration file (looked for {})", absolute.display())
        }
        _ => format!("cannot be read: {error}"),
    };
    let metadata = fs::metadata(file).map_err(unreadable)?;
    if metadata.is_dir() {
        return Err("is a directory; give the configuration file in it".into());
    }
    // Opening a FIFO would wait for its writer, and a device may never end.
    if !metadata.is_file() {
        return Err("is a FIFO, socket or device; save the configuration in a file".into());
    }
    if metadata.len() > LARGEST {
        return Err(format!("has {} bytes, too many for a configuration", metadata.len()));
    }
    let bytes = fs::read(file).map_err(unreadable)?;
    decode(bytes)
}

fn decode(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("is UTF-16 text; save it as UTF-8".into());
    }
    if bytes.contains(&0) {
        return Err("is no text: it contains bytes that are 0".into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
        format!("is no UTF-8 text: line {line} has a character in another encoding; save the file as UTF-8")
    })
}
