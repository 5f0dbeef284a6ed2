//! The ranks of a run: meeting, summing, agreeing, and finding out who failed.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tch::{Device, Tensor};

use crate::ffi::group::{Address, Ring, Server, Store};

use super::failure::{
    Differs, FAILURE, Failed, LINGER, LOOK, State, beat, depart, diagnose, names,
};
use super::place::Place;

/// Bytes that are summed at once.
const BUCKET: usize = 32 << 20;
/// How long the store may take to answer when something is wrong.
const ANSWER: Duration = Duration::from_secs(10);
/// What every text in the store begins with: a key without a value would be none.
const PRESENT: &str = "=";
/// The key that counts the failures.
const FAILURES: &str = "failures";

/// The ranks of a run, as one of them sees them.
#[derive(Debug)]
pub struct Group {
    rank: usize,
    size: usize,
    timeout: Duration,
    watched: bool,
    /// Whether the store did not answer.
    gone: AtomicBool,
    /// `None` in a group of one.
    link: Option<Link>,
}

#[derive(Debug)]
struct Link {
    store: Arc<Store>,
    ring: Option<Ring>,
    state: Arc<State>,
}

impl Group {
    /// A group of this process alone.
    pub fn alone() -> Self {
        Group {
            rank: 0,
            size: 1,
            timeout: Duration::ZERO,
            watched: false,
            gone: AtomicBool::new(false),
            link: None,
        }
    }

    /// Meets the other ranks. Every operation on all ranks waits for them up to `timeout`.
    ///
    /// # Errors
    /// A port in use, a rank that does not come, ranks of different versions.
    pub fn meet(place: &Place, timeout: Duration) -> Result<Self> {
        let Place { rank, size, host, port, watched, .. } = place.clone();
        let store = Self::open_store(place, timeout)?;
        let link = Link { store: store.clone(), ring: None, state: Arc::default() };
        let gone = AtomicBool::new(false);
        let mut group = Group { rank, size, timeout, watched, gone, link: Some(link) };
        let connected = group.arrive().and_then(|state| {
            let (address, own) = (own_address(&host, port)?, store.clone());
            // A network that breaks while they connect would hold some calls up for longer.
            let opened = in_time(timeout.saturating_mul(2) + ANSWER, move || {
                Ring::open(&own, rank, size, &address, timeout)
            });
            let ring = opened
                .unwrap_or_else(|| Err(anyhow!("the other ranks cannot be connected to")))
                .map_err(|error| group.explain(error))?;
            Ok(Link { store, ring: Some(ring), state })
        });
        match connected {
            Ok(link) => group.link = Some(link),
            Err(error) => return Err(group.conclude(error)),
        }
        Ok(group)
    }

    /// The store at which the ranks meet, which rank 0 serves.
    fn open_store(place: &Place, timeout: Duration) -> Result<Arc<Store>> {
        let Place { rank, host, port, watched, .. } = place.clone();
        let server = match (rank, watched) {
            // The starter hands over a socket that listens.
            (0, true) => Server::Listening(0),
            (0, false) => Server::Own,
            _ => Server::Other,
        };
        let name = host.clone();
        let opened = in_time(timeout + ANSWER, move || Store::open(&name, port, server, timeout));
        let error = match opened {
            Some(Ok(store)) => return Ok(Arc::new(store)),
            Some(Err(error)) => format!("{error:#}"),
            None => "it does not answer".into(),
        };
        let cause = error.lines().next().unwrap_or_default();
        if rank > 0 {
            let message = format!(
                "rank {rank}: rank 0 cannot be reached at {host}:{port} within {} s (MASTER_ADDR \
                 and MASTER_PORT): {cause}",
                timeout.as_secs()
            );
            // The starter tells that rank 0 is gone.
            return Err(Failed { message, told: watched }.into());
        }
        bail!(
            "rank 0 cannot wait for the others at {host}:{port}: {cause}. If another program has \
             the port, set another MASTER_PORT for all ranks"
        )
    }

    /// Tells that this rank is there, and waits for the others.
    fn arrive(&self) -> Result<Arc<State>> {
        let rank = self.rank;
        if self.ask(move |store| store.add(&format!("place/{rank}"), 1))? > 1 {
            bail!("two processes say that they are rank {rank}");
        }
        let state = self.ask(move |store| beat(store, rank))?;
        self.agree("version", env!("CARGO_PKG_VERSION"), |rank, version, first| {
            format!("rank {rank} is version {version} of the program, and rank 0 is {first}")
        })?;
        Ok(state)
    }

    /// This rank, counted from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Number of ranks.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether this is rank 0, which writes files and lines of log.
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }

    /// Replaces numbers by their sums over all ranks.
    ///
    /// # Errors
    /// [`Failed`] if a rank is gone or does not come in time.
    pub fn sum_numbers(&self, numbers: &mut [f64]) -> Result<()> {
        if self.size == 1 {
            return Ok(());
        }
        let summed = self.sum(&Tensor::f_from_slice(numbers)?)?;
        let count = numbers.len();
        summed.f_copy_data(numbers, count)?;
        Ok(())
    }

    /// The sum of a tensor over all ranks, with its shape, type and device.
    ///
    /// # Errors
    /// As [`Group::sum_numbers`].
    pub fn sum(&self, tensor: &Tensor) -> Result<Tensor> {
        let mut sums = self.sum_all(std::slice::from_ref(tensor))?;
        sums.pop().context("a sum is missing")
    }

    /// The sums of many tensors of one type and device, which are exchanged in flat buffers.
    ///
    /// # Errors
    /// As [`Group::sum_numbers`].
    pub fn sum_all(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        if self.size == 1 {
            return Ok(tensors.iter().map(Tensor::shallow_clone).collect());
        }
        let mut sums = Vec::with_capacity(tensors.len());
        let mut rest = tensors;
        while let Some(first) = rest.first() {
            let mut bytes = 0;
            let next = rest.iter().skip(1).position(|tensor| {
                bytes += tensor.numel() * tensor.kind().elt_size_in_bytes();
                bytes > BUCKET
            });
            let (bucket, others) = rest.split_at(next.map_or(rest.len(), |next| next + 1));
            rest = others;
            let device = first.device();
            let mut flat = flatten(bucket)?;
            self.exchange(|ring, stop| ring.sum(&mut flat, stop))?;
            let sum = flat.f_to_device(device)?;
            let mut start = 0;
            for tensor in bucket {
                let length = tensor.numel() as i64;
                let part = sum.f_narrow(0, start, length)?.f_reshape(&tensor.size()[..])?;
                start += length;
                // In the order in memory that the tensor had.
                sums.push(match tensor.is_contiguous() {
                    true => part,
                    false => {
                        let mut sum = tensor.f_detach()?.f_empty_like()?;
                        sum.f_copy_(&part)?;
                        sum
                    }
                });
            }
        }
        Ok(sums)
    }

    /// One operation of all ranks.
    fn exchange(&self, operation: impl FnOnce(&Ring, &AtomicBool) -> Result<()>) -> Result<()> {
        let Some((ring, state)) = self.ring() else { return Ok(()) };
        let began = Instant::now();
        state.begun.fetch_add(1, Ordering::Relaxed);
        let done = operation(ring, &state.failed).map_err(|error| self.explain(error));
        state.spent.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        done
    }

    /// The time that this rank has spent in operations of all ranks, with waiting for others.
    pub fn spent(&self) -> Duration {
        let state = self.link.as_ref().map(|link| &link.state);
        Duration::from_nanos(state.map_or(0, |state| state.spent.load(Ordering::Relaxed)))
    }

    /// Replaces the tensors of every rank by those of rank 0.
    ///
    /// # Errors
    /// As [`Group::sum_numbers`].
    pub fn take_from_first(&self, tensors: &[Tensor]) -> Result<()> {
        if self.size == 1 {
            return Ok(());
        }
        for tensor in tensors {
            let mut flat = flatten(std::slice::from_ref(tensor))?;
            self.exchange(|ring, stop| ring.broadcast(&mut flat, 0, stop))?;
            if !self.is_first() {
                let mut into = tensor.f_detach()?;
                into.f_copy_(&flat.f_reshape(&tensor.size()[..])?)?;
            }
        }
        Ok(())
    }

    /// Waits until all ranks have come here.
    ///
    /// # Errors
    /// As [`Group::sum_numbers`].
    pub fn wait_for_all(&self) -> Result<()> {
        self.sum_numbers(&mut [0.0])
    }

    /// A text of rank 0 on every rank. `name` is used once in a run.
    ///
    /// # Errors
    /// As [`Group::sum_numbers`], and what `text` fails with on rank 0.
    pub fn text_of_first(
        &self,
        name: &str,
        text: impl FnOnce() -> Result<String>,
    ) -> Result<String> {
        if self.size == 1 {
            return text();
        }
        let key = format!("text/{name}");
        if self.is_first() {
            let text = text()?;
            let value = text.clone();
            self.ask(move |store| store.set(&key, &format!("{PRESENT}{value}")))?;
            return Ok(text);
        }
        let missing = |_| format!("rank 0 did not send its {name}");
        Ok(self.look_for(vec![(0, key)], missing)?.concat())
    }

    /// The texts of all ranks. `name` is used once in a run.
    ///
    /// # Errors
    /// As [`Group::sum_numbers`].
    pub fn texts(&self, name: &str, text: &str) -> Result<Vec<String>> {
        if self.size == 1 {
            return Ok(vec![text.to_string()]);
        }
        let key = |rank: usize| format!("{name}/{rank}");
        let (own, value) = (key(self.rank), format!("{PRESENT}{text}"));
        self.ask(move |store| store.set(&own, &value))?;
        let keys = (0..self.size).map(|rank| (rank, key(rank))).collect();
        self.look_for(keys, |ranks| {
            format!("{ranks} did not come within {} s (--rank-timeout)", self.timeout.as_secs())
        })
    }

    /// Checks that all ranks have the text of rank 0. `name` is used once in a run, and
    /// `differs` says what is wrong with a rank from its text and that of rank 0.
    ///
    /// # Errors
    /// Another text on a rank, and as [`Group::sum_numbers`].
    pub fn agree(
        &self,
        name: &str,
        text: &str,
        differs: impl Fn(usize, &str, &str) -> String,
    ) -> Result<()> {
        let texts = self.texts(name, text)?;
        match texts.iter().position(|other| *other != texts[0]) {
            Some(rank) => Err(Differs(differs(rank, &texts[rank], &texts[0])).into()),
            None => Ok(()),
        }
    }

    /// The values of keys, each of a rank, as soon as all are there.
    fn look_for(
        &self,
        keys: Vec<(usize, String)>,
        missing: impl Fn(String) -> String,
    ) -> Result<Vec<String>> {
        let timeout = self.timeout;
        let found = self.ask(move |store| {
            let started = Instant::now();
            let mut found: Vec<Option<String>> = vec![None; keys.len()];
            loop {
                let open = found.iter_mut().zip(&keys).filter(|(value, _)| value.is_none());
                for (value, (_, key)) in open {
                    *value = store.get(key)?;
                }
                if found.iter().all(Option::is_some) {
                    let values = found.into_iter().flatten();
                    let values = values.map(|value| value[PRESENT.len()..].to_string()).collect();
                    return Ok(Ok(values));
                }
                if let Some(message) = store.get(FAILURE)? {
                    return Err(Failed { message, told: true }.into());
                }
                if started.elapsed() > timeout {
                    let late = keys.iter().zip(&found).filter(|(_, value)| value.is_none());
                    return Ok(Err(late.map(|((rank, _), _)| *rank).collect::<Vec<_>>()));
                }
                thread::sleep(LOOK);
            }
        })?;
        found.map_err(|late| Failed { message: missing(names(&late)), told: false }.into())
    }

    /// Asks the store, which may not answer.
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(link) = &self.link else { bail!("a group of one has no store") };
        let store = link.store.clone();
        let answer = in_time(self.timeout + ANSWER, move || question(&store));
        answer.unwrap_or_else(|| Err(self.first_is_gone())).map_err(|error| {
            match error.is::<Failed>() {
                true => error,
                false => self.explain(error),
            }
        })
    }

    /// The error that this rank ends with after `error`: it names the rank, and says whether
    /// another rank prints it. The others are told. Nothing can be done with the group
    /// afterwards.
    pub fn conclude(&self, error: anyhow::Error) -> anyhow::Error {
        if self.size == 1 {
            return error;
        }
        let named = error.chain().any(|cause| cause.is::<Failed>() || cause.is::<Differs>());
        match self.fail(&error, named) {
            true if named => error,
            true => error.context(format!("rank {}", self.rank)),
            false => Failed { message: format!("{error:#}"), told: true }.into(),
        }
    }

    /// Tells the others what this rank ends with, and whether it was the first to tell. The
    /// rank that is the cause may be `named` in the error already.
    fn fail(&self, error: &anyhow::Error, named: bool) -> bool {
        let Some(link) = &self.link else { return true };
        if self.gone.load(Ordering::Relaxed) {
            // The starter tells which rank is gone.
            return !self.watched;
        }
        let (store, rank, size) = (link.store.clone(), self.rank, self.size);
        let message = if named { format!("{error:#}") } else { format!("rank {rank}: {error:#}") };
        let first = in_time(ANSWER + LINGER, move || -> Result<bool> {
            let first = store.add(FAILURES, 1)? == 1;
            if first {
                store.set(FAILURE, &message)?;
            }
            depart(&store, rank, size)?;
            Ok(first)
        });
        first.and_then(Result::ok).unwrap_or(!self.watched)
    }

    /// Tells rank 0 that this rank needs the store no longer.
    fn leave(&self) {
        if let Some(link) = &self.link {
            let (store, rank, size) = (link.store.clone(), self.rank, self.size);
            let _ = in_time(ANSWER, move || depart(&store, rank, size));
        }
    }

    /// Ends the group after all ranks have done their work: the store, which rank 0 serves, is
    /// there until nobody needs it.
    ///
    /// # Errors
    /// As [`Group::sum_numbers`].
    pub fn end(&self) -> Result<()> {
        self.wait_for_all()?;
        self.leave();
        Ok(())
    }

    fn ring(&self) -> Option<(&Ring, &State)> {
        let link = self.link.as_ref()?;
        Some((link.ring.as_ref()?, &link.state))
    }

    /// What an operation on all ranks failed of: the rank that is the cause, if it can be told.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let Some(link) = &self.link else { return error };
        let (store, size, own) = (link.store.clone(), self.size, self.rank);
        let (waited, watched) = (self.timeout.as_secs(), self.watched);
        let found = in_time(ANSWER, move || diagnose(&store, (size, own), waited, watched));
        match found {
            Some(Ok(Some(failed))) => failed.into(),
            Some(Ok(None)) => {
                error.context("the connection to the other ranks broke, though all of them live")
            }
            Some(Err(_)) | None => self.first_is_gone(),
        }
    }

    /// The error of a store that does not answer.
    fn first_is_gone(&self) -> anyhow::Error {
        let message = match self.rank {
            0 => "the ranks cannot reach each other any more".to_string(),
            _ => "rank 0 died, was stopped or cannot be reached".to_string(),
        };
        self.gone.store(true, Ordering::Relaxed);
        Failed { message, told: self.watched }.into()
    }
}

/// The numbers of tensors of one type and device one after the other, in the order of their
/// indices, in the host's memory.
fn flatten(tensors: &[Tensor]) -> Result<Tensor> {
    let length: usize = tensors.iter().map(Tensor::numel).sum();
    let (kind, device) = match tensors.first() {
        Some(first) => (first.f_kind()?, first.device()),
        None => bail!("there is nothing to exchange"),
    };
    let flat = Tensor::f_empty([length as i64], (kind, device))?;
    let mut start = 0;
    for tensor in tensors {
        let length = tensor.numel() as i64;
        let mut part = flat.f_narrow(0, start, length)?.f_reshape(&tensor.size()[..])?;
        part.f_copy_(&tensor.f_detach()?)?;
        start += length;
    }
    Ok(flat.f_to_device(Device::Cpu)?)
}

/// The result of `work`, if it comes in time: calls of the store wait for an answer that may
/// never come.
fn in_time<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = channel();
    thread::spawn(move || done.send(work()));
    result.recv_timeout(limit).ok()
}

/// How the others reach this machine: by the address that leads to rank 0, or by the network
/// interface that `GLOO_SOCKET_IFNAME` names, as for PyTorch.
fn own_address(host: &str, port: u16) -> Result<Address> {
    if let Ok(name) = std::env::var("GLOO_SOCKET_IFNAME")
        && !name.is_empty()
    {
        return Ok(Address::Interface(name));
    }
    let route = || -> std::io::Result<String> {
        // Nothing is sent: the system says which of its addresses it would send from.
        let socket = match UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
            socket.connect((host, port))?;
            Ok(socket)
        }) {
            Ok(socket) => socket,
            Err(_) => {
                let socket = UdpSocket::bind("[::]:0")?;
                socket.connect((host, port))?;
                socket
            }
        };
        Ok(socket.local_addr()?.ip().to_string())
    };
    let found = route().with_context(|| format!("{host}: no network leads there"))?;
    Ok(Address::Host(found))
}
