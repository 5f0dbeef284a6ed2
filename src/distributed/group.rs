//! The ranks of a run: meeting, summing, agreeing, and finding out who failed.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tch::{Device, TchError, Tensor};

use crate::ffi::group::{Address, Ring, Server, Store};

use super::place::Place;

/// Bytes that are summed at once.
const BUCKET: usize = 32 << 20;
/// How often a key of the store is looked for.
const LOOK: Duration = Duration::from_millis(10);
/// How often a rank tells that it lives.
const BEAT: Duration = Duration::from_millis(500);
/// A rank that tells nothing for so long is taken for dead.
const SILENCE: Duration = Duration::from_secs(3);
/// How long the store may take to answer when something is wrong.
const ANSWER: Duration = Duration::from_secs(10);
/// How long rank 0 keeps the store open after a failure.
const LINGER: Duration = Duration::from_secs(5);

/// The key under which the first failure stands, and its counter.
const FAILURE: &str = "failure";
const FAILURES: &str = "failures";

/// The ranks of a run, as one of them sees them.
#[derive(Debug)]
pub struct Group {
    rank: usize,
    size: usize,
    timeout: Duration,
    watched: bool,
    /// `None` in a group of one.
    link: Option<Link>,
}

#[derive(Debug)]
struct Link {
    store: Arc<Store>,
    ring: Option<Ring>,
    state: Arc<State>,
}

/// What a rank and its heartbeat share.
#[derive(Debug, Default)]
struct State {
    /// Operations on all ranks that this one has begun.
    begun: AtomicU64,
    /// Whether a rank told that it failed.
    failed: AtomicBool,
}

/// Another rank is the cause that this one ends.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failed {
    message: String,
    /// Whether somebody else prints the message.
    pub told: bool,
}

impl Group {
    /// A group of this process alone.
    pub fn alone() -> Self {
        Group { rank: 0, size: 1, timeout: Duration::ZERO, watched: false, link: None }
    }

    /// Meets the other ranks. Every operation on all ranks waits for them up to `timeout`.
    ///
    /// # Errors
    /// A port in use, a rank that does not come, ranks of different versions.
    pub fn meet(place: &Place, timeout: Duration) -> Result<Self> {
        let Place { rank, size, host, port, watched, .. } = place;
        let server = match (rank, watched) {
            // The starter hands over a socket that listens.
            (0, true) => Server::Listening(0),
            (0, false) => Server::Own,
            _ => Server::Other,
        };
        let store = Store::open(host, *port, server, timeout).map_err(|error| {
            let text = format!("{error:#}");
            if *rank > 0 {
                return anyhow!(
                    "rank 0 cannot be reached at {host}:{port} within {} s (MASTER_ADDR and \
                     MASTER_PORT): {}",
                    timeout.as_secs(),
                    first_line(&text)
                );
            }
            anyhow!(
                "rank 0 cannot wait for the others at {host}:{port}: {}. If another program has the \
                 port, set another MASTER_PORT for all ranks",
                first_line(&text)
            )
        })?;
        let store = Arc::new(store);
        let mut group = Group {
            rank: *rank,
            size: *size,
            timeout,
            watched: *watched,
            link: Some(Link { store: store.clone(), ring: None, state: Arc::default() }),
        };
        match group.connect(host, *port) {
            Ok((ring, state)) => {
                group.link = Some(Link { store, ring: Some(ring), state });
                Ok(group)
            }
            Err(error) => Err(group.conclude(error)),
        }
    }

    /// Meets the others at the store, and connects to each.
    fn connect(&self, host: &str, port: u16) -> Result<(Ring, Arc<State>)> {
        let Some(Link { store, .. }) = &self.link else { bail!("a group of one has no store") };
        self.arrive(store)?;
        let address = own_address(host, port)?;
        let state = self.beat(store)?;
        let ring = Ring::open(store, self.rank, self.size, &address, self.timeout)
            .map_err(|error| self.explain(error))?;
        Ok((ring, state))
    }

    /// Tells that this rank is there, and waits for the others.
    fn arrive(&self, store: &Store) -> Result<()> {
        if store.add(&format!("place/{}", self.rank), 1)? > 1 {
            bail!("two processes say that they are rank {}", self.rank);
        }
        self.agree("version", env!("CARGO_PKG_VERSION"), |rank| {
            format!("rank {rank} is another version of the program than rank 0")
        })
    }

    /// Starts a thread that tells the others that this rank lives, and how far it is, and looks
    /// whether one of them failed.
    fn beat(&self, store: &Store) -> Result<Arc<State>> {
        let own = store.connect_again()?;
        let state = Arc::new(State::default());
        let (shared, key) = (state.clone(), format!("beat/{}", self.rank));
        thread::Builder::new().name("heartbeat".into()).spawn(move || {
            for beat in 0u64.. {
                let text = format!("{beat} {}", shared.begun.load(Ordering::Relaxed));
                // Without a store there is nobody to tell.
                let Ok(failure) = own.set(&key, &text).and_then(|()| own.get(FAILURE)) else {
                    return;
                };
                if failure.is_some() {
                    shared.failed.store(true, Ordering::Relaxed);
                }
                thread::sleep(BEAT);
            }
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
        let Some((ring, state)) = self.ring() else { return Ok(tensor.shallow_clone()) };
        let (device, size) = (tensor.device(), tensor.size());
        // A copy of its own, in the order of the indices.
        let mut flat = Tensor::f_empty([tensor.numel() as i64], (tensor.f_kind()?, Device::Cpu))?;
        flat.f_copy_(&tensor.f_detach()?.f_reshape([-1])?)?;
        state.begun.fetch_add(1, Ordering::Relaxed);
        ring.sum(&mut flat, &state.failed).map_err(|error| self.explain(error))?;
        Ok(flat.f_reshape(&size[..])?.f_to_device(device)?)
    }

    /// The sums of many tensors of one type and device, in flat buffers.
    ///
    /// # Errors
    /// As [`Group::sum_numbers`].
    pub fn sum_all(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        let mut sums = Vec::with_capacity(tensors.len());
        let mut rest = tensors;
        while !rest.is_empty() {
            let mut bytes = 0;
            let next = rest.iter().skip(1).position(|tensor| {
                bytes += tensor.numel() * tensor.kind().elt_size_in_bytes();
                bytes > BUCKET
            });
            let (bucket, others) = rest.split_at(next.map_or(rest.len(), |next| next + 1));
            rest = others;
            let flat = bucket
                .iter()
                .map(|tensor| tensor.f_detach()?.f_reshape([-1]))
                .collect::<Result<Vec<_>, TchError>>()?;
            let sum = self.sum(&Tensor::f_cat(&flat, 0)?)?;
            let mut start = 0;
            for tensor in bucket {
                let length = tensor.numel() as i64;
                sums.push(sum.f_narrow(0, start, length)?.f_reshape(&tensor.size()[..])?);
                start += length;
            }
        }
        Ok(sums)
    }

    /// Replaces the tensors of every rank by those of rank 0.
    ///
    /// # Errors
    /// As [`Group::sum_numbers`].
    pub fn take_from_first(&self, tensors: &[Tensor]) -> Result<()> {
        let Some((ring, state)) = self.ring() else { return Ok(()) };
        for tensor in tensors {
            let mut flat =
                Tensor::f_empty([tensor.numel() as i64], (tensor.f_kind()?, Device::Cpu))?;
            flat.f_copy_(&tensor.f_detach()?.f_reshape([-1])?)?;
            state.begun.fetch_add(1, Ordering::Relaxed);
            ring.broadcast(&mut flat, 0, &state.failed).map_err(|error| self.explain(error))?;
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
        let Some(link) = &self.link else { return text() };
        let key = format!("text/{name}");
        if self.is_first() {
            let text = text()?;
            // A key without a value would be none.
            link.store.set(&key, &format!("={text}"))?;
            return Ok(text);
        }
        let found =
            self.look_for(&link.store, &[(0, key)], |_| format!("rank 0 did not send its {name}"))?;
        Ok(found.concat().trim_start_matches('=').to_string())
    }

    /// Checks that all ranks have the text of rank 0. `name` is used once in a run, and
    /// `differs` says what is wrong with a rank.
    ///
    /// # Errors
    /// Another text on a rank, and as [`Group::sum_numbers`].
    pub fn agree(&self, name: &str, text: &str, differs: impl Fn(usize) -> String) -> Result<()> {
        let Some(link) = &self.link else { return Ok(()) };
        let key = |rank: usize| format!("{name}/{rank}");
        link.store.set(&key(self.rank), &format!("={text}"))?;
        let keys: Vec<_> = (0..self.size).map(|rank| (rank, key(rank))).collect();
        let texts = self.look_for(&link.store, &keys, |ranks| {
            format!("{ranks} did not come within {} s (--rank-timeout)", self.timeout.as_secs())
        })?;
        match texts.iter().position(|other| *other != texts[0]) {
            Some(rank) => bail!(differs(rank)),
            None => Ok(()),
        }
    }

    /// The values of keys, each of a rank, as soon as all are there.
    fn look_for(
        &self,
        store: &Store,
        keys: &[(usize, String)],
        missing: impl Fn(String) -> String,
    ) -> Result<Vec<String>> {
        let started = Instant::now();
        let mut found: Vec<Option<String>> = vec![None; keys.len()];
        loop {
            for (value, (_, key)) in found.iter_mut().zip(keys).filter(|(value, _)| value.is_none())
            {
                *value = store.get(key).map_err(|error| self.explain(error))?;
            }
            if found.iter().all(Option::is_some) {
                return Ok(found.into_iter().flatten().collect());
            }
            if let Some(message) = store.get(FAILURE).map_err(|error| self.explain(error))? {
                return Err(Failed { message, told: true }.into());
            }
            if started.elapsed() > self.timeout {
                let late = keys.iter().zip(&found).filter(|(_, value)| value.is_none());
                let ranks: Vec<_> = late.map(|((rank, _), _)| *rank).collect();
                bail!(missing(names(&ranks)));
            }
            thread::sleep(LOOK);
        }
    }

    /// The error that this rank ends with after `error`: it names the rank, and says whether
    /// another rank prints it. The others are told. Nothing can be done with the group
    /// afterwards.
    pub fn conclude(&self, error: anyhow::Error) -> anyhow::Error {
        if self.size == 1 {
            return error;
        }
        let is_other = error.chain().any(|cause| cause.is::<Failed>());
        match self.fail(&error) {
            true if is_other => error,
            true => error.context(format!("rank {}", self.rank)),
            false => Failed { message: format!("{error:#}"), told: true }.into(),
        }
    }

    /// Tells the others what this rank ends with, unless one of them is the cause, and whether
    /// this rank is to print it.
    fn fail(&self, error: &anyhow::Error) -> bool {
        let Some(link) = &self.link else { return true };
        if error.chain().any(|cause| cause.downcast_ref::<Failed>().is_some_and(|it| it.told)) {
            return self.leave();
        }
        let (store, rank, size) = (link.store.clone(), self.rank, self.size);
        let message = format!("rank {rank}: {error:#}");
        let told = in_time(ANSWER + LINGER, move || -> Result<bool> {
            let is_cause = store.add(FAILURES, 1)? == 1;
            if is_cause {
                store.set(FAILURE, &message)?;
            }
            depart(&store, rank, size)?;
            Ok(is_cause)
        });
        // Without a store, the starter tells which rank is gone.
        told.unwrap_or(!self.watched)
    }

    /// Tells rank 0 that this rank needs the store no longer; always false.
    fn leave(&self) -> bool {
        if let Some(link) = &self.link {
            let (store, rank, size) = (link.store.clone(), self.rank, self.size);
            let _ = in_time(ANSWER, move || depart(&store, rank, size));
        }
        false
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
        let waited = self.timeout.as_secs();
        match in_time(ANSWER, move || diagnose(&store, size, own, waited)) {
            Some(Some(failed)) => failed.into(),
            Some(None) => {
                error.context("the connection to the other ranks broke, though all of them live")
            }
            None => Failed {
                message: "rank 0, which the others meet at, is gone or does not answer".into(),
                told: self.watched,
            }
            .into(),
        }
    }
}

/// Tells that this rank needs the store no longer. Rank 0, with which it ends, waits for the
/// others.
fn depart(store: &Store, rank: usize, size: usize) -> Result<()> {
    const LEFT: &str = "left";
    if rank > 0 {
        store.add(LEFT, 1)?;
        return Ok(());
    }
    let started = Instant::now();
    while store.add(LEFT, 0)? < size as i64 - 1 && started.elapsed() < LINGER {
        thread::sleep(LOOK);
    }
    Ok(())
}

/// Which rank is the cause that an operation on all ranks failed.
fn diagnose(store: &Store, size: usize, own: usize, waited: u64) -> Result<Option<Failed>> {
    let beats = || -> Result<Vec<Option<(u64, u64)>>> {
        let beat = |rank: usize| -> Result<Option<(u64, u64)>> {
            let text = store.get(&format!("beat/{rank}"))?.unwrap_or_default();
            let mut numbers = text.split(' ').map(str::parse);
            Ok(match (numbers.next(), numbers.next()) {
                (Some(Ok(beat)), Some(Ok(begun))) => Some((beat, begun)),
                _ => None,
            })
        };
        (0..size).map(beat).collect()
    };
    let (before, started) = (beats()?, Instant::now());
    while started.elapsed() < SILENCE {
        // A rank that failed says so.
        if let Some(message) = store.get(FAILURE)? {
            return Ok(Some(Failed { message, told: true }));
        }
        thread::sleep(LOOK);
    }
    let now = beats()?;
    let others = |is_cause: &dyn Fn(usize) -> bool| -> Vec<usize> {
        (0..size).filter(|&rank| rank != own && is_cause(rank)).collect()
    };
    // The count of beats moves, whatever the rank does.
    let beat = |at: Option<(u64, u64)>| at.map(|(beat, _)| beat);
    let dead = others(&|rank| beat(before[rank]) == beat(now[rank]));
    let message = if !dead.is_empty() {
        format!("{} died, or was stopped, or its machine cannot be reached", names(&dead))
    } else {
        let begun = |rank: usize| now[rank].map_or(0, |(_, begun)| begun);
        let late = others(&|rank| begun(rank) < begun(own));
        if late.is_empty() {
            return Ok(None);
        }
        format!("{} did not come within {waited} s (--rank-timeout)", names(&late))
    };
    Ok(Some(Failed { message, told: false }))
}

/// `rank 1` or `ranks 1, 3`.
fn names(ranks: &[usize]) -> String {
    let list: Vec<_> = ranks.iter().map(usize::to_string).collect();
    format!("rank{} {}", if ranks.len() == 1 { "" } else { "s" }, list.join(", "))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The result of `work`, if it comes in time and is none of a failure.
fn in_time<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Option<T> {
    let (done, result) = channel();
    thread::spawn(move || done.send(work()));
    match result.recv_timeout(limit) {
        Ok(result) => result.ok(),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
    }
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
