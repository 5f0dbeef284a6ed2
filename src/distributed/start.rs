//! Starts the ranks of one machine, watches them, and ends all of them if one fails.

use std::env;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

use super::place::STARTED_BY;

/// How often the ranks are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long ranks have to end by themselves after another has failed.
const GRACE: Duration = Duration::from_secs(20);

/// The ranks that this process started; they end with it.
pub struct Ranks {
    children: Vec<Child>,
}

/// The exit code of a run whose ranks have said already why they ended.
#[derive(Debug, thiserror::Error)]
#[error("the ranks ended with exit code {0}")]
pub struct Ended(pub u8);

/// Exit code of a rank that leaves it to others to say why it ends: to another rank, or to
/// the program that started it.
pub const UNTOLD: u8 = 4;

/// What became of the ranks.
#[derive(Debug, Default)]
struct Ends {
    /// Exit codes of those that ended so.
    codes: Vec<u8>,
    /// The first that a signal ended, and the signal.
    killed: Option<(usize, i32)>,
    /// Those that did not end after another had failed.
    left: Vec<usize>,
}

impl Ranks {
    /// Starts this program anew `count` times with its own arguments and `more`, as the ranks
    /// of one run.
    ///
    /// # Errors
    /// A process or port that the system does not give.
    pub fn start(count: usize, more: &[String]) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .context("no port can be opened for the processes to meet")?;
        let port = listener.local_addr()?.port();
        let mut listener = Some(OwnedFd::from(listener));
        let mut ranks = Ranks { children: Vec::with_capacity(count) };
        let own = std::process::id().to_string();
        for rank in 0..count {
            let mut command = Command::new("/proc/self/exe");
            if let Some(name) = env::args_os().next() {
                command.arg0(name);
            }
            command.args(env::args_os().skip(1)).args(more);
            for (name, value) in [
                ("RANK", rank.to_string()),
                ("WORLD_SIZE", count.to_string()),
                ("LOCAL_RANK", rank.to_string()),
                ("LOCAL_WORLD_SIZE", count.to_string()),
                ("MASTER_ADDR", Ipv4Addr::LOCALHOST.to_string()),
                ("MASTER_PORT", port.to_string()),
                (STARTED_BY, own.clone()),
            ] {
                command.env(name, value);
            }
            // Rank 0 finds the socket that listens already as its standard input: no other
            // process can take the port in between.
            command.stdin(listener.take().map_or_else(Stdio::null, Stdio::from));
            // Signals of the terminal reach this process alone, which passes them on once.
            command.process_group(0);
            let child =
                command.spawn().with_context(|| format!("rank {rank} cannot be started"))?;
            ranks.children.push(child);
        }
        Ok(ranks)
    }

    /// Waits for all ranks to end; if one fails, those that do not end within seconds are
    /// killed. `stop` is passed on as a signal.
    ///
    /// # Errors
    /// A rank that a signal ended or that does not end, and [`Ended`] if ranks ended with
    /// another exit code than 0 and have said why.
    pub fn wait(mut self, stop: &AtomicBool) -> Result<()> {
        let mut ends = Ends { left: (0..self.children.len()).collect(), ..Ends::default() };
        let (mut stopped, mut failed_at) = (false, None);
        while !ends.left.is_empty() {
            for rank in std::mem::take(&mut ends.left) {
                let Some(status) = self.children[rank].try_wait()? else {
                    ends.left.push(rank);
                    continue;
                };
                match (status.code(), status.signal()) {
                    (Some(code), _) => ends.codes.push(u8::try_from(code).unwrap_or(1)),
                    (None, signal) => {
                        ends.killed = ends.killed.or(Some((rank, signal.unwrap_or(0))));
                    }
                }
                if !status.success() {
                    failed_at = failed_at.or(Some(Instant::now()));
                }
            }
            if failed_at.is_some_and(|at: Instant| at.elapsed() > GRACE) {
                break;
            }
            if stop.load(Ordering::Relaxed) && !stopped {
                stopped = true;
                for &rank in &ends.left {
                    signal(&self.children[rank], Signal::TERM);
                }
            }
            thread::sleep(LOOK);
        }
        drop(self);
        ends.conclude(stopped)
    }
}

impl Ends {
    /// What the run as a whole ended with. `stopped`: the ranks were asked to stop.
    fn conclude(&self, stopped: bool) -> Result<()> {
        const STAYS: &str = "The last checkpoint stays";
        let worst = |code: &u8| match *code {
            0 => 0,
            UNTOLD => 1,
            3 => 2,
            1 => 3,
            _ => 4,
        };
        let code = self.codes.iter().copied().max_by_key(worst).unwrap_or(0);
        let said = worst(&code) > 2;
        match (self.killed, &self.left[..]) {
            _ if said => Err(Ended(code).into()),
            // It had not begun to train.
            (Some((_, signal)), _) if stopped && signal == Signal::TERM.as_raw() => {
                Err(Ended(128 + signal as u8).into())
            }
            (Some((rank, signal)), _) => {
                let hint = match signal == Signal::KILL.as_raw() {
                    true => " (the system does so when memory runs out)",
                    false => "",
                };
                bail!(
                    "rank {rank} was ended by signal {signal}{hint}; the others ended, too. {STAYS}"
                )
            }
            (None, [rank, ..]) => {
                bail!("rank {rank} was stopped or hangs, and was killed; the others ended. {STAYS}")
            }
            (None, []) if code == UNTOLD => bail!("the ranks lost each other. {STAYS}"),
            (None, []) if code == 0 => Ok(()),
            (None, []) => Err(Ended(code).into()),
        }
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Those that have ended were waited for, and are not signalled again.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended meanwhile.
        let _ = kill_process(pid, signal);
    }
}

/// In a rank that this program started: has the system end it when the starter ends, however
/// that happens.
///
/// # Errors
/// A starter that is gone already.
pub fn die_with_parent() -> io::Result<()> {
    let Some(parent) = env::var(STARTED_BY).ok().and_then(|pid| pid.parse::<i32>().ok()) else {
        return Ok(());
    };
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before.
    match getppid() {
        Some(pid) if pid.as_raw_nonzero().get() == parent => Ok(()),
        _ => Err(io::Error::other("the process that started this rank is gone")),
    }
}
