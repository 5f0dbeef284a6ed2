//! Safe interface to `group.cpp`: the key-value store and the sums of a group of processes.

use std::ffi::{CString, c_char, c_int};
use std::ptr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tch::{Device, Tensor};
use torch_sys::C_tensor;

use super::tensor::{check, take_text};

/// A store of group.cpp.
#[repr(C)]
struct RawStore {
    _private: [u8; 0],
}

/// A process group of group.cpp.
#[repr(C)]
struct RawRing {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn unet3d_store_open(
        out: *mut *mut RawStore,
        host: *const c_char,
        port: u16,
        serves: bool,
        listener: c_int,
        timeout: i64,
    ) -> *mut c_char;
    fn unet3d_store_clone(out: *mut *mut RawStore, store: *mut RawStore) -> *mut c_char;
    fn unet3d_store_set(
        store: *mut RawStore,
        key: *const c_char,
        bytes: *const u8,
        count: usize,
    ) -> *mut c_char;
    fn unet3d_store_get(
        store: *mut RawStore,
        key: *const c_char,
        text: *mut *mut c_char,
    ) -> *mut c_char;
    fn unet3d_store_add(
        store: *mut RawStore,
        key: *const c_char,
        addend: i64,
        sum: *mut i64,
    ) -> *mut c_char;
    fn unet3d_ring_open(
        out: *mut *mut RawRing,
        store: *mut RawStore,
        rank: c_int,
        size: c_int,
        address: *const c_char,
        is_interface: bool,
        timeout: i64,
    ) -> *mut c_char;
    fn unet3d_ring_sum(ring: *mut RawRing, tensor: *mut C_tensor, stop: *const bool)
    -> *mut c_char;
    fn unet3d_ring_broadcast(
        ring: *mut RawRing,
        tensor: *mut C_tensor,
        root: c_int,
        stop: *const bool,
    ) -> *mut c_char;
}

/// Who serves a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// Another process.
    Other,
    /// This one, at the store's port.
    Own,
    /// This one, on a socket that listens already: the number of its descriptor.
    Listening(i32),
}

/// A connection to a key-value store that all processes of a group see. It stays open until
/// the process ends.
#[derive(Debug)]
pub struct Store(*mut RawStore);

// SAFETY: the store locks itself around every operation.
unsafe impl Send for Store {}
// SAFETY: as above.
unsafe impl Sync for Store {}

impl Store {
    /// Connects to the store at a host and port, waiting for it up to `timeout`.
    ///
    /// # Errors
    /// A port in use, a host that cannot be reached.
    pub fn open(host: &str, port: u16, server: Server, timeout: Duration) -> Result<Self> {
        let mut out = ptr::null_mut();
        let host = CString::new(host)?;
        let (serves, listener) = match server {
            Server::Other => (false, -1),
            Server::Own => (true, -1),
            Server::Listening(descriptor) => (true, descriptor),
        };
        let timeout = milliseconds(timeout);
        // SAFETY: the text ends with a zero and outlives the call; `out` is ours on success.
        unsafe {
            check(unet3d_store_open(&mut out, host.as_ptr(), port, serves, listener, timeout))?;
        }
        Ok(Store(out))
    }

    /// A second connection, for another thread.
    ///
    /// # Errors
    /// A server that is gone.
    pub fn connect_again(&self) -> Result<Self> {
        let mut out = ptr::null_mut();
        // SAFETY: the store lives until the process ends; `out` is ours on success.
        unsafe {
            check(unet3d_store_clone(&mut out, self.0))?;
        }
        Ok(Store(out))
    }

    /// Puts a text under a key.
    ///
    /// # Errors
    /// A server that is gone.
    pub fn set(&self, key: &str, text: &str) -> Result<()> {
        let key = CString::new(key)?;
        // SAFETY: the key ends with a zero, `text.len()` bytes are read, and both outlive the
        // call.
        unsafe {
            check(unet3d_store_set(self.0, key.as_ptr(), text.as_ptr(), text.len()))?;
        }
        Ok(())
    }

    /// The text under a key, `None` if there is none yet.
    ///
    /// # Errors
    /// A server that is gone.
    pub fn get(&self, key: &str) -> Result<Option<String>> {
        let key = CString::new(key)?;
        let mut text = ptr::null_mut();
        // SAFETY: the key ends with a zero and outlives the call; `text` becomes null or a
        // text from malloc that is ours.
        unsafe {
            check(unet3d_store_get(self.0, key.as_ptr(), &mut text))?;
            Ok((!text.is_null()).then(|| take_text(text)))
        }
    }

    /// Adds to the number under a key, 0 at first, and gives the sum.
    ///
    /// # Errors
    /// A server that is gone.
    pub fn add(&self, key: &str, addend: i64) -> Result<i64> {
        let key = CString::new(key)?;
        let mut sum = 0;
        // SAFETY: the key ends with a zero and outlives the call, as does `sum`.
        unsafe {
            check(unet3d_store_add(self.0, key.as_ptr(), addend, &mut sum))?;
        }
        Ok(sum)
    }
}

/// How other machines reach this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// By this address or name.
    Host(String),
    /// By the network interface of this name.
    Interface(String),
}

/// Processes that sum their tensors. It stays open until the process ends.
#[derive(Debug)]
pub struct Ring {
    raw: *mut RawRing,
    size: usize,
}

// SAFETY: the group hands work to threads of its own behind a lock.
unsafe impl Send for Ring {}

impl Ring {
    /// Connects this process, number `rank` of `size`, with the others that share the store.
    /// Every operation waits for the others up to `timeout`.
    ///
    /// # Errors
    /// Processes that do not come, and an address that is not this machine's.
    pub fn open(
        store: &Store,
        rank: usize,
        size: usize,
        address: &Address,
        timeout: Duration,
    ) -> Result<Self> {
        ensure!(rank < size && size <= 1 << 20, "there is no rank {rank} of {size}");
        let (text, is_interface) = match address {
            Address::Host(host) => (host, false),
            Address::Interface(name) => (name, true),
        };
        let text = CString::new(text.as_str())?;
        let (mut out, timeout) = (ptr::null_mut(), milliseconds(timeout));
        let (rank, count) = (rank as c_int, size as c_int);
        // SAFETY: the store lives until the process ends, the text ends with a zero and
        // outlives the call; `out` is ours on success.
        unsafe {
            check(unet3d_ring_open(
                &mut out,
                store.0,
                rank,
                count,
                text.as_ptr(),
                is_interface,
                timeout,
            ))?;
        }
        Ok(Ring { raw: out, size })
    }

    /// Replaces a contiguous tensor in the host's memory by its sum over all processes.
    ///
    /// # Errors
    /// A process that does not come in time or is gone, and soon after `stop` becomes true.
    pub fn sum(&self, tensor: &mut Tensor, stop: &AtomicBool) -> Result<()> {
        self.ensure_host(tensor)?;
        // SAFETY: both handles and the flag are valid for the call. An operation that is given
        // up holds its own reference to the tensor.
        unsafe {
            check(unet3d_ring_sum(self.raw, tensor.as_mut_ptr(), stop.as_ptr()))
                .context("summing failed")
        }
    }

    /// Replaces a contiguous tensor in the host's memory by that of process `root`.
    ///
    /// # Errors
    /// As [`Ring::sum`].
    pub fn broadcast(&self, tensor: &mut Tensor, root: usize, stop: &AtomicBool) -> Result<()> {
        self.ensure_host(tensor)?;
        ensure!(root < self.size, "there is no rank {root}");
        let root = root as c_int;
        // SAFETY: as for the sum.
        unsafe {
            check(unet3d_ring_broadcast(self.raw, tensor.as_mut_ptr(), root, stop.as_ptr()))
                .context("sending failed")
        }
    }

    fn ensure_host(&self, tensor: &Tensor) -> Result<()> {
        ensure!(
            tensor.device() == Device::Cpu && tensor.is_contiguous(),
            "tensors are exchanged in the host's memory, without gaps"
        );
        Ok(())
    }
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2).max(1)
}
