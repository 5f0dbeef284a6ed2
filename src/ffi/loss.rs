//! Safe interface to `loss.cpp`: a scalar with a precomputed gradient.

use std::ffi::c_char;
use std::ptr;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::tensor::check;

unsafe extern "C" {
    fn unet3d_with_gradient(
        out: *mut *mut C_tensor,
        input: *mut C_tensor,
        value: *mut C_tensor,
        gradient: *mut C_tensor,
    ) -> *mut c_char;
}

/// The scalar `value` as a function of `input` with the given `gradient`, which has the shape of
/// `input`. It can be differentiated once, because the gradient is passed on without a copy.
pub fn with_gradient(input: &Tensor, value: &Tensor, gradient: Tensor) -> Result<Tensor, TchError> {
    let mut out = ptr::null_mut();
    // SAFETY: three handles that are valid for the call, which keeps references
    // of its own; `out` is ours on success.
    unsafe {
        check(unet3d_with_gradient(
            &mut out,
            input.as_ptr().cast_mut(),
            value.as_ptr().cast_mut(),
            gradient.as_ptr().cast_mut(),
        ))?;
        Ok(Tensor::from_ptr(out))
    }
}
