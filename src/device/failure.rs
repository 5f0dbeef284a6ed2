//! Kinds of failures that libtorch reports.

/// Kinds of failure of a computation on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The memory of the device is exhausted; a smaller computation may still work.
    OutOfMemory,
    /// The CUDA context is lost; no computation works any more in this process.
    ContextLost,
    Other,
}

/// The kind of an error, recognised by libtorch's message, which is all there is.
pub fn failure(error: &anyhow::Error) -> Failure {
    let text = format!("{error:#}");
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&[
        "out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_ALLOC_FAILED",
        "cudaErrorMemoryAllocation",
        // On the CPU.
        "not enough memory",
        "can't allocate memory",
        "bad_alloc",
    ]) {
        Failure::OutOfMemory
    } else if has(&[
        "device-side assert",
        "illegal memory access",
        "unspecified launch failure",
        "CUDA error: an illegal",
        "misaligned address",
        "invalid program counter",
        "hardware stack error",
        "launch timed out",
        "uncorrectable ECC",
        "uncorrectable NVLink",
        "device is lost",
        "context is destroyed",
        "GPU has fallen off the bus",
    ]) {
        Failure::ContextLost
    } else {
        Failure::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    /// The messages are those of torch 2.11, in tch's form, and of the CUDA runtime.
    #[test]
    fn failures_are_told_by_the_texts_of_torch() {
        for text in [
            "Internal torch error: CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total \
             capacity of 15.77 GiB of which 14.52 GiB is free.",
            "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some \
             other API call, so the stacktrace below might be incorrect.",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
            "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: \
             you tried to allocate 4398046511104 bytes. Error code 12 (Cannot allocate memory)",
        ] {
            assert_eq!(failure(&anyhow!(text)), Failure::OutOfMemory, "{text}");
            assert_eq!(failure(&anyhow!(text).context("forward")), Failure::OutOfMemory);
        }
        for text in [
            "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be \
             asynchronously reported at some other API call",
            "CUDA error: an illegal instruction was encountered",
            "CUDA error: device-side assert triggered",
            "CUDA error: unspecified launch failure",
            "CUDA error: misaligned address",
            "CUDA error: the launch timed out and was terminated",
            "CUDA error: uncorrectable ECC error encountered",
        ] {
            assert_eq!(failure(&anyhow!(text)), Failure::ContextLost, "{text}");
        }
        for text in ["The size of tensor a (3) must match the size of tensor b (4)", "no such file"]
        {
            assert_eq!(failure(&anyhow!(text)), Failure::Other, "{text}");
        }
    }
}
