//! The simulated arm: each experiment a test of its name, under several seeds, because what is seen must not depend on a draw.

use bellhop_fidelity::{Experiment, experiments};
use bellhop_sim::SimulatedHost;
use libtest_mimic::{Arguments, Failed, Trial};

/// Draws of the reachable time that each experiment is made with.
const SEEDS: std::ops::Range<u64> = 0..20;

fn main() {
    let arguments = Arguments::from_args();
    let trials = experiments().into_iter().map(|experiment| Trial::test(experiment.name.clone(), move || check(&experiment))).collect();
    libtest_mimic::run(&arguments, trials).exit();
}

fn check(experiment: &Experiment) -> Result<(), Failed> {
    for seed in SEEDS {
        let saw = experiment.run(&mut SimulatedHost::new(&experiment.settings, seed))?;
        if saw != experiment.expected {
            return Err(format!("seed {seed}: §{} says\n  {}\nand the host did\n  {saw}", experiment.section, experiment.expected).into());
        }
    }
    Ok(())
}
