//! What kind of failure libtorch reports, for callers that decide by kind.

/// Kinds of failure of a computation on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The device's memory did not suffice: something smaller may still work.
    OutOfMemory,
    /// The CUDA context is gone: nothing works any more in this process.
    ContextLost,
    Other,
}

/// Sorts an error by the text libtorch gives, its only mark.
pub fn failure(error: &anyhow::Error) -> Failure {
    let text = format!("{error:#}");
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "not enough memory"]) {
        Failure::OutOfMemory
    } else if has(&[
        "device-side assert",
        "illegal memory access",
        "unspecified launch failure",
        "CUDA error: an illegal",
        "uncorrectable ECC",
        "GPU has fallen off the bus",
    ]) {
        Failure::ContextLost
    } else {
        Failure::Other
    }
}
