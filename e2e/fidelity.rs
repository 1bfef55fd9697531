//! The kernel arm of the fidelity suite: each experiment on this machine's kernel, in namespaces of its own, beside what the simulator says.
//!
//! Several are made at once. One whose instruments failed says nothing about the kernel: they were late (a machine under load), or a frame was
//! lost on the cable. It is made again, alone, a bounded number of times. A result is never a reason to make one again. That this is rare on a
//! busy machine is owed to real-time priority.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bellhop_fidelity::{Experiment, experiments};

use crate::process::mortal;

mod kernel;
use kernel::KernelHost;

/// So late may the experimenter be. The experiments leave a quarter of a second on either side of what they expect, and the kernel's own
/// timers take a part of it.
const LATE_MAX: Duration = Duration::from_millis(80);
/// How often an experiment is made alone that was disturbed among others.
const ALONE: usize = 5;

/// What came of an experiment on one arm.
type Saw = Result<String, String>;

/// Makes all experiments, or those whose names begin with one of `names`, `jobs` at once; prints the table. `true` if both arms saw what
/// the reference says, everywhere.
pub fn run(simulator: &Path, jobs: usize, names: &[String]) -> Result<bool> {
    let chosen = |experiment: &Experiment| names.is_empty() || names.iter().any(|name| experiment.name.starts_with(name.as_str()));
    let experiments: Vec<Experiment> = experiments().into_iter().filter(chosen).collect();
    if experiments.is_empty() {
        bail!("no experiment is called {}", names.join(" or "));
    }
    let simulated = simulated(simulator)?;
    be_on_time();
    let measured = on_the_kernel(&experiments, jobs)?;
    let width = experiments.iter().map(|experiment| experiment.name.chars().count()).max().unwrap_or(0);
    println!("{:<width$}  simulator  kernel", "experiment");
    let mut good = 0;
    for experiment in &experiments {
        let simulator = simulated.get(&experiment.name).cloned().map_or_else(|| Err("the simulator does not know it".to_owned()), Ok);
        let kernel = measured.get(&experiment.name).cloned().unwrap_or_else(|| Err("it was not made".to_owned()));
        good += usize::from(row(experiment, width, &simulator, &kernel));
    }
    println!("{good} of {} experiments came out alike, as the reference says, on Linux {}", experiments.len(), release());
    Ok(good == experiments.len())
}

/// A line of the table, and what was seen where it was not what must be. `true` if all is well.
fn row(experiment: &Experiment, width: usize, simulator: &Saw, kernel: &Saw) -> bool {
    let right = |saw: &Saw| saw.as_ref() == Ok(&experiment.expected);
    let mark = |saw: &Saw| if right(saw) { '√' } else { '×' };
    println!("{:<width$}  {:<9}  {}", experiment.name, mark(simulator), mark(kernel));
    let good = right(simulator) && right(kernel);
    if !good {
        let words = |saw: &Saw| saw.clone().unwrap_or_else(|error| format!("error: {error}"));
        println!("    §{} says  {}", experiment.section, experiment.expected);
        println!("    simulator  {}\n    kernel     {}", words(simulator), words(kernel));
    }
    good
}

/// Asks for the machine's attention: an experimenter that waits its turn behind compilers sees everything late. Threads that are started from
/// now on have it too. Where it is refused the experiments are made all the same, and what was late is made again.
fn be_on_time() {
    let this = std::process::id().to_string();
    let granted = crate::namespace::run(std::process::Command::new("chrt").args(["--rr", "--pid", "1", &this]));
    if let Err(error) = granted {
        eprintln!("without real-time priority, on a busy machine this takes longer: {error:#}");
    }
}

/// What the simulator says, by name.
fn simulated(simulator: &Path) -> Result<BTreeMap<String, String>> {
    let output = mortal(simulator).args(["fidelity", "--output", "json"]).output().context("failed to start bellhop-sim")?;
    let parsed: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("bellhop-sim fidelity printed no JSON: {}", String::from_utf8_lossy(&output.stderr).trim()))?;
    let pair = |entry: &serde_json::Value| Some((entry["name"].as_str()?.to_owned(), entry["saw"].as_str()?.to_owned()));
    Ok(parsed.iter().filter_map(pair).collect())
}

/// What this kernel does, by name, `jobs` experiments at once. The hosts of one batch are made before any of them is used and go together: to
/// make or end one holds a lock of the whole kernel for a while, and the others would see everything late.
fn on_the_kernel(experiments: &[Experiment], jobs: usize) -> Result<BTreeMap<String, Saw>> {
    let mut made = BTreeMap::new();
    let mut disturbed = Vec::new();
    for batch in experiments.chunks(jobs.max(1)) {
        let hosts: Result<Vec<_>> = batch.iter().map(KernelHost::new).collect();
        let mut hosts = hosts?;
        std::thread::scope(|scope| {
            let start = |(experiment, host): (_, _)| (experiment, scope.spawn(move || KernelHost::make(host, experiment, LATE_MAX)));
            let running: Vec<(&Experiment, _)> = batch.iter().zip(&mut hosts).map(start).collect();
            for (experiment, thread) in running {
                match thread.join() {
                    Ok(Some(saw)) => _ = made.insert(experiment.name.clone(), saw),
                    Ok(None) => disturbed.push(experiment),
                    Err(_) => _ = made.insert(experiment.name.clone(), Err("the experiment panicked".to_owned())),
                }
            }
        });
    }
    if !disturbed.is_empty() {
        eprintln!("{} experiments were disturbed by other work on this machine and are made again, alone", disturbed.len());
    }
    made.extend(disturbed.into_iter().map(|experiment| (experiment.name.clone(), alone(experiment))));
    Ok(made)
}

/// Makes an experiment with nothing of ours beside it, until it is not disturbed.
fn alone(experiment: &Experiment) -> Saw {
    let once = || {
        // A thread of its own: it stays in the host's namespace.
        let make =
            || KernelHost::new(experiment).map_or_else(|error| Some(Err(format!("{error:#}"))), |mut host| host.make(experiment, LATE_MAX));
        std::thread::scope(|scope| scope.spawn(make).join()).unwrap_or_else(|_| Some(Err("the experiment panicked".to_owned())))
    };
    let busy = || {
        Err(format!("this machine is too busy: {ALONE} times in a row the experimenter was late by {LATE_MAX:?} or more, or lost a frame"))
    };
    (0..ALONE).find_map(|_| once()).unwrap_or_else(busy)
}

/// The kernel's version.
fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}
