//! `bellhop-sim fidelity`: what the simulated host does in each experiment of the fidelity suite.

use bellhop_fidelity::{Experiment, experiments};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::SimulatedHost;

/// Draws of reachable times come from it; what an experiment says does not depend on them.
const SEED: u64 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// A line for each experiment.
    Table,
    /// An array of objects: name, section, expected, saw.
    Json,
}

/// Makes all of them. 0 if each saw what the reference says.
pub(super) fn run(output: Output) -> anyhow::Result<u8> {
    let made: Vec<(Experiment, String)> = experiments().into_iter().map(make).collect();
    match output {
        Output::Json => {
            let list: Vec<Value> = made.iter().map(|(experiment, saw)| describe(experiment, saw)).collect();
            println!("{}", serde_json::to_string_pretty(&list)?);
        }
        Output::Table => {
            let width = made.iter().map(|(experiment, _)| experiment.name.len()).max().unwrap_or(0);
            for (experiment, saw) in &made {
                let mark = if *saw == experiment.expected { '√' } else { '×' };
                println!("{mark} {:<width$}  §{}  {saw}", experiment.name, experiment.section);
            }
        }
    }
    Ok(u8::from(made.iter().any(|(experiment, saw)| *saw != experiment.expected)))
}

fn make(experiment: Experiment) -> (Experiment, String) {
    let mut host = SimulatedHost::new(&experiment.settings, SEED);
    let saw = experiment.run(&mut host).unwrap_or_else(|error| format!("error: {error}"));
    (experiment, saw)
}

fn describe(experiment: &Experiment, saw: &str) -> Value {
    json!({ "name": experiment.name, "section": experiment.section, "expected": experiment.expected, "saw": saw })
}
