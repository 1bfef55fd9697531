//! `bellhop-sim list`: the scenarios of a folder, as a table with a line about each.

use std::path::PathBuf;

use anyhow::Context;
use bellhop_scenario::{files, load};

use super::BAD_INPUT;

/// Prints the table. Files that are no scenarios are errors; the others are listed all the same.
pub(super) fn list(folder: Option<PathBuf>) -> anyhow::Result<u8> {
    let folder = folder.unwrap_or_else(|| {
        let here = PathBuf::from("scenarios");
        if here.is_dir() { here } else { PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios")) }
    });
    let paths = files(&folder).with_context(|| format!("failed to read the folder {}", folder.display()))?;
    let (mut scenarios, mut refusals) = (Vec::new(), Vec::new());
    for path in paths {
        match load(&path) {
            Ok(scenario) => scenarios.push(scenario),
            Err(refusal) => refusals.push(refusal),
        }
    }
    let width = scenarios.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0).max("SCENARIO".len());
    println!("{:<width$}   ABOUT", "SCENARIO");
    for scenario in &scenarios {
        println!("{:<width$}   {}", scenario.name, scenario.about);
    }
    for refusal in &refusals {
        eprintln!("{refusal}");
    }
    Ok(if refusals.is_empty() { 0 } else { BAD_INPUT })
}
