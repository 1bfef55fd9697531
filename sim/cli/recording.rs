//! Where a run's trace goes, and what the program knows of itself for the first line.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use bellhop_scenario::Scenario;

use crate::Planted;
use crate::trace::{CAPTURE_FILE, Outputs, Played, TRACE_FILE};

/// Where runs leave their folders, if nothing else is said.
pub(super) const FOLDER: &str = "target/sim";

/// The scenario and its files as a trace's first line has them.
pub(super) fn played(scenario: &Scenario, seed: u64, planted: Option<Planted>) -> anyhow::Result<Played> {
    let text = std::fs::read_to_string(&scenario.path).with_context(|| format!("failed to read {}", scenario.path.display()))?;
    let played = Played::new(scenario, &text, seed).with_context(|| format!("failed to gather what {} reads", scenario.path.display()))?;
    Ok(Played { commit: commit(), planted, ..played })
}

/// Makes the run's folder and both files in it.
pub(super) fn outputs(out: &Path, name: &str) -> anyhow::Result<(PathBuf, Outputs)> {
    let folder = out.join(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let file = |name: &str| -> anyhow::Result<Box<dyn std::io::Write>> {
        let path = folder.join(name);
        let file = File::create(&path).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(Box::new(BufWriter::with_capacity(256 * 1024, file)))
    };
    let outputs = Outputs { lines: Some(file(TRACE_FILE)?), capture: Some(file(CAPTURE_FILE)?), keep: false };
    Ok((folder, outputs))
}

/// The commit that the program comes from: what the build said (BELLHOP_COMMIT), or what git says of the source now. It is told, never used.
pub(super) fn commit() -> Option<String> {
    if let Some(commit) = option_env!("BELLHOP_COMMIT") {
        return Some(commit.to_owned());
    }
    let said =
        Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--abbrev=12"]).output().ok()?;
    let commit = String::from_utf8(said.stdout).ok()?.trim().to_owned();
    (said.status.success() && !commit.is_empty()).then_some(commit)
}
