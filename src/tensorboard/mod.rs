//! Event files for TensorBoard: scalars, histograms and images under tags.
//!
//! [`EventWriter`] takes values and returns at once; its own thread bins, encodes and writes
//! them. Logging must never stop a training run: if the disk is full, the writer warns once and
//! writes nothing more. If its file was removed, it says so and goes on in a new one.

mod event;
mod histogram;
mod record;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use event::Content;

/// Length of the queue to the thread; when it is full, logging blocks.
const QUEUE: usize = 64;

/// A slice of a volume to be shown, row by row.
#[derive(Clone, Debug)]
pub struct Image {
    pub height: usize,
    pub width: usize,
    /// `height * width` values, scaled from the smallest (black) to the largest (white).
    pub pixels: Vec<f32>,
}

/// Writes one event file; dropping it finishes the file.
#[derive(Debug)]
pub struct EventWriter {
    queue: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    EventValue(Record),
    /// Replied to when everything before it is in the file.
    Flush(Sender<()>),
}

struct Record {
    tag: String,
    step: u64,
    time: f64,
    value: EventValue,
}

enum EventValue {
    Scalar(f64),
    Histogram(Vec<f32>),
    Image(Image),
}

impl EventWriter {
    /// Opens `directory/events.out.tfevents.<seconds>.<host>` and creates the folder if needed.
    /// Errors are warnings, here and later.
    pub fn open(directory: &Path) -> EventWriter {
        let (queue, messages) = sync_channel(QUEUE);
        let mut log = Log::open(directory);
        let thread = std::thread::Builder::new().name("tensorboard".into());
        match thread.spawn(move || log.serve(&messages)) {
            Ok(thread) => EventWriter { queue: Some(queue), thread: Some(thread) },
            Err(error) => {
                log::warn!("TensorBoard logs are not written: no thread for them ({error})");
                EventWriter { queue: None, thread: None }
            }
        }
    }

    /// A writer that writes nothing.
    pub fn nowhere() -> EventWriter {
        EventWriter { queue: None, thread: None }
    }

    pub fn scalar(&self, tag: &str, value: f64, step: u64) {
        self.send(tag, step, EventValue::Scalar(value));
    }

    /// The distribution of the values; nothing is logged if none is finite.
    pub fn histogram(&self, tag: &str, values: Vec<f32>, step: u64) {
        self.send(tag, step, EventValue::Histogram(values));
    }

    pub fn image(&self, tag: &str, image: Image, step: u64) {
        self.send(tag, step, EventValue::Image(image));
    }

    /// Blocks until everything logged so far is in the file.
    pub fn flush(&self) {
        let (done, wait) = channel();
        if let Some(queue) = &self.queue
            && queue.send(Message::Flush(done)).is_ok()
        {
            // An error means that the thread has ended, so nothing is pending.
            let _ = wait.recv();
        }
    }

    fn send(&self, tag: &str, step: u64, value: EventValue) {
        if let Some(queue) = &self.queue {
            let record = Record { tag: tag.to_string(), step, time: now(), value };
            let _ = queue.send(Message::EventValue(record));
        }
    }
}

impl Drop for EventWriter {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The file; `None` after an error.
struct Log {
    directory: PathBuf,
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Log {
    fn open(directory: &Path) -> Log {
        let mut log =
            Log { directory: directory.to_path_buf(), path: directory.to_path_buf(), file: None };
        log.begin();
        log
    }

    /// Begins a new file.
    fn begin(&mut self) {
        let seconds = now() as u64;
        let name = format!("events.out.tfevents.{seconds:010}.{}", host());
        self.path = self.directory.join(&name);
        let opened =
            fs::create_dir_all(&self.directory).and_then(|()| create(&self.directory, &name));
        match opened {
            Ok((path, file)) => {
                self.path = path;
                self.file = Some(BufWriter::with_capacity(1 << 16, file));
                let version = event::version(now());
                self.attempt(|file| record::write(file, &version));
                self.attempt(BufWriter::flush);
            }
            Err(error) => self.give_up(&error),
        }
    }

    /// Begins a new file if the one that is open is out of everybody's reach.
    fn renew(&mut self) {
        let Some(file) = &self.file else { return };
        let is_there = match (fs::metadata(&self.path), file.get_ref().metadata()) {
            (Ok(there), Ok(open)) => (there.dev(), there.ino()) == (open.dev(), open.ino()),
            (Err(error), _) => error.kind() != io::ErrorKind::NotFound,
            _ => true,
        };
        if is_there {
            return;
        }
        let lost = self.path.clone();
        self.begin();
        if self.file.is_some() {
            log::warn!(
                "{}: TensorBoard's file is not there any more, and what it held is missing from \
                 the log, which goes on in {}",
                lost.display(),
                self.path.display()
            );
        }
    }

    fn serve(&mut self, messages: &Receiver<Message>) {
        let mut next = messages.recv().ok();
        while let Some(message) = next {
            self.renew();
            match message {
                Message::EventValue(record) => self.value(record),
                Message::Flush(done) => {
                    self.attempt(BufWriter::flush);
                    let _ = done.send(());
                }
            }
            next = messages.try_recv().ok();
            if next.is_none() {
                // The queue is empty: flushes the file, so that readers see the events.
                self.attempt(BufWriter::flush);
                next = messages.recv().ok();
            }
        }
        self.attempt(BufWriter::flush);
    }

    fn value(&mut self, record: Record) {
        if self.file.is_none() {
            return;
        }
        let Record { tag, step, time, value } = record;
        let content = match value {
            EventValue::Scalar(value) => Some(Content::Scalar(value as f32)),
            EventValue::Histogram(values) => histogram::histogram(&values).map(Content::Histogram),
            EventValue::Image(image) => match event::image(&image) {
                Ok(image) => Some(Content::Image(image)),
                Err(error) => {
                    log::warn!("the image `{tag}` is not logged: {error}");
                    None
                }
            },
        };
        if let Some(content) = content {
            let bytes = event::value(tag, step, time, content);
            self.attempt(|file| record::write(file, &bytes));
        }
    }

    fn attempt(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) {
        if let Some(file) = &mut self.file
            && let Err(error) = write(file)
        {
            self.give_up(&error);
        }
    }

    fn give_up(&mut self, error: &io::Error) {
        log::warn!(
            "{}: TensorBoard logs are not written from here on ({error}); training goes on",
            self.path.display()
        );
        if let Some(file) = self.file.take() {
            // Drops the buffer without another attempt to write it.
            let _ = file.into_parts();
        }
    }
}

/// Creates a new file; a second run within the same second gets a different name.
fn create(directory: &Path, name: &str) -> io::Result<(PathBuf, File)> {
    let mut path = directory.join(name);
    for suffix in 1.. {
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                path = directory.join(format!("{name}.{suffix}"));
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The host name, with the characters that file names allow.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name
        .trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
        .collect();
    if name.is_empty() { "localhost".into() } else { name }
}
