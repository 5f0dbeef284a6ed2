//! Messages: lines with date and time on stdout, progress bars on terminals only.

use std::io::{self, IsTerminal, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use log::LevelFilter;

/// Writes messages and progress bars; cheap to clone.
#[derive(Clone, Debug)]
pub struct Reporter {
    bars: MultiProgress,
}

/// Writes log lines to stdout without damaging the progress bars.
struct Lines(MultiProgress);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A closed pipe or full disk behind stdout must not end a training run.
        self.0.suspend(|| {
            let mut out = io::stdout().lock();
            let _ = out.write_all(line).and_then(|()| out.flush());
        });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Reporter {
    /// Sets up logging for the whole program; to be called once.
    pub fn start(level: LevelFilter) -> Self {
        Self::start_rank(level, 0)
    }

    /// As [`Reporter::start`], in one of several processes that train together: all but the
    /// first tell of warnings and errors only, with their rank.
    pub fn start_rank(level: LevelFilter, rank: usize) -> Self {
        let level = if rank > 0 { level.min(LevelFilter::Warn) } else { level };
        let prefix = if rank > 0 { format!("rank {rank}: ") } else { String::new() };
        let bars = MultiProgress::new();
        if !io::stdout().is_terminal() {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        let lines = Box::new(Lines(bars.clone()));
        env_logger::Builder::new()
            .filter_level(level)
            .target(env_logger::Target::Pipe(lines))
            .format(move |out, record| {
                let (time, level) = (out.timestamp_seconds(), record.level());
                writeln!(out, "{time} {level:5} {prefix}{}", record.args())
            })
            .init();
        Reporter { bars }
    }

    /// A reporter that shows nothing, for programs that use the library.
    pub fn silent() -> Self {
        Reporter { bars: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()) }
    }

    /// Whether stdout is a terminal: then bars are drawn, and fewer lines are needed.
    pub fn is_terminal(&self) -> bool {
        !self.bars.is_hidden()
    }

    /// A progress bar over `length` steps with rate and remaining time; hidden unless on a
    /// terminal.
    pub fn bar(&self, length: u64, what: &str) -> ProgressBar {
        let style = ProgressStyle::with_template(
            "{prefix} [{bar:30}] {pos}/{len} {per_sec} ETA {eta} {msg}",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
        let bar = self.bars.add(ProgressBar::new(length)).with_style(style);
        bar.set_prefix(what.to_string());
        bar
    }
}

/// Prints the error of a failed run to stderr, and to the log if stdout goes to another place.
pub fn fail(message: &str) {
    // A closed stderr must not cause a panic.
    let _ = writeln!(io::stderr(), "error: {message}");
    let same = match (same_file::Handle::stdout(), same_file::Handle::stderr()) {
        (Ok(out), Ok(err)) => out == err,
        _ => false,
    };
    if !same && !io::stdout().is_terminal() {
        log::error!("{message}");
    }
}

/// Prints the result of a command. A reader that has seen enough, as `head`, is no error.
///
/// # Errors
/// A full disk, or another fault of what stands behind stdout.
pub fn print(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// The message of a panic, for use in an error.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text.to_string()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "unknown cause".to_string()
    }
}
