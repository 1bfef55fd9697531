//! `bellhop-sim replay`: plays a trace's scenario again, with its seed, and says whether the same happens.
//!
//! The trace alone is enough: its first line has the scenario with all that it reads. Exit codes as for `diff`: 0 the same, 1 another run, 2 no
//! trace; 6 if the simulator itself fails. That the replayed run fails its expectations is no difference.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::Context;
use bellhop_scenario::{PlayError, load, play};

use super::diff::DIFFERENT;
use super::{BAD_INPUT, SIMULATOR, print, recording};
use crate::SimWorld;
use crate::trace::{Difference, Outputs, Played, Reader, TRACE_FILE, difference};

/// Plays it again.
pub(super) fn replay(file: &Path) -> anyhow::Result<u8> {
    let recorded = Reader::open(file)?;
    let played = recorded.header.played.clone();
    let (folder, scenario) = played.unpack()?;
    let scenario = match load(&scenario) {
        Ok(scenario) => scenario,
        Err(refusal) => {
            eprintln!("{refusal}");
            return Ok(BAD_INPUT);
        }
    };
    print(&format!("{}: seed {}, recorded by {}\n", played.name(), played.seed, by(&played)))?;
    let now = Played { commit: recording::commit(), program: Played::program(), ..played };
    let path = folder.path().join(TRACE_FILE);
    let lines = File::create(&path).with_context(|| format!("failed to write {}", path.display()))?;
    let mut world = SimWorld::new(Some(now.seed));
    if let Some(bug) = now.planted {
        print(&format!("planted in every replica: {bug}\n"))?;
        world.plant(bug);
    }
    world.record(now, Outputs { lines: Some(Box::new(BufWriter::new(lines))), ..Outputs::default() });
    match play(&scenario, &mut world) {
        Ok(_) => {}
        Err(PlayError::Unplayable(unplayable)) => {
            eprintln!("error: {unplayable}");
            return Ok(BAD_INPUT);
        }
        Err(error) => {
            eprintln!("error: {error}");
            return Ok(SIMULATOR);
        }
    }
    world.take_recorded().context("nothing was recorded")??;
    match difference(recorded, Reader::open(&path)?)? {
        Difference::None { records } => {
            print(&format!("The same happens again: {records} records, trace {:016x}.\n", world.trace_hash()))?;
            Ok(0)
        }
        Difference::Some(parting) => {
            print(&format!("{parting}\nThe first is {}, the second was played now.\n", file.display()))?;
            Ok(DIFFERENT)
        }
    }
}

/// Who recorded it.
fn by(played: &Played) -> String {
    played.commit.as_ref().map_or_else(|| played.program.clone(), |commit| format!("{} at {commit}", played.program))
}
