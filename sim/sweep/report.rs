//! What many trials together say: how long clients were blind under each class of faults, and what failed, grouped by cause.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use bellhop_scenario::duration::words;

use super::class::Class;
use super::draw::Drawn;
use super::trial::{Cause, Trial, blindness};

/// Upper ends of the histogram's columns; what is longer is in a last one.
const COLUMNS: [u64; 6] = [0, 1, 3, 10, 30, 60];
/// Bars of a column, from none to all.
const BARS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What a sweep has seen so far.
#[derive(Default)]
pub(crate) struct Report {
    played: u64,
    events: u64,
    /// The longest blindness of each seed in which a class was on.
    blind: BTreeMap<Class, Vec<Duration>>,
    /// Of how many stretches without an answer, and how many of these had no end.
    stretches: (usize, usize),
    /// Seeds by the cause of their failure, each with the detail.
    failures: BTreeMap<Cause, BTreeMap<u64, String>>,
}

impl Report {
    /// One more trial.
    pub(crate) fn add(&mut self, seed: u64, drawn: &Drawn, trial: Trial) {
        self.played += 1;
        self.events += trial.events;
        self.stretches.0 += trial.blind.len();
        self.stretches.1 += trial.cut;
        for (class, longest) in blindness(drawn, &trial.blind) {
            self.blind.entry(class).or_default().push(longest);
        }
        if let Some((cause, detail)) = trial.failures.into_iter().next() {
            self.failures.entry(cause).or_default().insert(seed, detail);
        }
    }

    /// How many were played.
    pub(crate) fn played(&self) -> u64 {
        self.played
    }

    /// How many failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().map(|seeds| seeds.len() as u64).sum()
    }

    /// How many events there were.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// The gravest cause's exit code; 0 where nothing failed.
    pub(crate) fn exit_code(&self) -> u8 {
        self.failures.keys().map(|cause| cause.exit).max().unwrap_or(0)
    }

    /// How long clients were blind: a row for each class.
    pub(crate) fn histogram(&self) -> String {
        let mut text = String::from("longest time that a client had no answer, by the class of the last fault before it\n");
        let heads: Vec<String> = COLUMNS[1..].iter().map(|seconds| format!("≤{seconds}s")).collect();
        let _ = writeln!(
            text,
            "{:<12} {:>6} {:>9} {:>9} {:>9}   {:>5} {} {:>5}",
            "CLASS",
            "SEEDS",
            "P50",
            "P95",
            "MAX",
            "none",
            columns(&heads),
            ">60s"
        );
        for (class, lengths) in &self.blind {
            let mut sorted = lengths.clone();
            sorted.sort_unstable();
            let counts = counts(&sorted);
            let bars: Vec<String> = counts.iter().map(|count| format!("{:>5}", bar(*count, sorted.len()))).collect();
            let at = |percent: usize| words(percentile(&sorted, percent));
            let _ = writeln!(text, "{class:<12} {:>6} {:>9} {:>9} {:>9}   {}", sorted.len(), at(50), at(95), at(100), bars.join(" "));
        }
        let (all, cut) = self.stretches;
        if cut > 0 {
            let _ =
                writeln!(text, "{cut} of {all} stretches without an answer were not over when the scenario was, and count up to its end");
        }
        text
    }

    /// What failed: each cause with its seeds, the first one's detail and how to see it again; `profile` and `plant` are the options that the commands
    /// for that need besides.
    pub(crate) fn failures(&self, commit: &str, folder: &Path, profile: &str, plant: &str) -> String {
        let mut text = String::new();
        for (cause, seeds) in &self.failures {
            let Some((first, detail)) = seeds.iter().next() else { continue };
            let shown: Vec<String> = seeds.keys().take(8).map(ToString::to_string).collect();
            let others = if seeds.len() > shown.len() { format!(" and {} more", seeds.len() - shown.len()) } else { String::new() };
            let _ = writeln!(text, "× {cause}: {} of {} seeds: {}{others}", seeds.len(), self.played, shown.join(", "));
            let _ = writeln!(text, "    {detail}");
            let file = folder.join(format!("seed-{first}.yaml"));
            let _ = writeln!(text, "    seed {first}, commit {commit}");
            let _ = writeln!(text, "    again:   cargo run --release -p bellhop-sim -- sweep --seeds {first}{profile}{plant}");
            let _ = writeln!(text, "    smaller: cargo run --release -p bellhop-sim -- shrink {}{plant}", file.display());
        }
        text
    }
}

fn columns(heads: &[String]) -> String {
    heads.iter().map(|head| format!("{head:>5}")).collect::<Vec<_>>().join(" ")
}

/// How many lengths fall into each column: none at all, up to each end, longer.
fn counts(lengths: &[Duration]) -> Vec<usize> {
    let mut counts = vec![0; COLUMNS.len() + 1];
    for length in lengths {
        let column = COLUMNS.iter().position(|end| *length <= Duration::from_secs(*end)).unwrap_or(COLUMNS.len());
        counts[column] += 1;
    }
    counts
}

/// A count as a bar of up to eight eighths; anything at all is at least one.
fn bar(count: usize, of: usize) -> char {
    let eighths = if count == 0 { 0 } else { (count * 8).div_ceil(of.max(1)) };
    BARS[eighths.min(8)]
}

/// The smallest length that so many in a hundred do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_lengths_that_were_seen() {
        let sorted: Vec<Duration> = (1..=20).map(Duration::from_secs).collect();
        assert_eq!(percentile(&sorted, 50), Duration::from_secs(10));
        assert_eq!(percentile(&sorted, 95), Duration::from_secs(19));
        assert_eq!(percentile(&sorted, 100), Duration::from_secs(20));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }

    #[test]
    fn failures_are_grouped_by_cause_and_the_gravest_counts() {
        let drawn = Drawn { text: String::new(), classes: [Class::Power].into(), steps: Vec::new() };
        let failing =
            |exit, what: &str| Trial { failures: vec![(Cause { exit, what: what.to_owned() }, "because".to_owned())], ..Trial::default() };
        let mut report = Report::default();
        report.add(1, &drawn, failing(3, "one"));
        report.add(2, &drawn, Trial::default());
        report.add(3, &drawn, failing(3, "one"));
        report.add(4, &drawn, failing(4, "other"));
        assert_eq!((report.played(), report.failed(), report.exit_code()), (4, 3, 4));
        let text = report.failures("abc", Path::new("target/sim/scenarios/drawn"), " --profile lan", " --plant x");
        assert!(text.contains("× one: 2 of 4 seeds: 1, 3\n"), "{text}");
        assert!(text.contains("sweep --seeds 4 --profile lan --plant x"), "{text}");
        assert!(text.contains("shrink target/sim/scenarios/drawn/seed-4.yaml --plant x"), "{text}");
    }
}
