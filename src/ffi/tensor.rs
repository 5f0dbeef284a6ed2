//! Safe interfaces to `shim.cpp`: memory shared with tensors, memory layout, fused optimizer
//! steps, the accelerator's memory.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use tch::{Device, Kind, TchError, Tensor};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn unet3d_free(text: *mut c_char);
    fn unet3d_end_at_once();
    fn unet3d_load_cuda() -> *mut c_char;
    fn unet3d_from_blob(
        out: *mut *mut C_tensor,
        data: *mut c_void,
        sizes: *const i64,
        rank: usize,
        kind: i8,
        owner: *mut c_void,
        drop: extern "C" fn(*mut c_void),
    ) -> *mut c_char;
    fn unet3d_leaky_relu_(x: *mut C_tensor, slope: f64) -> *mut c_char;
    fn unet3d_to_layout(
        out: *mut *mut C_tensor,
        x: *mut C_tensor,
        channels_last: bool,
    ) -> *mut c_char;
    fn unet3d_fused_adam(
        parameters: *const *const C_tensor,
        gradients: *const *const C_tensor,
        first_moments: *const *const C_tensor,
        second_moments: *const *const C_tensor,
        steps: *const *const C_tensor,
        count: usize,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        epsilon: f64,
        skip: *const C_tensor,
    ) -> *mut c_char;
    fn unet3d_fused_sgd(
        parameters: *const *const C_tensor,
        gradients: *const *const C_tensor,
        buffers: *const *const C_tensor,
        count: usize,
        learning_rate: f64,
        momentum: f64,
        weight_decay: f64,
        first_step: bool,
        skip: *const C_tensor,
    ) -> *mut c_char;
    fn unet3d_to_cuda(out: *mut *mut C_tensor, x: *mut C_tensor, device: i8) -> *mut c_char;
    fn unet3d_memory_info(device: i8, available: *mut u64, total: *mut u64) -> *mut c_char;
    fn unet3d_empty_cache() -> *mut c_char;
    fn unet3d_synchronize(device: i8) -> *mut c_char;
    fn unet3d_keep_memory();
    fn unet3d_cudnn(benchmark: bool, deterministic: bool);
}

/// Turns the shim's error text into tch's error type.
pub(super) fn check(message: *mut c_char) -> Result<(), TchError> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: the shim returns either null or a null-terminated text from
    // malloc that is ours to free.
    Err(TchError::Torch(unsafe { take_text(message) }))
}

/// A text that the shim made, which is freed.
///
/// # Safety
/// `text` is a null-terminated text from malloc that nobody else frees or reads later.
// SAFETY: a promise of the caller, who alone knows where the text comes from.
pub(super) unsafe fn take_text(text: *mut c_char) -> String {
    // SAFETY: the caller's promise; it is freed exactly once, here.
    unsafe {
        let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
        unet3d_free(text);
        copy
    }
}

/// Element types of vectors whose memory a tensor can take over.
pub trait TensorElement: Copy + Send + 'static {
    const KIND: Kind;
    /// libtorch's number of the kind (`c10::ScalarType`).
    const CODE: i8;
}

macro_rules! tensor_element {
    ($($type:ty: $kind:ident = $code:literal),*) => {
        $(impl TensorElement for $type {
            const KIND: Kind = Kind::$kind;
            const CODE: i8 = $code;
        })*
    };
}
tensor_element!(u8: Uint8 = 0, i32: Int = 3, i64: Int64 = 4, f32: Float = 6, f64: Double = 7);

/// A CPU tensor in the memory of `values`, without a copy; the vector is freed with the tensor's
/// storage.
pub fn from_vec<T: TensorElement>(values: Vec<T>, shape: &[i64]) -> Result<Tensor, TchError> {
    extern "C" fn drop_owner<T>(owner: *mut c_void) {
        // SAFETY: `owner` is the box leaked below, and libtorch calls this once.
        drop(unsafe { Box::from_raw(owner.cast::<Vec<T>>()) });
    }
    let wanted: i64 = shape.iter().product();
    if usize::try_from(wanted) != Ok(values.len()) {
        return Err(TchError::Shape(format!("{} values for a shape {shape:?}", values.len())));
    }
    if values.is_empty() {
        return Tensor::f_zeros(shape, (T::KIND, Device::Cpu));
    }
    let mut values = Box::new(values);
    let data = values.as_mut_ptr().cast::<c_void>();
    let owner = Box::into_raw(values);
    let mut out = ptr::null_mut();
    // SAFETY: `data` points to `values.len()` elements of the kind, which is the
    // product of `shape`; the heap memory of the vector does not move when the
    // box does, and stays alive until `drop_owner`.
    let message = unsafe {
        unet3d_from_blob(
            &mut out,
            data,
            shape.as_ptr(),
            shape.len(),
            T::CODE,
            owner.cast(),
            drop_owner::<T>,
        )
    };
    if let Err(error) = check(message) {
        drop_owner::<T>(owner.cast());
        return Err(error);
    }
    // SAFETY: on success `out` is a fresh tensor that nobody else owns.
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// The memory of a contiguous CPU tensor as a slice, which borrows the tensor.
///
/// # Errors
/// A tensor that is not on the CPU, of another type or not contiguous.
pub fn as_slice<T: TensorElement>(tensor: &Tensor) -> Result<&[T], TchError> {
    if tensor.device() != Device::Cpu || tensor.f_kind()? != T::KIND || !tensor.is_contiguous() {
        return Err(TchError::Kind(format!(
            "a contiguous {:?} tensor on the CPU is wanted, not {tensor:?}",
            T::KIND
        )));
    }
    let count = tensor.numel();
    if count == 0 {
        return Ok(&[]);
    }
    // SAFETY: a contiguous CPU tensor of this kind holds `numel` initialised
    // elements from its data pointer on, and the borrow keeps its storage alive.
    // Nothing in this crate writes to a tensor through another handle while a
    // slice of it is held.
    Ok(unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<T>(), count) })
}

/// `max(x, slope * x)` in place.
pub fn leaky_relu_(x: Tensor, slope: f64) -> Result<Tensor, TchError> {
    // SAFETY: the handle is valid for as long as `x` lives.
    check(unsafe { unet3d_leaky_relu_(x.as_ptr().cast_mut(), slope) })?;
    Ok(x)
}

/// `x` with its storage in NDHWC order (`channels_last`) or NCDHW order; its shape stays (N, C,
/// D, H, W). Copies only if the order changes.
pub fn to_layout(x: &Tensor, channels_last: bool) -> Result<Tensor, TchError> {
    let mut out = ptr::null_mut();
    // SAFETY: the handle is valid while `x` is borrowed; `out` is ours on success.
    unsafe {
        check(unet3d_to_layout(&mut out, x.as_ptr().cast_mut(), channels_last))?;
        Ok(Tensor::from_ptr(out))
    }
}

/// A copy of a CPU tensor on CUDA device `device`, made asynchronously through page-locked
/// memory.
pub fn to_cuda(x: &Tensor, device: usize) -> Result<Tensor, TchError> {
    let mut out = ptr::null_mut();
    // SAFETY: the handle is valid while `x` is borrowed; `out` is ours on success.
    unsafe {
        check(unet3d_to_cuda(&mut out, x.as_ptr().cast_mut(), device as i8))?;
        Ok(Tensor::from_ptr(out))
    }
}

fn handles(tensors: &[Tensor]) -> Vec<*const C_tensor> {
    tensors.iter().map(Tensor::as_ptr).collect()
}

/// The arguments of [`fused_adam`].
pub struct AdamStep<'a> {
    pub parameters: &'a [Tensor],
    pub gradients: &'a [Tensor],
    pub first_moments: &'a [Tensor],
    pub second_moments: &'a [Tensor],
    /// The number of this step, counted from 1, as a float32 scalar tensor.
    pub step: &'a Tensor,
    pub learning_rate: f64,
    pub betas: (f64, f64),
    pub weight_decay: f64,
    pub epsilon: f64,
    /// A float32 scalar on the device; if it is 1, the step changes nothing.
    pub skip: Option<&'a Tensor>,
}

/// One step of Adam on all parameters at once, in place.
pub fn fused_adam(step: AdamStep<'_>) -> Result<(), TchError> {
    let count = step.parameters.len();
    for list in [step.gradients, step.first_moments, step.second_moments] {
        assert_eq!(list.len(), count, "one tensor for each parameter");
    }
    let steps = vec![step.step.as_ptr(); count];
    // SAFETY: five lists of `count` valid handles that outlive the call.
    check(unsafe {
        unet3d_fused_adam(
            handles(step.parameters).as_ptr(),
            handles(step.gradients).as_ptr(),
            handles(step.first_moments).as_ptr(),
            handles(step.second_moments).as_ptr(),
            steps.as_ptr(),
            count,
            step.learning_rate,
            step.betas.0,
            step.betas.1,
            step.weight_decay,
            step.epsilon,
            step.skip.map_or(ptr::null(), Tensor::as_ptr),
        )
    })
}

/// The arguments of [`fused_sgd`].
pub struct SgdStep<'a> {
    pub parameters: &'a [Tensor],
    pub gradients: &'a [Tensor],
    /// Momentum buffers, one per parameter; none without momentum.
    pub buffers: &'a [Tensor],
    pub learning_rate: f64,
    pub momentum: f64,
    pub weight_decay: f64,
    /// Whether the buffers are still uninitialised.
    pub first_step: bool,
    /// A float32 scalar on the device; if it is 1, the step changes nothing.
    pub skip: Option<&'a Tensor>,
}

/// One step of SGD on all parameters at once, in place.
pub fn fused_sgd(step: SgdStep<'_>) -> Result<(), TchError> {
    let count = step.parameters.len();
    assert_eq!(step.gradients.len(), count, "one gradient for each parameter");
    assert!(step.buffers.is_empty() || step.buffers.len() == count);
    let buffers = handles(step.buffers);
    // SAFETY: lists of `count` valid handles that outlive the call.
    check(unsafe {
        unet3d_fused_sgd(
            handles(step.parameters).as_ptr(),
            handles(step.gradients).as_ptr(),
            if buffers.is_empty() { ptr::null() } else { buffers.as_ptr() },
            count,
            step.learning_rate,
            step.momentum,
            step.weight_decay,
            step.first_step,
            step.skip.map_or(ptr::null(), Tensor::as_ptr),
        )
    })
}

/// Has the process end, once its files are closed and its texts are written, without taking
/// libtorch apart, which takes a third of a short run. To be called first of all.
pub fn end_at_once() {
    // SAFETY: registers a function that takes nothing and ends the process.
    unsafe { unet3d_end_at_once() }
}

/// Loads libtorch's part for CUDA where the machine has NVIDIA's driver; nothing else looks for
/// GPUs. To be called before libtorch does anything.
///
/// # Errors
/// A libtorch without that part, or one whose CUDA libraries are missing.
pub fn load_cuda() -> Result<(), TchError> {
    // SAFETY: takes nothing; libraries run their initialization, as at the start of a program
    // that is linked against them.
    check(unsafe { unet3d_load_cuda() })
}

/// Free and total bytes of a CUDA device.
pub fn memory_info(device: usize) -> Result<(u64, u64), TchError> {
    let (mut available, mut total) = (0, 0);
    // SAFETY: both pointers are valid for the call.
    check(unsafe { unet3d_memory_info(device as i8, &mut available, &mut total) })?;
    Ok((available, total))
}

/// Returns the cached blocks of the CUDA allocator to the driver.
pub fn empty_cache() -> Result<(), TchError> {
    // SAFETY: takes nothing.
    check(unsafe { unet3d_empty_cache() })
}

/// Waits until the CUDA device has completed all submitted work.
pub fn synchronize(device: usize) -> Result<(), TchError> {
    // SAFETY: takes a number.
    check(unsafe { unet3d_synchronize(device as i8) })
}

/// Keeps freed host memory for later tensors of the same size instead of returning it to the
/// system. Training on the CPU is 12 % faster with it and takes 25 to 50 % more memory. To be
/// called before the work starts.
pub fn keep_memory() {
    // SAFETY: sets three parameters of malloc.
    unsafe { unet3d_keep_memory() }
}

/// Makes libtorch request huge pages for host tensors of 2 MiB and more, unless the environment
/// sets `THP_MEM_ALLOC_ENABLE` (c10/core/impl/alloc_cpu.cpp). The kernel clears fresh memory
/// several times faster, and the prediction of a patch takes a fifth less time. To be called at
/// the start of the program, before the first tensor.
pub fn huge_pages() {
    const NAME: &str = "THP_MEM_ALLOC_ENABLE";
    if std::env::var_os(NAME).is_none() {
        // SAFETY: no other thread was started that could read the environment at
        // the same time.
        unsafe { std::env::set_var(NAME, "1") }
    }
}

/// Sets how cuDNN chooses its kernels: by timing them, or only reproducible ones.
pub fn cudnn(benchmark: bool, deterministic: bool) {
    // SAFETY: sets two flags of libtorch's global context.
    unsafe { unet3d_cudnn(benchmark, deterministic) }
}
