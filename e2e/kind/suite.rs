//! The run: engine, cluster, Bellhop, then one test after the other, one line for each, and the way out.
//!
//! Tests share a cluster, so each leaves it as it found it; what a test cannot leave so comes last.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::case::Case;
use super::cluster::Cluster;
use super::docker::Docker;
use super::keep::keep;
use super::machine::Machine;
use super::registry::Registry;
use super::tests::{self, Place, Test};
use super::{Family, Proxy};

/// What to run, and with what.
#[derive(Clone, Debug)]
pub struct Options {
    /// How kube-proxy brings packets to pods.
    pub proxy: Proxy,
    /// Which addresses the cluster has.
    pub family: Family,
    /// Whether the cluster stays when the tests are over, until Ctrl-C.
    pub keep: bool,
    /// Names of tests; the usual ones without.
    pub names: Vec<String>,
    /// Where scenarios are.
    pub scenarios: PathBuf,
    /// The node image.
    pub node: NodeImage,
    /// Image archives of Bellhop and of the tutorial's stand-in.
    pub bellhop: PathBuf,
    /// The program out of it, for the operator's commands.
    pub program: PathBuf,
    /// The same two of the version before.
    pub previous: PathBuf,
    /// See [`Options::previous`].
    pub previous_program: PathBuf,
    /// See [`Options::bellhop`].
    pub kubia: PathBuf,
    /// Where an engine of our own keeps its data.
    pub cache: PathBuf,
    /// Where captures and logs go.
    pub out: PathBuf,
}

/// Where nodes come from.
#[derive(Clone, Debug)]
pub enum NodeImage {
    /// An image of the engine at hand.
    Named(String),
    /// A folder that `kind-config/node-image/build` made, for an engine of our own.
    Made(PathBuf),
}

/// The cluster with everything around it that tests use. Dropped in this order.
pub(crate) struct Bench {
    _registry: Registry,
    pub(crate) client: Machine,
    /// Another client, whose neighbor table nobody needs.
    pub(crate) asker: Machine,
    pub(crate) cluster: Cluster,
    /// The archive with Bellhop's image.
    pub(crate) bellhop: PathBuf,
    /// The program, as the operator has it.
    pub(crate) program: PathBuf,
    /// The archive with the image of the version before, which is called [`super::PREVIOUS`].
    pub(crate) previous: PathBuf,
    pub(crate) previous_program: PathBuf,
    pub(crate) proxy: Proxy,
    pub(crate) family: Family,
    pub(crate) out: PathBuf,
}

/// The tutorial's client.
pub(crate) const CLIENT: &str = "192.168.0.5";
const ASKER_IPV6: &str = "2001:db8::7";
const ASKER_MAC: &str = "52:54:22:00:00:07";
const CLIENT_MAC: &str = "52:54:22:fa:b9:3b";
pub(crate) const CLIENT_IPV6: &str = "2001:db8::5";

/// Runs the suite; whether all was green.
pub fn run(options: &Options) -> Result<bool> {
    let all = tests::all(&options.scenarios)?;
    if let Some(unknown) = options.names.iter().find(|name| !all.iter().any(|test| test.name == **name)) {
        bail!("no test `{unknown}`; there are {}", all.iter().map(|test| test.name.as_str()).collect::<Vec<_>>().join(", "));
    }
    // A cluster that is kept is one with Bellhop in it.
    let is_usual = |test: &Test| test.is_usual() && !(options.keep && test.place == Place::Last);
    let is_named = |test: &Test| if options.names.is_empty() { is_usual(test) } else { options.names.contains(&test.name) };
    let is_chosen = |test: &&Test| test.place == Place::First || is_named(test);
    let chosen: Vec<&Test> = all.iter().filter(is_chosen).collect();
    if let Some(why) = beyond_this_kernel(options.proxy) {
        chosen.iter().for_each(|test| println!("NOT PLAYABLE {}: {why}", test.name));
        bail!("NOTHING WAS TESTED: {why}");
    }
    std::fs::create_dir_all(&options.cache)?;
    let _lock = lock(&options.cache)?;
    let out = options.out.join(format!("{}-{}", options.proxy, options.family));
    let _ = std::fs::remove_dir_all(&out);
    std::fs::create_dir_all(&out)?;
    let began = Instant::now();
    let docker = Arc::new(match &options.node {
        NodeImage::Named(image) => Docker::at_hand(image)?,
        NodeImage::Made(folder) => Docker::start(&options.cache, folder, &out.join("dockerd.log"))?,
    });
    on_interrupt({
        let docker = docker.clone();
        move || {
            docker.no_more();
            clean_up(&docker);
        }
    })?;
    let result = docker.prepare().and_then(|()| Bench::set_up(options, &docker, &out)).and_then(|bench| {
        println!("{}", bench.cluster.versions()?.trim_end());
        println!(
            "{} nodes with kube-proxy in {} mode, {}: {:.1} s",
            bench.cluster.nodes.len(),
            options.proxy,
            options.family,
            began.elapsed().as_secs_f64()
        );
        let green = bench.play(&chosen, !options.names.is_empty());
        if !green {
            bench.cluster.export_logs(&out.join("nodes"));
        }
        Ok(if options.keep { keep(&bench, &all) && green } else { green })
    });
    docker.unless_stopping();
    let cleaning = Instant::now();
    clean_up(&docker);
    println!("cleaned up: {:.1} s", cleaning.elapsed().as_secs_f64());
    result
}

/// Removes the cluster, and the engine if it is ours.
fn clean_up(docker: &Arc<Docker>) {
    if docker.is_own() {
        docker.stop();
    } else {
        Cluster::remove(docker);
    }
}

/// ipvs needs a module that some kernels lack.
fn beyond_this_kernel(proxy: Proxy) -> Option<&'static str> {
    // Loading the module makes the file appear; a kernel that has it built in has the file already.
    let has_ipvs = || {
        let _ = std::process::Command::new("modprobe").arg("ip_vs").output();
        Path::new("/proc/net/ip_vs").exists()
    };
    (proxy == Proxy::Ipvs && !has_ipvs()).then_some("this kernel has no ip_vs, so kube-proxy has no ipvs mode")
}

/// Two runs at once would share an engine's data.
fn lock(cache: &Path) -> Result<Flock<OwnedFd>> {
    let file = File::create(cache.join("lock"))?;
    Flock::lock(OwnedFd::from(file), FlockArg::LockExclusiveNonblock).map_err(|_| anyhow::anyhow!("another run uses {}", cache.display()))
}

impl Bench {
    fn set_up(options: &Options, docker: &Arc<Docker>, out: &Path) -> Result<Self> {
        let cluster = Cluster::create(docker, options.proxy, options.family, out).context("failed to create a cluster")?;
        let (ipv4, ipv6, asker) = (format!("{CLIENT}/24"), format!("{CLIENT_IPV6}/64"), format!("{ASKER_IPV6}/64"));
        let has_ipv6 = options.family != Family::Ipv4;
        let addresses: &[&str] = if has_ipv6 { &[&ipv4, &ipv6] } else { &[&ipv4] };
        let client = Machine::connect("bellhop-client", CLIENT_MAC, addresses, &cluster).context("failed to connect a client")?;
        let addresses: &[&str] = if has_ipv6 { &[&asker] } else { &[] };
        let asker = Machine::connect("bellhop-asker", ASKER_MAC, addresses, &cluster).context("failed to connect another client")?;
        let registry = Registry::start(&cluster, &options.kubia, out).context("failed to start a registry")?;
        Ok(Self {
            _registry: registry,
            client,
            asker,
            cluster,
            bellhop: options.bellhop.clone(),
            program: options.program.clone(),
            previous: options.previous.clone(),
            previous_program: options.previous_program.clone(),
            proxy: options.proxy,
            family: options.family,
            out: out.to_owned(),
        })
    }

    /// Plays tests in order; whether none failed, and none that was named could not be played.
    pub(crate) fn play(&self, tests: &[&Test], named: bool) -> bool {
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        for test in tests {
            if let Some(why) = test.beyond(self) {
                skipped += 1;
                println!("NOT PLAYABLE {}: {why}", test.name);
                continue;
            }
            let began = Instant::now();
            let result = Case::play(self, test);
            self.cluster.docker.unless_stopping();
            let seconds = began.elapsed().as_secs_f64();
            match result {
                Ok(note) => {
                    passed += 1;
                    println!("ok     {:<30} {seconds:6.1} s  {note}", test.name);
                }
                Err(error) => {
                    failed += 1;
                    println!("FAILED {:<30} {seconds:6.1} s", test.name);
                    println!("         {error:#}\n         see {}", self.out.join(&test.name).display());
                    if test.place == Place::First {
                        break;
                    }
                }
            }
        }
        if skipped > 0 {
            println!("{skipped} not playable here");
        }
        println!("{passed} passed, {failed} failed");
        // Nothing played is nothing shown, and whoever names a test wants it played.
        failed == 0 && passed > 0 && (skipped == 0 || !named)
    }
}

/// Does the work when Ctrl-C or `kill` comes, in a thread of its own, and ends the process as a shell expects it.
fn on_interrupt(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let came = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_usize(signal, came.clone(), usize::try_from(signal)?).context("failed to listen to signals")?;
    }
    std::thread::spawn(move || {
        let signal = loop {
            match came.load(Ordering::Relaxed) {
                0 => std::thread::sleep(Duration::from_millis(100)),
                signal => break signal,
            }
        };
        println!("interrupted: cleaning up");
        work();
        std::process::exit(128 + i32::try_from(signal).unwrap_or(0));
    });
    Ok(())
}
