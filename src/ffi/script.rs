//! Safe interface to `script.cpp`: modules of TorchScript.

use std::ffi::{CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::tensor::check;

unsafe extern "C" {
    fn unet3d_save_script(
        path: *const c_char,
        source: *const c_char,
        names: *const *const c_char,
        tensors: *const *const C_tensor,
        trained: *const bool,
        count: usize,
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

/// Writes a module with these tensors and the methods that `source` defines.
///
/// # Errors
/// Source that TorchScript does not take, or a file that cannot be written.
pub fn save_script(path: &Path, source: &str, tensors: &[ScriptTensor]) -> Result<(), TchError> {
    let text = |bytes: &[u8]| {
        CString::new(bytes).map_err(|_| TchError::FileFormat("a null byte in a name".into()))
    };
    let (path, source) = (text(path.as_os_str().as_bytes())?, text(source.as_bytes())?);
    let names: Vec<CString> =
        tensors.iter().map(|entry| text(entry.name.as_bytes())).collect::<Result<_, _>>()?;
    let names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let handles: Vec<*const C_tensor> = tensors.iter().map(|entry| entry.tensor.as_ptr()).collect();
    let trained: Vec<bool> = tensors.iter().map(|entry| entry.trained).collect();
    // SAFETY: null-terminated texts and lists of `count` valid handles, all of which outlive
    // the call.
    check(unsafe {
        unet3d_save_script(
            path.as_ptr(),
            source.as_ptr(),
            names.as_ptr(),
            handles.as_ptr(),
            trained.as_ptr(),
            tensors.len(),
        )
    })
}
