//! Texts with their own checksum, by which it is known whether somebody changed them.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// What stands in the place of the checksum until it is known, and while it is computed.
pub const SEAL: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The SHA-256 of some bytes, in hexadecimal digits.
pub fn sha256_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The text with its checksum in the place of the first [`SEAL`].
pub fn sealed(text: &str) -> String {
    text.replacen(SEAL, &sha256_of(text.as_bytes()), 1)
}

/// Whether a text is as [`sealed`] made it. `before` is what stands right before the
/// checksum, and nowhere earlier.
pub fn is_sealed(text: &str, before: &str) -> bool {
    let Some((start, rest)) = text.split_once(before) else { return false };
    let Some((noted, end)) = rest.split_at_checked(SEAL.len()) else { return false };
    sha256_of([start, before, SEAL, end].concat().as_bytes()) == noted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_breaks_with_every_change() {
        let text = sealed(&format!("{{\"sum\": \"{SEAL}\", \"zeros\": \"{SEAL}\"}}\n"));
        assert!(is_sealed(&text, "\"sum\": \"") && text.matches(SEAL).count() == 1);
        for changed in [
            text.clone() + " ",
            text.replacen(SEAL, "0", 1),
            text.replace("sum", "sun"),
            text[..20].to_owned(),
            String::new(),
        ] {
            assert!(!is_sealed(&changed, "\"sum\": \""), "{changed}");
        }
    }
}
