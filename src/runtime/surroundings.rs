//! What the surroundings of the process must not do to it: variables of the environment,
//! limits of the shell.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Bytes of the stack that the program runs on. The system reserves them and takes only
/// those that are used.
const STACK: usize = 64 << 20;

/// How the variables begin that the HDF5 library reads.
const HDF5: [&[u8]; 3] = [b"HDF5_", b"H5_", b"H5FD_"];

/// Those that may reach it. The others make it read and write files by other drivers, or
/// from other places, than this program expects, or crash it.
const HDF5_KEPT: [&str; 2] = ["HDF5_PLUGIN_PATH", "HDF5_USE_FILE_LOCKING"];

/// Whether a variable of the environment is one that may not reach the HDF5 library.
fn is_unwanted(name: &OsStr) -> bool {
    HDF5.iter().any(|start| name.as_bytes().starts_with(start))
        && !HDF5_KEPT.iter().any(|kept| name == *kept)
}

/// Starts the program anew, as the same process, without those variables of the
/// environment that may not reach the HDF5 library, if there are any: a process cannot
/// change its own environment safely. To be called first of all.
///
/// # Errors
/// Returns only with an error, or if there is no such variable.
pub fn without_hdf5_variables() -> io::Result<()> {
    let unwanted: Vec<OsString> =
        env::vars_os().map(|(name, _)| name).filter(|name| is_unwanted(name)).collect();
    let Some(first) = unwanted.first() else { return Ok(()) };
    let mut arguments = env::args_os();
    let mut again = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    again.args(arguments);
    for name in &unwanted {
        again.env_remove(name);
    }
    let error = again.exec();
    Err(io::Error::other(format!(
        "the environment variable {} changes how the HDF5 library works, and could not be left \
         out ({error}): unset it",
        first.display()
    )))
}

/// Raises the number of files that may be open to what the system allows: a data set
/// that is read on demand keeps all its files open. A limit that cannot be raised stays.
pub fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Runs the program on a stack of its own. That of the main thread is as large as the
/// shell allows (`ulimit -s`), which may be too small.
pub fn on_large_stack(run: impl Fn() -> ExitCode + Sync) -> ExitCode {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("main".into()).stack_size(STACK);
        match builder.spawn_scoped(scope, &run) {
            // The message of a panic was printed where it happened.
            Ok(thread) => thread.join().unwrap_or(ExitCode::from(101)),
            // There is no room for another stack.
            Err(_) => run(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_variables_reach_the_library() {
        let unwanted = |name: &str| is_unwanted(OsStr::new(name));
        for name in ["HDF5_DRIVER", "HDF5_VOL_CONNECTOR", "H5FD_mpio_Debug", "HDF5_VDS_PREFIX"] {
            assert!(unwanted(name), "{name}");
        }
        for name in ["HDF5_PLUGIN_PATH", "HDF5_USE_FILE_LOCKING", "PATH", "HDF5", "H5"] {
            assert!(!unwanted(name), "{name}");
        }
    }

    #[test]
    fn a_stack_of_its_own_is_large() {
        fn deep(n: usize) -> usize {
            let block = std::hint::black_box([n; 1024]);
            if n == 0 { block[0] } else { deep(n - 1) + block[1023] - n }
        }
        // 16 MiB, which the main thread seldom has.
        assert_eq!(on_large_stack(|| ExitCode::from(deep(2048) as u8)), ExitCode::SUCCESS);
    }
}
