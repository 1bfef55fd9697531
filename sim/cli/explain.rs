//! `bellhop-sim explain`: what happened to an address, in sentences, out of a trace or of a scenario that is played for it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bellhop_core::time::Instant;
use bellhop_scenario::{PlayError, duration, load, play};
use clap::Args;

use super::{BAD_INPUT, NO_END, recording};
use crate::SimWorld;
use crate::trace::story::END_AT_MOST_BEFORE;
use crate::trace::{Header, Outputs, Record, Story, explain, read, waiting};

/// What is to be explained.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A scenario file, a trace.jsonl, or the folder of a run.
    input: PathBuf,
    /// The moment, in the scenario's time, as transcripts have it: 12.4s.
    #[arg(long, value_parser = moment)]
    at: Duration,
    /// The address; otherwise every address that a Service has or had.
    #[arg(long)]
    address: Option<IpAddr>,
    /// Play the scenario with this seed instead of its own.
    #[arg(long)]
    seed: Option<u64>,
}

/// `12.4s`, or `t+12.4s` as it is printed.
fn moment(text: &str) -> Result<Duration, String> {
    duration::parse(text.strip_prefix("t+").unwrap_or(text))
}

impl Arguments {
    /// Prints the story of each address.
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let is_scenario = self.input.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        let (header, records) = if is_scenario {
            match self.played(&self.input)? {
                Ok(run) => run,
                Err(code) => return Ok(code),
            }
        } else {
            anyhow::ensure!(self.seed.is_none(), "--seed is for scenarios: a trace has its own");
            let trace = read(&self.input)?;
            (trace.header, trace.records)
        };
        let at = header.zero + self.at;
        let last = records.iter().map(|record| record.at).max().unwrap_or(Instant::ZERO);
        anyhow::ensure!(
            at <= last + END_AT_MOST_BEFORE,
            "--at {}: the run ends at {}",
            duration::words(self.at),
            duration::words(last.saturating_since(header.zero))
        );
        let addresses = self.address.map_or_else(|| Story::addresses(&records, at), |address| vec![address]);
        if addresses.is_empty() {
            println!("No Service has an address at {}, and none had one before.", duration::moment(self.at));
            let nobodys = Story::of(&header, &records, IpAddr::from([0, 0, 0, 0]), at);
            print!("{}", waiting(&header, &nobodys));
        }
        for (index, address) in addresses.into_iter().enumerate() {
            if index > 0 {
                println!();
            }
            print!("{}", explain(&header, &Story::of(&header, &records, address, at)));
        }
        Ok(0)
    }

    /// Plays a scenario and keeps what happened; or says why not, with an exit code.
    fn played(&self, file: &Path) -> anyhow::Result<Result<(Header, Vec<Record>), u8>> {
        let scenario = match load(file) {
            Ok(scenario) => scenario,
            Err(refusal) => {
                eprintln!("{refusal}");
                return Ok(Err(BAD_INPUT));
            }
        };
        let mut world = SimWorld::new(self.seed);
        let played = recording::played(&scenario, self.seed.unwrap_or(scenario.seed), None)?;
        world.record(played, Outputs { keep: true, ..Outputs::default() });
        match play(&scenario, &mut world) {
            Ok(_) => {}
            Err(error) => {
                eprintln!("error: {}: {error}", file.display());
                return Ok(Err(if matches!(error, PlayError::Unplayable(_)) { BAD_INPUT } else { NO_END }));
            }
        }
        let recorded = world.take_recorded().context("nothing was recorded")??;
        Ok(Ok((recorded.header, recorded.records)))
    }
}
