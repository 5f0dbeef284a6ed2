//! Where the weights of a run come from, and what of an earlier run has to give way
//! for it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Result;
use log::{info, warn};

use crate::config::ConfigError;
use crate::files::identity;

use super::directory::{
    BEST, LAST, LOGS, checkpoints, fresh_logs, iteration_of, log_folders, move_aside,
};
use super::settings::TrainerSpec;

/// What the command line says about an earlier run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Nothing: the configuration decides.
    #[default]
    None,
    /// Go on with the run in the checkpoint directory, if there is one.
    Resume,
    /// Start afresh; what is in the checkpoint directory is moved aside.
    Overwrite,
}

/// Where the weights of a run come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Fresh weights.
    Fresh,
    /// The weights of a checkpoint.
    PreTrained(PathBuf),
    /// A checkpoint whose run goes on.
    Resumed(PathBuf),
}

impl Beginning {
    /// As one line of text, for other ranks.
    pub fn to_text(&self) -> String {
        match self {
            Beginning::Fresh => "fresh".into(),
            Beginning::PreTrained(path) => format!("weights {}", path.display()),
            Beginning::Resumed(path) => format!("run {}", path.display()),
        }
    }

    /// From what [`Beginning::to_text`] gives.
    pub fn from_text(text: &str) -> Self {
        match text.split_once(' ') {
            Some(("weights", path)) => Beginning::PreTrained(path.into()),
            Some(("run", path)) => Beginning::Resumed(path.into()),
            _ => Beginning::Fresh,
        }
    }
}

/// How a run starts in its checkpoint directory.
#[derive(Debug, PartialEq, Eq)]
pub struct Start {
    pub beginning: Beginning,
    /// Whether the run of this directory goes on, or another one begins here.
    goes_on: bool,
    /// Files of an earlier run that are moved aside before this one writes.
    aside: Vec<PathBuf>,
    /// What to tell the user.
    notes: Vec<String>,
}

impl Start {
    /// Decides how the run starts. Reads the checkpoint directory and changes nothing.
    ///
    /// # Errors
    /// An earlier run whose checkpoints this one would replace, and a `resume` or
    /// `pre_trained` that is no file.
    pub fn find(spec: &TrainerSpec, wish: Wish) -> Result<Start, ConfigError> {
        let there = checkpoints(&spec.checkpoint_dir).map_err(|error| {
            let directory = spec.checkpoint_dir.display();
            spec.error("checkpoint_dir", format!("{directory}: cannot be listed ({error})"))
        })?;
        let mut start =
            Start { beginning: Beginning::Fresh, goes_on: false, aside: Vec::new(), notes: vec![] };
        if let Some(path) = start.resumed(spec, wish, &there)? {
            start.resume(spec, path, wish, there)?;
            return Ok(start);
        }
        let mut earlier = there;
        if let Some(weights) = &spec.pre_trained {
            ordinary_file(weights).map_err(|what| {
                spec.error("pre_trained", format!("{}: {what}", weights.display()))
            })?;
            // It is no earlier run, though it may have the name of one's checkpoint.
            let (same, others) = earlier.into_iter().partition(|path| is_same(path, weights));
            (start.aside, earlier) = (same, others);
            start.beginning = Beginning::PreTrained(weights.clone());
        }
        start.give_way(spec, wish, earlier)?;
        Ok(start)
    }

    /// The checkpoint to go on from, if there is one. `there` are the checkpoints of the
    /// run's own directory.
    fn resumed(
        &mut self,
        spec: &TrainerSpec,
        wish: Wish,
        there: &[PathBuf],
    ) -> Result<Option<PathBuf>, ConfigError> {
        let last = spec.checkpoint_dir.join(LAST);
        if wish == Wish::Resume && there.contains(&last) {
            ordinary_file(&last).map_err(|what| {
                spec.error("checkpoint_dir", format!("{}: {what}", last.display()))
            })?;
            return Ok(Some(last));
        }
        if wish == Wish::Resume
            && let Some(path) = self.newest(spec, there)
        {
            return Ok(Some(path));
        }
        let Some(path) = &spec.resume else { return Ok(None) };
        if wish == Wish::Overwrite && there.iter().any(|other| is_same(other, path)) {
            self.notes.push(format!(
                "`trainer.resume` is left out, because `--overwrite` moves {} aside and starts afresh",
                path.display()
            ));
            return Ok(None);
        }
        match ordinary_file(path) {
            Ok(()) => Ok(Some(path.clone())),
            Err(what) if what != NOWHERE => {
                Err(spec.error("resume", format!("{}: {what}", path.display())))
            }
            Err(_) => {
                if wish == Wish::None
                    && path.file_name() == last.file_name()
                    && path.parent().and_then(identity_of) == identity_of(&spec.checkpoint_dir)
                    && let Some(path) = self.newest(spec, there)
                {
                    return Ok(Some(path));
                }
                self.notes.push(format!(
                    "`trainer.resume`: {} does not exist: starting afresh",
                    path.display()
                ));
                Ok(None)
            }
        }
    }

    /// The checkpoint of the latest iteration. A run that was killed while it wrote its
    /// first ones has no last one.
    fn newest(&mut self, spec: &TrainerSpec, there: &[PathBuf]) -> Option<PathBuf> {
        let weights = spec.pre_trained.as_deref();
        let others = there.iter().filter(|path| !weights.is_some_and(|w| is_same(path, w)));
        let known = others.filter_map(|path| Some((iteration_of(path)?, path)));
        let (_, newest) = known.max_by_key(|(iteration, _)| *iteration)?;
        self.notes.push(format!(
            "{} does not exist: going on from {}, the newest checkpoint there",
            spec.checkpoint_dir.join(LAST).display(),
            newest.display()
        ));
        Some(newest.clone())
    }

    /// Goes on from the checkpoint `path`.
    fn resume(
        &mut self,
        spec: &TrainerSpec,
        path: PathBuf,
        wish: Wish,
        there: Vec<PathBuf>,
    ) -> Result<(), ConfigError> {
        let own = identity_of(&spec.checkpoint_dir);
        let folder = |path: &Path| path.parent().and_then(identity_of);
        let real = path.canonicalize().ok();
        let is_own = own.is_some()
            && (folder(&path) == own || real.as_deref().is_some_and(|real| folder(real) == own));
        self.beginning = Beginning::Resumed(path.clone());
        if !is_own {
            return self.give_way(spec, wish, there);
        }
        self.goes_on = true;
        for path in [LAST, BEST].map(|name| spec.checkpoint_dir.join(name)) {
            if path.is_dir() {
                let message = format!("{}: is a directory, and no checkpoint", path.display());
                return Err(spec.error("checkpoint_dir", message));
            }
        }
        // From an older checkpoint the run goes another way: those of later iterations
        // are not its own.
        let last = spec.checkpoint_dir.join(LAST);
        if !is_same(&path, &last)
            && let Some(from) = iteration_of(&path)
        {
            let later = |path: &PathBuf| iteration_of(path).is_some_and(|at| at > from);
            self.aside = there.into_iter().filter(later).collect();
        }
        Ok(())
    }

    /// Lets the checkpoints of an earlier run give way if the user asked for it.
    fn give_way(
        &mut self,
        spec: &TrainerSpec,
        wish: Wish,
        earlier: Vec<PathBuf>,
    ) -> Result<(), ConfigError> {
        if wish == Wish::Overwrite {
            self.aside.extend(earlier);
            self.aside.extend(log_folders(&spec.checkpoint_dir).unwrap_or_default());
            return Ok(());
        }
        if earlier.is_empty() {
            return Ok(());
        }
        Err(spec.error("checkpoint_dir", conflict(&spec.checkpoint_dir, &earlier)))
    }

    /// Moves the checkpoint of the best validation aside as well: what comes next is
    /// judged in another way.
    pub fn best_gives_way(&mut self, directory: &Path) {
        let best = directory.join(BEST);
        if self.goes_on && best.exists() && !self.aside.contains(&best) {
            self.aside.push(best);
        }
    }

    /// Tells the user what was decided.
    pub fn announce(&self) {
        self.notes.iter().for_each(|note| warn!("{note}"));
    }

    /// Moves what has to give way aside, and gives back the folder for TensorBoard's
    /// files, below the checkpoint directory. `before` is the folder in which the run
    /// that goes on has written them so far, if it is known.
    ///
    /// # Errors
    /// A file that cannot be moved.
    pub fn make_room(&self, directory: &Path, before: Option<&str>) -> Result<String> {
        if !self.aside.is_empty() {
            let folder = move_aside(directory, &self.aside)?;
            let names: Vec<_> = self.aside.iter().map(|path| name_of(path)).collect();
            warn!("{} of {}: moved to {}", names.join(", "), directory.display(), folder.display());
        }
        if self.goes_on {
            return Ok(before.unwrap_or(LOGS).to_string());
        }
        let logs = fresh_logs(directory);
        if logs != LOGS {
            info!(
                "{} has TensorBoard's files of an earlier run: this one writes to {}",
                directory.join(LOGS).display(),
                directory.join(&logs).display()
            );
        }
        Ok(logs)
    }
}

/// What is in the way, and the ways on.
fn conflict(directory: &Path, earlier: &[PathBuf]) -> String {
    const SHOWN: usize = 4;
    // Last and best first.
    let (numbered, first): (Vec<_>, Vec<_>) = earlier
        .iter()
        .partition(|path| name_of(path).starts_with(|start: char| start.is_ascii_digit()));
    let all: Vec<_> = first.into_iter().rev().chain(numbered).collect();
    let mut names: Vec<_> = all
        .iter()
        .take(SHOWN)
        .map(|path| match iteration_of(path) {
            Some(iteration) => format!("{} (iteration {iteration})", name_of(path)),
            None => name_of(path),
        })
        .collect();
    if all.len() > SHOWN {
        names.push(format!("{} more", all.len() - SHOWN));
    }
    format!(
        "{} holds checkpoints of an earlier run, which this one would replace: {}. To go on with \
         that run, add `--resume auto`; to start afresh and keep them in a folder of their own, \
         `--overwrite`; or set another `trainer.checkpoint_dir`",
        directory.display(),
        names.join(", ")
    )
}

const NOWHERE: &str = "does not exist";

/// What is wrong with a path that should lead to a file.
fn ordinary_file(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(found) if found.is_dir() => Err("is a directory; a checkpoint file is wanted".into()),
        Ok(_) => Err("is no ordinary file; a checkpoint file is wanted".into()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            match fs::read_link(path) {
                Ok(to) => Err(format!("is a link to {}, which does not exist", to.display())),
                Err(_) => Err(NOWHERE.into()),
            }
        }
        Err(error) => Err(format!("cannot be reached: {error}")),
    }
}

/// Whether two paths lead to the same file.
fn is_same(a: &Path, b: &Path) -> bool {
    a == b || identity(a).is_some_and(|file| identity(b) == Some(file))
}

/// The identity of a folder; that of the working directory if the path is empty.
fn identity_of(folder: &Path) -> Option<(u64, u64)> {
    identity(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
