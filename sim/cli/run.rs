//! `bellhop-sim run`: the transcript, what was checked, the trace's hash; and on the last line how many passed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bellhop_scenario::duration::words;
use bellhop_scenario::outcome::{CheckKind, Outcome};
use bellhop_scenario::{PlayError, Scenario, load, play};

use super::{BAD_INPUT, SIMULATOR, embedded, print, recording};
use crate::trace::{CAPTURE_FILE, TRACE_FILE};
use crate::{Judged, Planted, SimWorld};

/// How files are played.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    /// Instead of each file's own seed.
    pub(super) seed: Option<u64>,
    /// A bug of every replica.
    pub(super) plant: Option<Planted>,
    /// Whether to color the output.
    pub(super) color: bool,
    /// Below it each run leaves its trace, in a folder of its own.
    pub(super) out: Option<&'a Path>,
}

/// Plays files, one after the other. The exit code is the worst of theirs.
pub(super) fn files(files: &[PathBuf], how: How<'_>) -> anyhow::Result<u8> {
    let mut worst = 0;
    for (index, file) in files.iter().enumerate() {
        if index > 0 {
            print("\n")?;
        }
        worst = worst.max(one(file, how, "")?);
    }
    Ok(worst)
}

/// Plays the tutorial that is built in.
pub(super) fn tutorial(color: bool) -> anyhow::Result<u8> {
    let folder = embedded::unpack()?;
    let more = "\
see more:  cargo run -p bellhop-sim -- list                                                every scenario, a line about each
           cargo run -p bellhop-sim -- run scenarios/leadership/leader-dies.yaml           play one
           cargo run -p bellhop-sim -- run scenarios/leadership/leader-dies.yaml --seed 7  the same with other chance
           RUST_LOG=info cargo run                                                         with Bellhop's own log
";
    one(&folder.path().join(embedded::TUTORIAL), How { seed: None, plant: None, color, out: None }, more)
}

/// Plays one file.
fn one(file: &Path, How { seed, plant, color, out }: How<'_>, more: &str) -> anyhow::Result<u8> {
    let scenario = match load(file) {
        Ok(scenario) => scenario,
        Err(refusal) => {
            eprintln!("{refusal}");
            return Ok(BAD_INPUT);
        }
    };
    let mut world = SimWorld::new(seed);
    if let Some(bug) = plant {
        print(&format!("planted in every replica: {bug}\n"))?;
        world.plant(bug);
    }
    let folder = match out {
        Some(out) => {
            let (folder, outputs) = recording::outputs(out, &scenario.name)?;
            world.record(recording::played(&scenario, seed.unwrap_or(scenario.seed), plant)?, outputs);
            Some(folder)
        }
        None => None,
    };
    match play(&scenario, &mut world) {
        Ok(outcome) => {
            let recorded = world.take_recorded().transpose();
            print(&report(&scenario, seed, &outcome, &world, color, folder.as_deref(), more))?;
            recorded.context("failed to write the trace")?;
            Ok(outcome.exit_code())
        }
        Err(PlayError::Unplayable(unplayable)) => {
            eprintln!("error: {} is {unplayable}", file.display());
            Ok(BAD_INPUT)
        }
        Err(error) => {
            eprintln!("error: {}: {error}", file.display());
            Ok(SIMULATOR)
        }
    }
}

/// All that is printed of a run.
fn report(
    scenario: &Scenario,
    seed: Option<u64>,
    outcome: &Outcome,
    world: &SimWorld,
    color: bool,
    folder: Option<&Path>,
    more: &str,
) -> String {
    let paint = |code: &str, line: &str| if color { format!("\x1b[{code}m{line}\x1b[0m") } else { line.to_owned() };
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = writeln!(text, "{}", paint("1", &format!("{}: {}", scenario.name, scenario.about)));
    if let Some(why) = &scenario.why {
        let _ = writeln!(text, "why: {why}");
    }
    let _ = writeln!(text);
    for line in &outcome.transcript {
        let painted = match line {
            line if line.contains(" ⚡ ") => paint("33", line),
            line if line.contains("$ ") && line.starts_with("t+") => paint("1", line),
            line => line.clone(),
        };
        let _ = writeln!(text, "{painted}");
    }
    let _ = writeln!(text, "\nchecked:");
    for check in &outcome.checks {
        let _ = writeln!(text, "{}", paint(if check.passed { "32" } else { "31" }, &check.to_string()));
    }
    for blind in &outcome.blind {
        let _ = writeln!(text, "{blind}");
    }
    if outcome.checks.iter().all(|check| check.kind == CheckKind::Expectation) {
        let Judged { frames, objects, requests, tried, pairs } = world.judged();
        let _ = writeln!(
            text,
            "held throughout: no address twice or from outside its pool; nothing of the user's changed, nothing moved without a cause ({objects} versions\n\
             of objects); every frame named the Service's node and came from who may speak ({frames} frames); no storm ({requests} requests to the API);\n\
             {}",
            after_the_end(tried, pairs)
        );
    }
    let (events, writes) = world.counts();
    let seed = seed.unwrap_or(scenario.seed);
    let _ = writeln!(text, "\ntrace {:016x}   seed {seed}, {events} events on the LAN, {writes} writes to the API", world.trace_hash());
    if let Some(folder) = folder {
        let _ = writeln!(text, "{}: {TRACE_FILE}, {CAPTURE_FILE}", folder.display());
        if outcome.failed() > 0 {
            let _ = writeln!(
                text,
                "what led there: bellhop-sim explain {} --at {}   # or any other moment",
                folder.display(),
                words(scenario.stop)
            );
        }
    }
    text.push_str(more);
    let last = format!("{} passed, {} failed", outcome.passed(), outcome.failed());
    let _ = writeln!(text, "{}", paint(if outcome.failed() == 0 { "32" } else { "31" }, &last));
    text
}

/// What promise 3 was judged by: who did not try proves nothing.
fn after_the_end(tried: usize, pairs: usize) -> String {
    match (tried, pairs) {
        (0, _) => "and after the end nobody was tried".to_owned(),
        _ if tried < pairs => {
            format!("and after the end every client reached every Service that it should: of {pairs} pairs of the two {tried} were tried")
        }
        _ => format!("and after the end every client reached every Service ({tried} {} tried)", if tried == 1 { "pair" } else { "pairs" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_everybody_was_reached_is_said_of_those_who_were_tried() {
        assert_eq!(after_the_end(0, 3), "and after the end nobody was tried");
        assert_eq!(
            after_the_end(2, 6),
            "and after the end every client reached every Service that it should: of 6 pairs of the two 2 were tried"
        );
        assert_eq!(after_the_end(6, 6), "and after the end every client reached every Service (6 pairs tried)");
    }
}
