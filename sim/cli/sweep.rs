//! `bellhop-sim sweep`: plays what seeds draw, on several threads, with a bar that says how far it is.
//!
//! What it prints at the end depends on the seeds alone; how long it took is on the last lines. A seed that fails leaves its scenario behind.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::{BAD_INPUT, print, recording};
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
    /// Below it seeds that fail leave their scenarios, in scenarios/drawn.
    #[arg(long, default_value = recording::FOLDER)]
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
        self.tell(&report, began.elapsed(), shared.stop.load(Ordering::Relaxed))
    }

    /// One thread: seed after seed.
    fn work(&self, shared: &Shared, classes: &BTreeSet<Class>, folder: &Path) {
        while !shared.stop.load(Ordering::Relaxed) && shared.deadline.is_none_or(|deadline| now() < deadline) {
            let following = |seed: u64| (seed < shared.until).then(|| seed + 1);
            let Ok(seed) = shared.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, following) else { return };
            let drawn = draw(seed, classes);
            let result = trial(folder, &drawn.text, self.plant);
            if !result.failures.is_empty() {
                leave(shared, folder, &self.out, seed, &drawn, &result);
            }
            let mut report = shared.report.lock().unwrap_or_else(PoisonError::into_inner);
            report.add(seed, &drawn, result);
            shared.bar.set_message(format!("{} failed", report.failed()));
            shared.bar.inc(1);
        }
    }

    /// The end.
    fn tell(&self, report: &Report, took: Duration, interrupted: bool) -> anyhow::Result<u8> {
        let asked = self.seeds.1 - self.seeds.0;
        let plant = self.plant.map(|bug| format!(" --plant {bug}")).unwrap_or_default();
        let profile = self.profile.to_possible_value().filter(|_| self.profile != Profile::All);
        let profile = profile.map(|profile| format!(" --profile {}", profile.get_name())).unwrap_or_default();
        let commit = recording::commit().unwrap_or_else(|| "unknown".to_owned());
        let mut text = format!("{}\n{}", report.histogram(), report.failures(&commit, &drawn_folder(&self.out), &profile, &plant));
        let played = report.played();
        // Writing into a String cannot fail.
        if played < asked {
            let why = if interrupted { "interrupted" } else { "the budget was spent" };
            let _ = writeln!(text, "{why}: {played} of {asked} seeds were played");
        }
        let seconds = took.as_secs_f64().max(f64::MIN_POSITIVE);
        #[expect(clippy::cast_precision_loss, reason = "rates are for people")]
        let (rate, events) = (played as f64 / seconds, report.events() as f64 / seconds / 1e6);
        let _ = writeln!(text, "{seconds:.1} s, {rate:.1} seeds/s, {events:.2} M events/s on the LAN");
        let _ = writeln!(text, "{} passed, {} failed", played - report.failed(), report.failed());
        print(&text)?;
        anyhow::ensure!(played > 0, "no seed was played");
        Ok(report.exit_code())
    }
}

/// A failure: its scenario stays, and a line is printed at once.
fn leave(shared: &Shared, manifests: &Path, out: &Path, seed: u64, drawn: &Drawn, trial: &Trial) {
    let file = drawn_folder(out).join(format!("seed-{seed}.yaml"));
    let what = trial.failures.first().map(|(cause, _)| cause.to_string()).unwrap_or_default();
    let written = copy_manifests(manifests, &drawn_folder(out)).and_then(|()| std::fs::write(&file, &drawn.text));
    shared.bar.suspend(|| match written {
        Ok(()) => eprintln!("seed {seed} failed: {what}; see {}", file.display()),
        Err(error) => eprintln!("seed {seed} failed: {what}; {} could not be written: {error}", file.display()),
    });
}

/// What a seed draws, with all classes, as a file of a tree below a folder.
pub(super) fn drawn(seed: u64, below: &Path) -> anyhow::Result<PathBuf> {
    let manifests = folder().context("no folder `scenarios` here: what a seed draws applies the tutorial's manifests")?;
    let place = drawn_folder(below);
    copy_manifests(&manifests, &place)?;
    let file = place.join(format!("seed-{seed}.yaml"));
    std::fs::write(&file, draw(seed, &Class::ALL.into()).text)?;
    Ok(file)
}

/// Where a drawn scenario is taken to stand, so that it finds the manifests: a folder of `scenarios/`, here or in Bellhop's source.
pub(super) fn folder() -> Option<PathBuf> {
    let here = PathBuf::from("scenarios/failover");
    let source = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/failover"));
    [here, source].into_iter().find(|folder| folder.is_dir())
}

/// Where below `--out` what a sweep or a shrinking leaves stands: a theme of a tree like `scenarios/`, so that `run` finds what it names.
pub(super) fn drawn_folder(out: &Path) -> PathBuf {
    out.join("scenarios/drawn")
}

/// Puts the manifests that a scenario in one folder of a tree may name beside another folder.
pub(super) fn copy_manifests(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    // A file that is copied onto itself is emptied.
    if from.canonicalize()? == to.canonicalize()? {
        return Ok(());
    }
    for name in ["seed", "manifests"] {
        let (source, copy) = (from.join("..").join(name), to.join("..").join(name));
        std::fs::create_dir_all(&copy)?;
        for entry in std::fs::read_dir(source)? {
            let entry = entry?;
            std::fs::copy(entry.path(), copy.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn bar(seeds: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds  {per_sec}  {eta} left  {msg}");
    ProgressBar::new(seeds).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Set by the first Ctrl-C; the second ends the program as usual.
pub(super) fn stop_at_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_default(signal_hook::consts::SIGINT, Arc::clone(&stop))?;
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&stop))?;
    Ok(stop)
}

#[expect(clippy::disallowed_methods, reason = "how long a sweep takes is for people; no run sees it")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::shrink;

    /// Show 4 of what a sweep is for: a seed that fails, the smallest file, and that file fails for the same cause where it was written.
    #[test]
    fn what_a_sweep_leaves_is_shrunk_to_a_file_that_fails_for_the_same_cause() {
        let out = tempfile::tempdir().expect("a folder");
        let bug = Planted::KeepsTheFirstMac;
        let file = drawn(5, out.path()).expect("it can be written");
        assert_eq!(shrink::file(&file, out.path(), Some(bug)).expect("it can be played"), 0);
        let small = drawn_folder(out.path()).join("seed-5-shrunk.yaml");
        let text = std::fs::read_to_string(&small).expect("it was written");
        assert!(text.contains("Bellhop names the MAC of the Service's node") && text.matches("- at: ").count() <= 5, "{text}");
        let scenario = bellhop_scenario::load(&small).unwrap_or_else(|refusal| panic!("{refusal}"));
        let mut world = crate::SimWorld::new(None);
        world.plant(bug);
        let outcome = bellhop_scenario::play(&scenario, &mut world).expect("the simulator plays it");
        let broken: Vec<&str> = outcome.checks.iter().filter(|check| !check.passed).map(|check| check.what.as_str()).collect();
        assert!(broken.contains(&"Bellhop names the MAC of the Service's node"), "{outcome}");
    }
}
