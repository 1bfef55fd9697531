//! The engine that kind's nodes are containers of: one that is at hand, or one of our own that cannot be left behind.
//!
//! Our own dockerd runs in namespaces of its own: network (its bridges and rules are nobody else's), processes (when the first of them is
//! killed, as the kernel does when we end, containers and shims are too) and mounts, with a /run of its own. What can outlive it are empty
//! control groups, all below [`CGROUP`], and its data, which the next start finds and clears.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::patience::wait_for;
use crate::namespace::{Namespace, run};
use crate::process::{Process, mortal};

/// Where our engine puts its containers' control groups.
const CGROUP: &str = "bellhop-kind";
/// Docker makes this on the host, since kind mounts it into nodes.
const MODULES: &str = "/lib/modules";

/// An engine, and the programs that go with it.
#[derive(Debug)]
pub(crate) struct Docker {
    /// Where the engine's bridges are.
    pub(crate) namespace: Namespace,
    /// The image of a node.
    pub(crate) image: String,
    own: Option<Own>,
    /// Somebody takes everything away: what fails now says nothing.
    stopping: AtomicBool,
}

/// What only an engine of our own has.
#[derive(Debug)]
struct Own {
    node_image: PathBuf,
    socket: PathBuf,
    process: Process,
    /// The first process of its namespace, which passes signals on.
    init: Option<Pid>,
    /// A file that says that [`MODULES`] was not there before this run or one that was killed.
    made_modules: PathBuf,
}

impl Docker {
    /// The engine that `docker` talks to without being told; a node image is there.
    pub(crate) fn at_hand(image: &str) -> Result<Self> {
        Ok(Self { namespace: Namespace::current()?, image: image.to_owned(), own: None, stopping: AtomicBool::new(false) })
    }

    /// Starts one whose data is in `folder`. `node_image` is the folder that `kind-config/node-image/build` made.
    pub(crate) fn start(folder: &Path, node_image: &Path, log: &Path) -> Result<Self> {
        let image = std::fs::read_to_string(node_image.join("tag")).context("the node image is not there")?.trim().to_owned();
        let namespace = Namespace::new()?;
        namespace.ip("link set lo up")?;
        let socket = folder.join("docker.sock");
        std::fs::create_dir_all(folder)?;
        let config = folder.join("daemon.json");
        // Control groups by their files, whatever manages the host's: systemd is not part of this.
        let text = serde_json::json!({
            "default-runtime": "safe",
            "runtimes": { "safe": { "path": node_image.join("runc-safe") } },
            "storage-driver": "overlay2",
            "cgroup-parent": format!("/{CGROUP}"),
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "log-opts": { "max-size": "10m" },
        });
        std::fs::write(&config, text.to_string())?;
        let made_modules = folder.join("made-lib-modules");
        if !Path::new(MODULES).exists() {
            std::fs::write(&made_modules, "")?;
        }
        let mut command = mortal("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--", "sh", "-c"]);
        command.arg("mount -t tmpfs -o mode=755 tmpfs /run && exec docker-init -- dockerd \"$@\"").arg("sh");
        command.arg("--config-file").arg(&config).arg("--data-root").arg(folder.join("data"));
        command.arg("-H").arg(format!("unix://{}", socket.display()));
        // Ctrl-C is for us: what to do about it is decided here.
        command.process_group(0);
        remove_cgroups();
        let process = namespace.inside(|| Process::start(&mut command, log))??;
        let own = Own { node_image: node_image.to_owned(), socket, process, init: None, made_modules };
        let mut docker = Self { namespace, image, own: Some(own), stopping: AtomicBool::new(false) };
        wait_for("dockerd", Duration::from_secs(60), || {
            let own = docker.own.as_mut().context("no engine of our own")?;
            if own.process.ended().is_some() {
                bail!("it ended: {}", own.process.last_words());
            }
            own.init = child(own.process.id());
            docker.run("docker version")
        })?;
        Ok(docker)
    }

    /// Clears what an earlier run that was killed has left in the data of an engine of our own, and loads the node image if it is a new one.
    pub(crate) fn prepare(&self) -> Result<()> {
        let Some(own) = &self.own else { return Ok(()) };
        self.clear()?;
        if self.run(&format!("docker image inspect {}", self.image)).is_err() {
            for old in self.run("docker image ls --quiet bellhop/kind-node")?.split_whitespace() {
                self.run(&format!("docker image rm --force {old}"))?;
            }
            self.run(&format!("docker image load --input {}", own.node_image.join("node.tar").display()))?;
        }
        Ok(())
    }

    /// A program that uses the engine. `kind` and `kubectl` are those of PATH, as everywhere.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = mortal(program);
        if let Some(host) = self.host() {
            command.env("DOCKER_HOST", host);
        }
        command
    }

    /// Runs a program of [`Docker::command`] to its end, with words divided by blanks.
    pub(crate) fn run(&self, line: &str) -> Result<String> {
        let mut words = line.split(' ');
        let mut command = self.command(words.next().unwrap_or_default());
        command.args(words);
        self.inside(&mut command)
    }

    /// Runs a command where the engine's network is.
    pub(crate) fn inside(&self, command: &mut Command) -> Result<String> {
        self.namespace.inside(|| run(command))?
    }

    /// Where an engine of our own listens, as `DOCKER_HOST` has it.
    pub(crate) fn host(&self) -> Option<String> {
        self.own.as_ref().map(|own| format!("unix://{}", own.socket.display()))
    }

    /// Says that the run is over.
    pub(crate) fn no_more(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Waits for the end of the process if another thread is about to bring it.
    pub(crate) fn unless_stopping(&self) {
        while self.stopping.load(Ordering::Relaxed) {
            std::thread::park();
        }
    }

    /// Whether the engine is ours alone.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Removes all containers, volumes and networks of an engine of our own.
    fn clear(&self) -> Result<()> {
        let containers = self.run("docker ps --all --quiet")?;
        let containers: Vec<&str> = containers.split_whitespace().collect();
        if !containers.is_empty() {
            self.run(&format!("docker rm --force --volumes {}", containers.join(" ")))?;
        }
        self.run("docker volume prune --force")?;
        self.run("docker network prune --force").map(drop)
    }

    /// Ends an engine of our own and takes away what it has left on the host. May be called from any thread, and more than once.
    pub(crate) fn stop(&self) {
        let Some(own) = &self.own else { return };
        // Whatever fails here was gone already, or dies with the namespace.
        let _ = self.clear();
        if let Some(init) = own.init {
            let _ = kill(init, Signal::SIGTERM);
            let gone = || if Path::new(&format!("/proc/{init}")).exists() { bail!("it runs") } else { Ok(()) };
            if wait_for("the end of dockerd", Duration::from_secs(20), gone).is_err() {
                let _ = kill(init, Signal::SIGKILL);
            }
        }
        let _ = std::fs::remove_file(&own.socket);
        if own.made_modules.exists() {
            let _ = std::fs::remove_dir(MODULES).and_then(|()| std::fs::remove_file(&own.made_modules));
        }
        remove_cgroups();
    }
}

/// The child of a process that has one.
fn child(parent: u32) -> Option<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok().map(Pid::from_raw)
}

/// Removes control groups that nobody is in any more, of both versions of the interface.
fn remove_cgroups() {
    let Ok(hierarchies) = std::fs::read_dir("/sys/fs/cgroup") else { return };
    let below = hierarchies.flatten().map(|hierarchy| hierarchy.path().join(CGROUP));
    for group in below.chain([Path::new("/sys/fs/cgroup").join(CGROUP)]) {
        // The last process of a group may need a moment to be gone.
        for _ in 0..20 {
            remove_cgroup(&group);
            if !group.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Removes a group and those below it: `rmdir` takes only one without children.
fn remove_cgroup(group: &Path) {
    let Ok(entries) = std::fs::read_dir(group) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_cgroup(&entry.path());
    }
    // One that is not empty is tried again.
    let _ = std::fs::remove_dir(group);
}
