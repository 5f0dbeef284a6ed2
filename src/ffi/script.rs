//! Safe interface to `script.cpp`: modules of TorchScript.

use std::ffi::{CString, c_char};
use std::{ptr, slice};

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::tensor::check;

unsafe extern "C" {
    fn unet3d_free(text: *mut c_char);
    fn unet3d_script(
        source: *const c_char,
        names: *const *const c_char,
        tensors: *const *const C_tensor,
        trained: *const bool,
        count: usize,
        bytes: *mut *mut c_char,
        size: *mut usize,
    ) -> *mut c_char;
}

/// A tensor of a module.
pub struct ScriptTensor {
    /// With dots between the names of modules: `encoders.0.conv.weight`.
    pub name: String,
    pub tensor: Tensor,
    /// A parameter, otherwise a buffer.
    pub trained: bool,
}

/// The archive of a module with these tensors and the methods that `source` defines.
///
/// # Errors
/// Source that TorchScript does not take.
pub fn script(source: &str, tensors: &[ScriptTensor]) -> Result<Vec<u8>, TchError> {
    let text = |bytes: &[u8]| {
        CString::new(bytes).map_err(|_| TchError::FileFormat("a null byte in a name".into()))
    };
    let source = text(source.as_bytes())?;
    let names: Vec<CString> =
        tensors.iter().map(|entry| text(entry.name.as_bytes())).collect::<Result<_, _>>()?;
    let names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let handles: Vec<*const C_tensor> = tensors.iter().map(|entry| entry.tensor.as_ptr()).collect();
    let trained: Vec<bool> = tensors.iter().map(|entry| entry.trained).collect();
    let (mut bytes, mut size) = (ptr::null_mut(), 0);
    // SAFETY: null-terminated texts and lists of `count` valid handles, all of which outlive
    // the call; `bytes` and `size` are ours on success.
    check(unsafe {
        unet3d_script(
            source.as_ptr(),
            names.as_ptr(),
            handles.as_ptr(),
            trained.as_ptr(),
            tensors.len(),
            &mut bytes,
            &mut size,
        )
    })?;
    // SAFETY: on success there are `size` bytes from malloc, which are copied and then freed
    // exactly once.
    unsafe {
        let archive = slice::from_raw_parts(bytes.cast::<u8>(), size).to_vec();
        unet3d_free(bytes);
        Ok(archive)
    }
}
