//! `bellhop-sim explain`: what happened to an address, in sentences, out of a trace or of a scenario that is played for it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bellhop_core::time::Instant;
use bellhop_scenario::{PlayError, duration, load, play};
use clap::Args;

use super::{BAD_INPUT, SIMULATOR, print, recording, sweep};
use crate::trace::story::END_AT_MOST_BEFORE;
use crate::trace::{Header, Outputs, Record, Story, explain, read, waiting};
use crate::{Planted, SimWorld};

/// What is to be explained.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A scenario file, a trace.jsonl, the folder of a run, or a seed of a sweep.
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
    /// Plant a bug in every replica of Bellhop before the scenario is played.
    #[arg(long, value_enum, value_name = "BUG")]
    plant: Option<Planted>,
}

/// `12.4s`, or `t+12.4s` as it is printed.
fn moment(text: &str) -> Result<Duration, String> {
    duration::parse(text.strip_prefix("t+").unwrap_or(text))
}

impl Arguments {
    /// Prints the story of each address.
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let is_scenario = self.input.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        let drawn = self.input.to_str().and_then(|input| input.parse().ok()).filter(|_| !self.input.exists());
        let (header, records) = if is_scenario || drawn.is_some() {
            let folder = tempfile::tempdir()?;
            let file = match drawn {
                Some(seed) => sweep::drawn(seed, folder.path())?,
                None => self.input.clone(),
            };
            match self.played(&file)? {
                Ok(run) => run,
                Err(code) => return Ok(code),
            }
        } else {
            anyhow::ensure!(self.seed.is_none() && self.plant.is_none(), "--seed and --plant are for scenarios: a trace has its own");
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
            let nobodys = Story::of(&header, &records, IpAddr::from([0, 0, 0, 0]), at);
            let nobody = format!("No Service has an address at {}, and none had one before.\n", duration::moment(self.at));
            print(&format!("{nobody}{}", waiting(&header, &nobodys)))?;
        }
        for (index, address) in addresses.into_iter().enumerate() {
            let apart = if index > 0 { "\n" } else { "" };
            print(&format!("{apart}{}", explain(&header, &Story::of(&header, &records, address, at))))?;
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
        self.plant.into_iter().for_each(|bug| world.plant(bug));
        let played = recording::played(&scenario, self.seed.unwrap_or(scenario.seed), self.plant)?;
        world.record(played, Outputs { keep: true, ..Outputs::default() });
        match play(&scenario, &mut world) {
            Ok(_) => {}
            Err(error) => {
                eprintln!("error: {}: {error}", file.display());
                return Ok(Err(if matches!(error, PlayError::Unplayable(_)) { BAD_INPUT } else { SIMULATOR }));
            }
        }
        let recorded = world.take_recorded().context("nothing was recorded")??;
        Ok(Ok((recorded.header, recorded.records)))
    }
}
