//! One text, played: what became of it, and how long its clients were blind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use bellhop_scenario::outcome::{Check, CheckKind, Outcome};
use bellhop_scenario::{Action, Look, Observation, ProbeId, Scenario, Seen, Unplayable, World, WorldError, parse_in, play};

use super::class::Class;
use super::draw::Drawn;
use crate::programs::words;
use crate::{Planted, SimWorld};

/// The exit code of a failure of the simulator itself.
pub(crate) const SIMULATOR: u8 = 6;

/// Why a run failed: what failures are grouped by, and what shrinking must keep.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cause {
    /// The exit code that says of what kind it is (design §6).
    pub(crate) exit: u8,
    /// The promise that was broken, or the first words of a crash.
    pub(crate) what: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// A run that is over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trial {
    /// Why it failed, each cause in detail, the gravest first; empty if it did not.
    pub(crate) failures: Vec<(Cause, String)>,
    /// How many events the LAN had.
    pub(crate) events: u64,
    /// Stretches without an answer: when each began and how long it was.
    pub(crate) blind: Vec<(Duration, Duration)>,
    /// How many of these had no end when the scenario was over: their lengths are cut there.
    pub(crate) cut: usize,
}

/// Plays a text as if it stood in `folder`, with a bug planted in Bellhop where one is named.
pub(crate) fn trial(folder: &Path, text: &str, plant: Option<Planted>) -> Trial {
    let scenario = match parse_in(folder, text) {
        Ok(scenario) => scenario,
        Err(refusal) => return failed(2, "the scenario is refused", refusal.to_string()),
    };
    // What panics outside of the program under test is a fault of the simulator; the others of a sweep go on.
    catch_unwind(AssertUnwindSafe(|| played(&scenario, plant))).unwrap_or_else(|panic| {
        failed(SIMULATOR, &format!("the simulator panicked: {}", without_numbers(words(&*panic))), scenario.name.clone())
    })
}

fn played(scenario: &Scenario, plant: Option<Planted>) -> Trial {
    let mut world = Watched { world: SimWorld::new(None), requests: BTreeMap::new() };
    if let Some(bug) = plant {
        world.world.plant(bug);
    }
    match play(scenario, &mut world) {
        Ok(outcome) => Trial {
            failures: causes(scenario, &outcome),
            events: world.world.counts().0,
            blind: world.requests.values().flat_map(|requests| stretches(requests)).collect(),
            cut: world.requests.values().filter(|requests| requests.last().is_some_and(|(_, answered)| !answered)).count(),
        },
        Err(error) => failed(SIMULATOR, &format!("the world failed: {}", without_numbers(&error.to_string())), error.to_string()),
    }
}

fn failed(exit: u8, what: &str, detail: String) -> Trial {
    Trial { failures: vec![(Cause { exit, what: what.to_owned() }, detail)], ..Trial::default() }
}

/// What failed, the gravest first. A step of a drawn timeline that found nobody to do it to ("nobody leads") is no failure.
fn causes(scenario: &Scenario, outcome: &Outcome) -> Vec<(Cause, String)> {
    let expected: BTreeSet<&str> = scenario.expect.iter().map(|expectation| expectation.what.as_str()).collect();
    let counts = |kind: CheckKind, what: &str| kind != CheckKind::Expectation || expected.contains(what);
    let failed = outcome.checks.iter().filter(|check| !check.passed && counts(check.kind, &check.what));
    let mut causes: Vec<(Cause, String)> = failed.map(|check| (cause(check), check.detail.clone())).collect();
    // A stable sort: of equally grave ones the first that came.
    causes.sort_by_key(|(cause, _)| std::cmp::Reverse(cause.exit));
    causes
}

fn cause(check: &Check) -> Cause {
    let what = match check.kind {
        // Where it ran is chance: what it said is the cause.
        CheckKind::Crash => format!("Bellhop crashed: {}", without_numbers(&check.detail)),
        _ => check.what.clone(),
    };
    Cause { exit: exit(check.kind), what }
}

fn exit(kind: CheckKind) -> u8 {
    match kind {
        CheckKind::Expectation => 1,
        CheckKind::Invariant => 3,
        CheckKind::Convergence => 4,
        CheckKind::Crash => 5,
    }
}

/// The first line of some last words, every number in it the same.
fn without_numbers(words: &str) -> String {
    let line = words.split_once(": ").map_or(words, |(_, rest)| rest).lines().next().unwrap_or_default();
    line.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect()
}

/// The stretches without an answer in the requests of one probe (when each began, and whether it was answered): from the first unanswered one to the next
/// answered one, or to the last.
fn stretches(requests: &[(Duration, bool)]) -> Vec<(Duration, Duration)> {
    let mut stretches = Vec::new();
    let mut since = None;
    for (started, answered) in requests {
        match (answered, since) {
            (false, None) => since = Some(*started),
            (true, Some(begun)) => {
                stretches.push((begun, *started - begun));
                since = None;
            }
            _ => {}
        }
    }
    if let (Some(begun), Some((last, _))) = (since, requests.last()) {
        stretches.push((begun, *last - begun));
    }
    stretches
}

/// The longest stretch that began under each class: the class of the last fault before it began.
pub(crate) fn blindness(drawn: &Drawn, blind: &[(Duration, Duration)]) -> BTreeMap<Class, Duration> {
    let mut longest: BTreeMap<Class, Duration> = drawn.classes.iter().map(|class| (*class, Duration::ZERO)).collect();
    for (since, length) in blind {
        // A request that began before the fault may be the first that it hurts.
        let hurt = *since + Duration::from_secs(1);
        let last = drawn.steps.iter().filter(|(at, _)| *at <= hurt).filter_map(|(_, class)| *class).next_back();
        if let Some(class) = last.and_then(|class| longest.get_mut(&class)) {
            *class = (*class).max(*length);
        }
    }
    longest
}

/// The simulator, with an eye on its clients.
struct Watched {
    world: SimWorld,
    /// Of each probe, when each request began and whether it was answered.
    requests: BTreeMap<ProbeId, Vec<(Duration, bool)>>,
}

impl World for Watched {
    fn name(&self) -> &str {
        self.world.name()
    }

    fn supports(&self, scenario: &Scenario) -> Result<(), Unplayable> {
        self.world.supports(scenario)
    }

    fn slack(&self) -> Duration {
        self.world.slack()
    }

    fn start(&mut self, scenario: &Scenario, looks: &[Look]) -> Result<(), WorldError> {
        self.world.start(scenario, looks)
    }

    fn run_until(&mut self, at: Duration) -> Result<(), WorldError> {
        self.world.run_until(at)
    }

    fn now(&self) -> Duration {
        self.world.now()
    }

    fn act(&mut self, action: &Action) -> Result<(), WorldError> {
        self.world.act(action)
    }

    fn observations(&mut self) -> Vec<Observation> {
        let seen = self.world.observations();
        for Observation { what, .. } in &seen {
            let (probe, started, answered) = match what {
                Seen::Curl { probe, started, result, .. } => (probe, started, result.is_ok()),
                Seen::Ping { probe, sent, answer, .. } => (probe, sent, answer.is_some()),
                _ => continue,
            };
            let requests = self.requests.entry(*probe).or_default();
            let place = requests.partition_point(|(earlier, _)| earlier <= started);
            requests.insert(place, (*started, answered));
        }
        seen
    }

    fn finish(&mut self) -> Result<(), WorldError> {
        self.world.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// What else goes wrong in a seed must not excuse a bug: the promise that it breaks is named, whatever else is.
    #[test]
    fn a_planted_bug_breaks_its_promise_amid_faults() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/failover");
        let named = |bug: Planted, seeds: std::ops::Range<u64>, promise: &str| {
            let names = |seed: &u64| {
                let drawn = super::super::draw::draw(*seed, &Class::ALL.into());
                trial(&folder, &drawn.text, Some(bug)).failures.iter().any(|(cause, _)| cause.what == promise)
            };
            assert!(seeds.clone().any(|seed| names(&seed)), "{bug} in none of the seeds {seeds:?}");
        };
        named(Planted::KeepsTheFirstMac, 0..8, "Bellhop names the MAC of the Service's node");
        named(Planted::Rebalances, 54..55, "nothing that is assigned moves without a cause");
        named(Planted::OneAddressForAll, 0..3, "no address is given to two Services");
        named(Planted::WritesInALoop, 0..2, "requests to the API stay bounded");
        named(Planted::AnnouncesInALoop, 0..2, "announcements stay bounded");
    }

    #[test]
    fn a_stretch_lasts_from_the_first_silence_to_the_next_answer() {
        let requests = [(at(0), true), (at(1), false), (at(2), false), (at(3), true), (at(4), true), (at(5), false), (at(7), false)];
        assert_eq!(stretches(&requests), [(at(1), at(2)), (at(5), at(2))]);
    }

    #[test]
    fn blindness_is_put_down_to_the_last_fault_before_it() {
        let steps = vec![(at(0), None), (at(10), Some(Class::Power)), (at(20), Some(Class::Storm))];
        let drawn = Drawn { text: String::new(), classes: [Class::Power, Class::Storm, Class::Nic].into(), steps };
        let expected = [(Class::Power, at(6)), (Class::Nic, at(0)), (Class::Storm, at(2))];
        assert_eq!(blindness(&drawn, &[(at(3), at(1)), (at(9), at(6)), (at(21), at(2))]), expected.into());
    }
}
