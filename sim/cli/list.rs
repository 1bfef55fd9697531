//! `bellhop-sim list`: the scenarios of a folder by theme, a line about each; as JSON for programs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use bellhop_scenario::{Scenario, files, load};
use clap::ValueEnum;

use super::BAD_INPUT;

/// How the list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// A table for people.
    Table,
    /// A list of objects: file, theme, name, about, why, seconds.
    Json,
}

/// Prints the list. Files that are no scenarios are errors; the others are listed all the same.
pub(super) fn list(folder: Option<PathBuf>, output: Output) -> anyhow::Result<u8> {
    let folder = folder.unwrap_or_else(super::scenarios);
    let paths = files(&folder).with_context(|| format!("failed to read the folder {}", folder.display()))?;
    let (mut scenarios, mut refusals) = (Vec::new(), Vec::new());
    for path in paths {
        match load(&path) {
            Ok(scenario) => scenarios.push(scenario),
            Err(refusal) => refusals.push(refusal),
        }
    }
    super::print(&match output {
        Output::Table => table(&scenarios),
        Output::Json => format!("{:#}\n", scenarios.iter().map(object).collect::<serde_json::Value>()),
    })?;
    for refusal in &refusals {
        eprintln!("{refusal}");
    }
    Ok(if refusals.is_empty() { 0 } else { BAD_INPUT })
}

/// Themes in order of name, each with its scenarios.
fn table(scenarios: &[Scenario]) -> String {
    let mut themes: BTreeMap<String, Vec<&Scenario>> = BTreeMap::new();
    for scenario in scenarios {
        themes.entry(scenario.theme()).or_default().push(scenario);
    }
    let width = scenarios.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    let lines = themes.iter().flat_map(|(theme, scenarios)| {
        let lines = scenarios.iter().map(move |scenario| format!("  {:<width$}   {}\n", scenario.name, scenario.about));
        std::iter::once(format!("{theme}\n")).chain(lines)
    });
    lines.collect()
}

/// One scenario for programs.
fn object(scenario: &Scenario) -> serde_json::Value {
    serde_json::json!({
        "file": scenario.path.display().to_string(),
        "theme": scenario.theme(),
        "name": scenario.name,
        "about": scenario.about,
        "why": scenario.why,
        "seconds": scenario.stop.as_secs_f64(),
    })
}
