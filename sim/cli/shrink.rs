//! `bellhop-sim shrink`: from a scenario file that fails to the smallest one found that still fails for the same cause.

use std::path::{Path, PathBuf};

use anyhow::Context;
use bellhop_scenario::source::{from_yaml, to_yaml};
use serde_json::{Value, json};

use super::BAD_INPUT;
use super::sweep::{commit, folder};
use crate::Planted;
use crate::sweep::shrink::shrink;
use crate::sweep::trial::trial;

/// Shrinks a file and writes the result.
pub(super) fn file(file: &Path, out: Option<PathBuf>, plant: Option<Planted>) -> anyhow::Result<u8> {
    let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    let scenario = match from_yaml(&text) {
        Ok(scenario) => scenario,
        Err(refusal) => {
            eprintln!("{refusal}");
            return Ok(BAD_INPUT);
        }
    };
    // A drawn file stands outside of `scenarios/`, and names manifests as if it stood in a folder of it.
    let own = file.parent().unwrap_or_else(|| Path::new(""));
    let place = if own.join("../seed").is_dir() { Some(own.to_owned()) } else { folder() };
    let Some(place) = place else {
        eprintln!("error: no folder `scenarios` here, and {} is in none", file.display());
        return Ok(BAD_INPUT);
    };
    let Some((cause, detail)) = trial(&place, &text, plant).failure else {
        eprintln!("error: {} does not fail: nothing to shrink", file.display());
        return Ok(BAD_INPUT);
    };
    eprintln!("it fails: {cause}\n    {detail}");
    let mut tries = 0_u64;
    let small = shrink(scenario, |candidate| {
        tries += 1;
        trial(&place, &to_yaml(candidate), plant).failure.is_some_and(|(other, _)| other == cause)
    });
    let named = named(small, &cause.what, file);
    let name = named["name"].as_str().unwrap_or("shrunk").to_owned();
    let out = out.unwrap_or_else(|| PathBuf::from("target/sim/shrunk")).join(format!("{name}.yaml"));
    if let Some(parent) = out.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let head = format!("# Shrunk from {} at commit {}. It fails: {cause}.\n", file.display(), commit());
    std::fs::write(&out, format!("{head}{}", to_yaml(&named))).with_context(|| format!("failed to write {}", out.display()))?;
    let steps = named["timeline"].as_array().map_or(0, Vec::len);
    println!("{}", to_yaml(&named).trim_end());
    println!("\n{steps} steps, found in {tries} tries; it still fails: {cause}");
    println!("written to {}: once it is understood, it belongs in scenarios/regressions/", out.display());
    Ok(0)
}

/// The scenario under a name of its own, saying what it shows.
fn named(mut scenario: Value, cause: &str, file: &Path) -> Value {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_else(|| "scenario".to_owned());
    scenario["name"] = json!(format!("{stem}-shrunk"));
    scenario["about"] = json!(format!("It breaks the promise: {cause}."));
    scenario["why"] = json!("a sweep found it");
    scenario
}
