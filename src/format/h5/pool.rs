//! Threads that compress chunks and hand them to HDF5.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use libdeflater::{CompressionLvl, Compressor};

use super::checksum::Checksum;
use crate::ffi;

/// A chunk on its way to the file.
pub(super) struct PendingChunk {
    pub dataset: Arc<hdf5::Dataset>,
    /// Name of the data set.
    pub name: Arc<str>,
    /// Of the file.
    pub checksum: Checksum,
    /// Its first voxel along each axis of the data set.
    pub offset: Vec<u64>,
    /// Voxels as they stand in the file, before any filter.
    pub bytes: Vec<u8>,
    /// Bytes of a voxel.
    pub element: usize,
    /// Of the compression, 1 to 12.
    pub level: u8,
}

/// The threads and their queue, which is bounded in bytes.
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// A job was added, or there will be no more.
    added: Condvar,
    /// A job was finished.
    finished: Condvar,
    limit: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<PendingChunk>,
    /// Bytes that wait or are being compressed.
    bytes: usize,
    error: Option<anyhow::Error>,
    failed: bool,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Pool {
    /// Starts `threads` threads; at most `limit` bytes are under way.
    ///
    /// # Errors
    /// If the system has no room for a single thread.
    pub fn new(threads: usize, limit: usize) -> Result<Pool> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            added: Condvar::new(),
            finished: Condvar::new(),
            limit,
        });
        let mut pool = Pool { shared, workers: Vec::new() };
        for number in 0..threads.max(1) {
            let shared = pool.shared.clone();
            let thread = thread::Builder::new().name(format!("writer-{number}"));
            match thread.spawn(move || work(&shared)) {
                Ok(worker) => pool.workers.push(worker),
                Err(error) if number == 0 => {
                    return Err(error).context("no thread can be started for writing");
                }
                // The others do the work.
                Err(_) => break,
            }
        }
        Ok(pool)
    }

    /// Adds a chunk, waiting while too many are under way. Fails with the first
    /// error of any chunk.
    pub fn push(&self, job: PendingChunk) -> Result<()> {
        let mut state = self.shared.lock();
        // One chunk is always taken, however large.
        while state.bytes > 0 && state.bytes + job.bytes.len() > self.shared.limit && !state.failed
        {
            state = self.shared.finished.wait(state).unwrap_or_else(|p| p.into_inner());
        }
        if state.failed {
            return Err(take_error(&mut state));
        }
        state.bytes += job.bytes.len();
        state.jobs.push_back(job);
        drop(state);
        self.shared.added.notify_one();
        Ok(())
    }

    /// Waits until every chunk is written.
    pub fn drain(&self) -> Result<()> {
        let mut state = self.shared.lock();
        while state.bytes > 0 && !state.failed {
            state = self.shared.finished.wait(state).unwrap_or_else(|p| p.into_inner());
        }
        if state.failed { Err(take_error(&mut state)) } else { Ok(()) }
    }
}

fn take_error(state: &mut State) -> anyhow::Error {
    state.error.take().unwrap_or_else(|| anyhow!("writing failed before"))
}

impl Drop for Pool {
    /// Ends the threads; chunks that still wait are dropped.
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.closed = true;
            state.jobs.clear();
        }
        self.shared.added.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

fn work(shared: &Shared) {
    let mut scratch = Scratch::default();
    loop {
        let job = {
            let mut state = shared.lock();
            loop {
                if state.closed || state.failed {
                    return;
                }
                match state.jobs.pop_front() {
                    Some(job) => break job,
                    None => {
                        state = shared.added.wait(state).unwrap_or_else(|p| p.into_inner());
                    }
                }
            }
        };
        let result = catch_unwind(AssertUnwindSafe(|| scratch.write(&job)))
            .unwrap_or_else(|_| Err(anyhow!("a writer thread panicked")));
        let mut state = shared.lock();
        state.bytes -= job.bytes.len();
        if let Err(error) = result {
            state.error.get_or_insert(error);
            state.failed = true;
            state.jobs.clear();
        }
        drop(state);
        shared.finished.notify_all();
        shared.added.notify_all();
    }
}

/// Buffers and the compressor that one thread uses again for every chunk.
#[derive(Default)]
struct Scratch {
    shuffled: Vec<u8>,
    deflated: Vec<u8>,
    compressor: Option<(u8, Compressor)>,
}

impl Scratch {
    fn write(&mut self, job: &PendingChunk) -> Result<()> {
        self.shuffled.resize(job.bytes.len(), 0);
        shuffle(&job.bytes, &mut self.shuffled, job.element);
        let compressor = self.compressor(job.level)?;
        let bound = compressor.zlib_compress_bound(job.bytes.len());
        self.deflated.resize(bound, 0);
        let (_, compressor) = self.compressor.as_mut().expect("made above");
        let size = compressor
            .zlib_compress(&self.shuffled, &mut self.deflated)
            .map_err(|error| anyhow!("a chunk cannot be compressed: {error}"))?;
        // Noise is stored as it is, with both filters marked as left out.
        let (mask, bytes) = if size < job.bytes.len() {
            (0, &self.deflated[..size])
        } else {
            (0b11, job.bytes.as_slice())
        };
        ffi::hdf5::write_chunk(&job.dataset, &job.offset, mask, bytes)?;
        job.checksum.add(&job.name, &job.offset, mask, bytes);
        Ok(())
    }

    fn compressor(&mut self, level: u8) -> Result<&mut Compressor> {
        if self.compressor.as_ref().is_none_or(|(known, _)| *known != level) {
            let parsed = CompressionLvl::new(level.into())
                .map_err(|_| anyhow!("there is no compression level {level}"))?;
            self.compressor = Some((level, Compressor::new(parsed)));
        }
        Ok(&mut self.compressor.as_mut().expect("set above").1)
    }
}

/// HDF5's shuffle filter: first bytes of all numbers, then second bytes, …
fn shuffle(plain: &[u8], shuffled: &mut [u8], size: usize) {
    fn by<const N: usize>(plain: &[u8], shuffled: &mut [u8]) {
        let (numbers, _) = plain.as_chunks::<N>();
        for (k, plane) in shuffled.chunks_exact_mut(numbers.len()).enumerate() {
            for (byte, number) in plane.iter_mut().zip(numbers) {
                *byte = number[k];
            }
        }
    }
    match size {
        2 => by::<2>(plain, shuffled),
        4 => by::<4>(plain, shuffled),
        8 => by::<8>(plain, shuffled),
        _ => shuffled.copy_from_slice(plain),
    }
}
