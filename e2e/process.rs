//! A program that runs beside us, with its output in a file, and that never outlives us.
//!
//! `setpriv --pdeathsig` asks the kernel to kill it when the *thread* that started it ends: start programs from a thread that lives long.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running program; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

/// A command that the kernel kills when the calling thread ends.
pub fn mortal(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).stdin(Stdio::null());
    command
}

/// A file that grows: a program may be started more than once.
fn log_file(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).with_context(|| format!("failed to write {}", path.display()))
}

impl Process {
    /// Starts a command made by [`mortal`], both streams into a file.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let out = log_file(log)?;
        command.stdout(out.try_clone().context("failed to share a log file")?).stderr(out);
        Self::spawn(command, log)
    }

    /// Starts a command made by [`mortal`], standard output piped to us, the rest into a file.
    pub fn start_piped(command: &mut Command, log: &Path) -> Result<(Self, std::process::ChildStdout)> {
        command.stdout(Stdio::piped()).stderr(log_file(log)?);
        let mut process = Self::spawn(command, log)?;
        let out = process.child.stdout.take().context("failed to read a program's output")?;
        Ok((process, out))
    }

    fn spawn(command: &mut Command, log: &Path) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("failed to start {command:?}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        // It fails only when the process has ended: then there is nothing to stop.
        if let Ok(id) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(id), signal);
        }
    }

    /// Its number; what `setpriv` was started for has it too.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end; whether it came in time.
    pub fn wait(&mut self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while self.ended().is_none() {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// The last lines of its log.
    pub fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
