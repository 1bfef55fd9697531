//! A network namespace without a name: a file descriptor holds it.
//!
//! It is gone when this process is, its sockets are closed and its own programs have ended. Only the network namespace differs: files and processes are everybody's.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace.
#[derive(Clone, Debug)]
pub struct Namespace(Arc<File>);

impl Namespace {
    /// Makes one, with nothing in it but a loopback device that is down.
    pub fn new() -> Result<Self> {
        // In a thread of its own, so that no other is ever in a namespace that it did not ask for.
        let thread = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("failed to make a network namespace")?;
            Self::current()
        });
        thread.join().map_err(|_| anyhow::anyhow!("the thread that makes a namespace panicked"))?
    }

    /// The one that the calling thread is in.
    pub fn current() -> Result<Self> {
        Ok(Self(Arc::new(File::open("/proc/thread-self/ns/net").context("failed to open the thread's own namespace")?)))
    }

    /// Moves the calling thread into it, for good.
    pub fn enter(&self) -> Result<()> {
        setns(&*self.0, CloneFlags::CLONE_NEWNET).context("failed to enter a network namespace")
    }

    /// Does something inside. A socket that is opened and a process that is started there stay there.
    pub fn inside<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let home = Self::current()?;
        self.enter()?;
        let result = work();
        home.enter()?;
        Ok(result)
    }

    /// How `ip link … netns` names it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Runs `ip` inside, with words divided by blanks; what it printed.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        self.inside(|| run(Command::new("ip").args(arguments.split(' '))))?
    }

    /// Writes a sysctl inside: `ipv4/ip_forward`.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        self.inside(|| std::fs::write(format!("/proc/sys/net/{name}"), value))?.with_context(|| format!("failed to set {name} to {value}"))
    }
}

/// A command as it would be typed, without what [`crate::process::mortal`] puts before it.
fn describe(command: &Command) -> String {
    let words: Vec<_> = [command.get_program()].into_iter().chain(command.get_args()).map(|word| word.to_string_lossy()).collect();
    words.join(" ").trim_start_matches("setpriv --pdeathsig KILL -- ").to_owned()
}

/// Runs a program to its end; its standard output, or what it complained of.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let what = describe(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("failed to run {what}"))?;
    if !output.status.success() {
        bail!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
