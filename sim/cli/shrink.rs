//! `bellhop-sim shrink`: from a scenario file that fails to the smallest one found that still fails for the same cause.

use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::Context;
use bellhop_scenario::source::{from_yaml, to_yaml};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::sweep::{copy_manifests, drawn_folder, folder, stop_at_interrupt};
use super::{BAD_INPUT, print, recording};
use crate::Planted;
use crate::sweep::draw::DRAWN;
use crate::sweep::shrink::shrink;
use crate::sweep::trial::{Cause, trial};

/// Shrinks a file and writes the result below `out`. After Ctrl-C that is the smallest found by then.
pub(super) fn file(file: &Path, out: &Path, plant: Option<Planted>) -> anyhow::Result<u8> {
    let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    let scenario = match from_yaml(&text) {
        Ok(scenario) => scenario,
        Err(refusal) => {
            eprintln!("{refusal}");
            return Ok(BAD_INPUT);
        }
    };
    // A file that stands outside of any tree names manifests as if it stood in a folder of `scenarios/`.
    let own = file.parent().unwrap_or_else(|| Path::new(""));
    let place = if own.join("../seed").is_dir() { Some(own.to_owned()) } else { folder() };
    let Some(place) = place else {
        eprintln!("error: no folder `scenarios` here, and {} is in none", file.display());
        return Ok(BAD_INPUT);
    };
    let Some((cause, detail)) = trial(&place, &text, plant).failures.into_iter().next() else {
        eprintln!("error: {} does not fail: nothing to shrink", file.display());
        return Ok(BAD_INPUT);
    };
    eprintln!("it fails: {cause}\n    {detail}");
    let stop = stop_at_interrupt()?;
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {pos} tries, {msg}")?);
    let small = shrink(scenario, |candidate| {
        // An interrupted one finds nothing smaller any more.
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        bar.inc(1);
        let fails = trial(&place, &to_yaml(candidate), plant).failures.iter().any(|(other, _)| *other == cause);
        if fails {
            bar.set_message(format!("{} steps", steps(candidate)));
        }
        fails
    });
    bar.finish_and_clear();
    let small = named(small, &cause, file);
    let name = small["name"].as_str().unwrap_or("shrunk").to_owned();
    let folder = drawn_folder(out);
    let out = folder.join(format!("{name}.yaml"));
    let commit = recording::commit().unwrap_or_else(|| "unknown".to_owned());
    let head = format!("# Shrunk from {} at commit {commit}. It fails: {cause}.\n", file.display());
    copy_manifests(&place, &folder)
        .and_then(|()| std::fs::write(&out, format!("{head}{}", to_yaml(&small))))
        .with_context(|| format!("failed to write {}", out.display()))?;
    let so_far = if stop.load(Ordering::Relaxed) { "interrupted: the smallest so far has " } else { "" };
    print(&format!(
        "{}\n\n{so_far}{} steps, found in {} tries; it still fails: {cause}\n\
         written to {}: once it is understood, it belongs in scenarios/regressions/\n",
        to_yaml(&small).trim_end(),
        steps(&small),
        bar.position(),
        out.display()
    ))?;
    Ok(0)
}

fn steps(scenario: &Value) -> usize {
    scenario["timeline"].as_array().map_or(0, Vec::len)
}

/// The scenario under a name of its own, saying what it shows. What its author said of it stays.
fn named(mut scenario: Value, cause: &Cause, file: &Path) -> Value {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_else(|| "scenario".to_owned());
    scenario["name"] = json!(format!("{stem}-shrunk"));
    if scenario["why"] == DRAWN {
        scenario["about"] = json!(format!("Shrunk from what a sweep drew. It fails: {cause}."));
    }
    scenario
}
