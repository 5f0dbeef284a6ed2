//! Chooses the device that a configuration or `--device` asks for.

use std::fs;

use anyhow::{Result, bail};
use log::{debug, warn};
use tch::{Cuda, Device, Kind, Tensor};

use crate::config::{ConfigError, Parameter, Place, Section};
use crate::ffi::tensor::{load_cuda, memory_info};
use crate::runtime::memory;

const NEEDED: &str = "needed are a libtorch built for CUDA, a driver for CUDA 13 (580 or newer) and a \
    GPU of compute capability 7.5 or newer. Mend that, or say `--device cpu` to run on the CPU, which \
    takes many times as long";

/// The key `device` at the top of a configuration.
pub const DEVICE: Parameter =
    Parameter::text("device", "", "cpu, cuda or cuda:N; CUDA when present if absent").optional();

/// The device that the user asks for.
#[derive(Clone, Debug)]
pub struct DeviceWish {
    /// `None`: the best there is.
    word: Option<String>,
    /// Whether a file says it, which may have been written for another machine.
    in_file: bool,
    /// An error that tells where the word stands, without a message.
    place: ConfigError,
}

impl DeviceWish {
    /// Takes the word of the flag `--device`, if there is one, or else of [`DEVICE`].
    pub fn read(top: &Section<'_>, flag: Option<&str>) -> Self {
        match flag {
            Some(word) => {
                let place = Place { source: "--device".into(), position: None };
                let (key, message) = (String::new(), String::new());
                let place = ConfigError { place, key, message };
                DeviceWish { word: Some(word.to_string()), in_file: false, place }
            }
            None => DeviceWish {
                word: top.maybe_text(DEVICE.name).map(str::to_string),
                // What comes from the command line has no position.
                in_file: top.child(DEVICE.name).is_some_and(|key| key.place.position.is_some()),
                place: top.error(DEVICE.name, ""),
            },
        }
    }

    /// The device for it.
    ///
    /// # Errors
    /// As [`choose`].
    pub fn one(&self) -> Result<Device, ConfigError> {
        choose(self.word.as_deref(), self.in_file)
            .map_err(|error| ConfigError { message: error.to_string(), ..self.place.clone() })
    }

    /// The device of process `number` of this machine: they share the visible GPUs out
    /// unless one is named.
    ///
    /// # Errors
    /// As [`choose`].
    pub fn of_process(&self, number: usize) -> Result<Device, ConfigError> {
        let devices = self.all()?;
        Ok(devices[number % devices.len()])
    }

    /// How many processes of this machine can have a device of their own: one for each
    /// visible GPU, unless one or the CPU is named. No GPU is touched.
    pub fn processes(&self) -> usize {
        match self.word.as_deref() {
            None | Some("cuda") if load_cuda().is_ok() => Cuda::device_count().max(1) as usize,
            _ => 1,
        }
    }

    /// The device for it, or all visible GPUs unless one is named.
    ///
    /// # Errors
    /// As [`choose`].
    pub fn all(&self) -> Result<Vec<Device>, ConfigError> {
        Ok(match (self.one()?, self.word.as_deref()) {
            (Device::Cuda(_), None | Some("cuda")) => {
                (0..Cuda::device_count() as usize).map(Device::Cuda).collect()
            }
            (device, _) => vec![device],
        })
    }
}

/// The device for `cpu`, `cuda` or `cuda:N`; for `None`, CUDA if it is available.
/// `or_cpu`: without a GPU, the wish for one is met by the CPU, with a warning.
///
/// # Errors
/// A GPU that exists but cannot be used, a number without a GPU, an unknown word, or
/// CUDA on a machine without an NVIDIA device unless `or_cpu`.
pub fn choose(wish: Option<&str>, or_cpu: bool) -> Result<Device> {
    let index = match wish {
        Some("cpu") => return Ok(Device::Cpu),
        None | Some("cuda") => 0,
        Some(word) => match word.strip_prefix("cuda:").map(str::parse::<usize>) {
            Some(Ok(index)) => index,
            _ => bail!("unknown device '{word}'; write cpu, cuda or cuda:N"),
        },
    };
    if let Err(error) = load_cuda() {
        debug!("no CUDA: {error}");
    }
    if Cuda::is_available() {
        let count = Cuda::device_count().max(0) as usize;
        if index >= count {
            bail!(
                "cuda:{index} was asked for, but this machine shows {count} CUDA device(s), numbered from 0"
            );
        }
        let device = Device::Cuda(index);
        // If libtorch has no kernels for the GPU, the first kernel fails.
        let probe = Tensor::f_zeros([1], (Kind::Float, device)).and_then(|t| t.f_add_scalar(1.0));
        if let Err(error) = probe {
            bail!("{device:?} is there but cannot be used ({error}); {NEEDED}");
        }
        return Ok(device);
    }
    let hidden =
        std::env::var("CUDA_VISIBLE_DEVICES").is_ok_and(|list| list.is_empty() || list == "-1");
    if !hidden && let Some(found) = nvidia_device() {
        bail!("{found}, but CUDA cannot use it; {NEEDED}");
    }
    let Some(wish) = wish else { return Ok(Device::Cpu) };
    let why = match hidden {
        true => "CUDA_VISIBLE_DEVICES hides all GPUs",
        false => "this machine has no NVIDIA device",
    };
    if !or_cpu {
        bail!("`{wish}` was asked for, but {why}; say `cpu` to run on the CPU");
    }
    warn!("`{wish}` was asked for, but {why}: running on the CPU");
    Ok(Device::Cpu)
}

/// Description of an NVIDIA GPU that the system reports, without CUDA.
fn nvidia_device() -> Option<String> {
    let driver = fs::read_to_string("/proc/driver/nvidia/version").ok();
    if let Some(driver) = driver {
        let line = driver.lines().next().unwrap_or_default().trim().to_string();
        return Some(format!("this machine has an NVIDIA driver ({line})"));
    }
    let devices = fs::read_dir("/sys/bus/pci/devices").ok()?;
    for device in devices.flatten() {
        let read = |name: &str| fs::read_to_string(device.path().join(name)).unwrap_or_default();
        // Class 03: display controllers.
        if read("vendor").trim() == "0x10de" && read("class").trim().starts_with("0x03") {
            let address = device.file_name().to_string_lossy().into_owned();
            return Some(format!(
                "this machine has an NVIDIA GPU (PCI {address}) without a loaded driver"
            ));
        }
    }
    None
}

/// Description of the device with its free memory.
pub fn describe(device: Device) -> String {
    match device {
        Device::Cuda(index) => match memory_info(index) {
            Ok((free, total)) => format!(
                "cuda:{index} ({:.1} of {:.1} GiB free)",
                free as f64 / (1u64 << 30) as f64,
                total as f64 / (1u64 << 30) as f64
            ),
            Err(_) => format!("cuda:{index}"),
        },
        _ => format!("the CPU with {} threads", tch::get_num_threads()),
    }
}

/// Bytes of memory that the device has, used or not; `None` if it cannot be told.
pub fn total_memory(device: Device) -> Option<u64> {
    match device {
        Device::Cuda(index) => memory_info(index).ok().map(|(_, total)| total),
        _ => memory::total(),
    }
}
