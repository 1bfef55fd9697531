//! `bellhop-sim sweep`: plays what seeds draw, on several threads, with a bar that says how far it is.
//!
//! What it prints at the end depends on the seeds alone; how long it took is on the last lines. A seed that fails leaves its scenario behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::BAD_INPUT;
use crate::Planted;
use crate::sweep::class::Class;
use crate::sweep::draw::{Drawn, draw};
use crate::sweep::report::Report;
use crate::sweep::trial::{Trial, trial};

/// Which seeds, and how.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Seeds, the last one not included.
    #[arg(long, default_value = "0..100", value_name = "A..B", value_parser = seeds)]
    seeds: (u64, u64),
    /// How many at once; as many as there are cores unless said.
    #[arg(long)]
    jobs: Option<usize>,
    /// No new seed is begun after this long (60s, 5m).
    #[arg(long, value_parser = bellhop_scenario::duration::parse)]
    budget: Option<Duration>,
    /// Which classes of faults a seed may switch on.
    #[arg(long, value_enum, default_value_t = Profile::All)]
    profile: Profile,
    /// Plant a bug in every replica of Bellhop, to see it caught.
    #[arg(long, value_enum, value_name = "BUG")]
    plant: Option<Planted>,
    /// Where seeds that fail leave their scenarios.
    #[arg(long, default_value = "target/sim/sweep")]
    out: PathBuf,
}

/// Sets of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Profile {
    /// Everything.
    All,
    /// Machines and processes.
    Nodes,
    /// Cables, switches, cards and intruders.
    Lan,
    /// The API server.
    Api,
    /// People and controllers.
    Kubernetes,
    /// Nothing goes wrong.
    Calm,
}

impl Profile {
    fn classes(self) -> BTreeSet<Class> {
        match self {
            Self::All => Class::ALL.into(),
            Self::Nodes => [Class::Power, Class::Freeze, Class::ClockRate, Class::Process].into(),
            Self::Lan => [Class::Nic, Class::Cable, Class::Uplink, Class::Intruder, Class::Storm].into(),
            Self::Api => [Class::ApiServer, Class::ApiState, Class::Partition].into(),
            Self::Kubernetes => [Class::Kubernetes].into(),
            Self::Calm => BTreeSet::new(),
        }
    }
}

/// `0..1000`, or one seed.
fn seeds(text: &str) -> Result<(u64, u64), String> {
    let refused = || format!("`{text}` are no seeds: expected A..B with A below B, as in 0..1000");
    let (from, until) = match text.split_once("..") {
        Some((from, until)) => (from.parse().map_err(|_| refused())?, until.parse().map_err(|_| refused())?),
        None => {
            let one: u64 = text.parse().map_err(|_| refused())?;
            (one, one.checked_add(1).ok_or_else(refused)?)
        }
    };
    if from < until { Ok((from, until)) } else { Err(refused()) }
}

/// What the threads of a sweep share.
struct Shared {
    next: AtomicU64,
    until: u64,
    stop: Arc<AtomicBool>,
    /// When no new seed is begun any more.
    deadline: Option<std::time::Instant>,
    report: Mutex<Report>,
    bar: ProgressBar,
}

impl Arguments {
    /// Plays all, and says what came of it.
    pub(super) fn sweep(self) -> anyhow::Result<u8> {
        let Some(folder) = folder() else {
            eprintln!("error: no folder `scenarios` here: a sweep applies the tutorial's manifests");
            return Ok(BAD_INPUT);
        };
        std::fs::create_dir_all(&self.out).with_context(|| format!("failed to make {}", self.out.display()))?;
        let (from, until) = self.seeds;
        let began = now();
        let shared = Shared {
            next: AtomicU64::new(from),
            until,
            stop: stop_at_interrupt()?,
            deadline: self.budget.map(|budget| began + budget),
            report: Mutex::default(),
            bar: bar(until - from),
        };
        let classes = self.profile.classes();
        let jobs = self.jobs.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1).max(1);
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| self.work(&shared, &classes, &folder));
            }
        });
        shared.bar.finish_and_clear();
        let report = shared.report.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(self.tell(&report, began.elapsed(), shared.stop.load(Ordering::Relaxed)))
    }

    /// One thread: seed after seed.
    fn work(&self, shared: &Shared, classes: &BTreeSet<Class>, folder: &Path) {
        while !shared.stop.load(Ordering::Relaxed) && shared.deadline.is_none_or(|deadline| now() < deadline) {
            let seed = shared.next.fetch_add(1, Ordering::Relaxed);
            if seed >= shared.until {
                return;
            }
            let drawn = draw(seed, classes);
            let result = trial(folder, &drawn.text, self.plant);
            if result.failure.is_some() {
                leave(shared, &self.out, seed, &drawn, &result);
            }
            let mut report = shared.report.lock().unwrap_or_else(PoisonError::into_inner);
            report.add(seed, &drawn, result);
            shared.bar.set_message(format!("{} failed", report.failed()));
            shared.bar.inc(1);
        }
    }

    /// The end.
    fn tell(&self, report: &Report, took: Duration, interrupted: bool) -> u8 {
        let asked = self.seeds.1 - self.seeds.0;
        print!("{}", report.histogram());
        println!();
        let plant = self.plant.map(|bug| format!(" --plant {bug}")).unwrap_or_default();
        print!("{}", report.failures(&commit(), &self.out, &plant));
        let played = report.played();
        if played < asked {
            let why = if interrupted { "interrupted" } else { "the budget was spent" };
            println!("{why}: {played} of {asked} seeds were played");
        }
        let seconds = took.as_secs_f64().max(f64::MIN_POSITIVE);
        #[expect(clippy::cast_precision_loss, reason = "rates are for people")]
        let (rate, events) = (played as f64 / seconds, report.events() as f64 / seconds / 1e6);
        println!("{seconds:.1} s, {rate:.1} seeds/s, {events:.2} M events/s on the LAN");
        println!("{} passed, {} failed", played - report.failed(), report.failed());
        report.exit_code()
    }
}

/// A failure: its scenario stays, and a line is printed at once.
fn leave(shared: &Shared, out: &Path, seed: u64, drawn: &Drawn, trial: &Trial) {
    let file = out.join(format!("seed-{seed}.yaml"));
    let what = trial.failure.as_ref().map(|(cause, _)| cause.to_string()).unwrap_or_default();
    let written = std::fs::write(&file, &drawn.text);
    shared.bar.suspend(|| match written {
        Ok(()) => eprintln!("seed {seed} failed: {what}; see {}", file.display()),
        Err(error) => eprintln!("seed {seed} failed: {what}; {} could not be written: {error}", file.display()),
    });
}

/// Where a drawn scenario is taken to stand, so that it finds the manifests: a folder of `scenarios/`, here or in Bellhop's source.
pub(super) fn folder() -> Option<PathBuf> {
    let here = PathBuf::from("scenarios/failover");
    let source = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/failover"));
    [here, source].into_iter().find(|folder| folder.is_dir())
}

/// What the working tree stands on, for the report of a failure; a word about it where git says nothing.
pub(super) fn commit() -> String {
    let git = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let said = git.ok().filter(|output| output.status.success()).map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.unwrap_or_else(|| "unknown".to_owned())
}

fn bar(seeds: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds  {per_sec}  {eta} left  {msg}");
    ProgressBar::new(seeds).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Set by the first Ctrl-C; the second ends the program as usual.
fn stop_at_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_default(signal_hook::consts::SIGINT, Arc::clone(&stop))?;
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&stop))?;
    Ok(stop)
}

#[expect(clippy::disallowed_methods, reason = "how long a sweep takes is for people; no run sees it")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
