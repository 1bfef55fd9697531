//! The player: feeds a scenario's timeline to a world and hands what it saw to the judge.
//!
//! Written once for all worlds. It derives what must be watched from what the scenario asks, lets time pass from step to step, resolves
//! "the node of that Service" and "whoever leads" from the latest observations, and collects the transcript.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::action::{Action, Target};
use crate::duration::moment;
use crate::expectation::{AnsweredBy, Mac, Subject, WireFilter};
use crate::grammar;
use crate::history::History;
use crate::judge::{blind, judge};
use crate::observation::{Observation, Seen};
use crate::outcome::{CONVERGES, Check, CheckKind, Outcome};
use crate::scenario::Scenario;
use crate::transcript::Transcript;
use crate::world::{Look, Unplayable, World, WorldError};

/// Why a run has no outcome. Neither says anything about the program under test.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlayError {
    /// The world lacks something.
    #[error(transparent)]
    Unplayable(#[from] Unplayable),
    /// The world failed.
    #[error("failed to play: {0}")]
    World(#[from] WorldError),
}

/// Plays a scenario in a world and judges it. The world is finished in any case.
pub fn play(scenario: &Scenario, world: &mut dyn World) -> Result<Outcome, PlayError> {
    world.supports(scenario)?;
    let mut run = Run::default();
    let played = run.play(scenario, world);
    let finished = world.finish();
    played?;
    finished?;
    run.take_in(world.observations());
    Ok(run.outcome(scenario, world.slack()))
}

/// What must be watched for a scenario: what its expectations and targets are about, and the Events that the transcript shows.
pub fn looks(scenario: &Scenario) -> Vec<Look> {
    let objects = |api_version: &str, kind: &str| Look::Objects { api_version: api_version.to_owned(), kind: kind.to_owned() };
    let mut looks = BTreeSet::from([objects("v1", "Event"), objects("v1", "Service")]);
    let mut targets: Vec<&Target> = scenario.timeline.iter().flat_map(|step| step.actions.iter().filter_map(Action::target)).collect();
    for expectation in &scenario.expect {
        match &expectation.subject {
            Subject::Neigh { client, lladdr, .. } => {
                looks.insert(Look::Neighbors { machine: client.clone() });
                targets.extend(target_of(lladdr.as_ref()));
            }
            Subject::Wire { filter, each, .. } => {
                looks.insert(Look::Frames);
                targets.extend([filter, each].into_iter().flat_map(targets_of));
            }
            Subject::Resource(pattern) | Subject::Absent(pattern) => {
                looks.insert(objects(&pattern.api_version, &pattern.kind));
            }
            Subject::Condition { api_version, kind, .. } => {
                looks.insert(objects(api_version, kind));
            }
            Subject::Curl { answered_by: Some(AnsweredBy::PodsOn(target)), .. } => {
                looks.insert(objects("v1", "Pod"));
                targets.push(target);
            }
            // Whether what an Event is about was ever there.
            Subject::Event { kind: Some(kind), .. } => looks.extend(grammar::known_version(kind).map(|version| objects(version, kind))),
            Subject::NodeOf { is, is_not, .. } => targets.extend(is.iter().chain(is_not)),
            Subject::Curl { .. } | Subject::Ping { .. } | Subject::Event { .. } | Subject::Output { .. } => {}
        }
    }
    if targets.into_iter().any(|target| *target == Target::Leader) {
        looks.insert(objects("coordination.k8s.io/v1", "Lease"));
    }
    looks.into_iter().collect()
}

/// Whose MAC is meant.
fn target_of(mac: Option<&Mac>) -> Option<&Target> {
    match mac {
        Some(Mac::Of(target)) => Some(target),
        _ => None,
    }
}

/// Whose MACs a filter names.
fn targets_of(filter: &WireFilter) -> impl Iterator<Item = &Target> {
    target_of(filter.sender_mac.as_ref()).into_iter().chain(target_of(filter.ethernet_source.as_ref()))
}

/// A run in progress.
#[derive(Default)]
struct Run {
    history: History,
    transcript: Transcript,
    /// Checks that no expectation made.
    found: Vec<Check>,
}

impl Run {
    /// The whole timeline.
    fn play(&mut self, scenario: &Scenario, world: &mut dyn World) -> Result<(), WorldError> {
        world.start(scenario, &looks(scenario))?;
        for step in &scenario.timeline {
            world.run_until(step.at)?;
            self.take_in(world.observations());
            for action in &step.actions {
                self.step(step.id.as_deref(), action, world)?;
            }
        }
        world.run_until(scenario.stop)?;
        self.take_in(world.observations());
        Ok(())
    }

    /// One action, with its machines named.
    fn step(&mut self, id: Option<&str>, action: &Action<Target>, world: &mut dyn World) -> Result<(), WorldError> {
        let now = world.now();
        // A real world is a little late: what it saw last counts, whatever its time.
        let latest = Duration::MAX;
        match action.resolve(|target| self.history.machine(target, latest)) {
            Ok(concrete) => {
                if let (Some(id), Some(machine)) = (id, concrete.target()) {
                    self.history.choose(id, machine);
                }
                self.transcript.action(now, action, &concrete);
                world.act(&concrete)
            }
            Err(why) => {
                let what = format!("the step at {} can be done", moment(now));
                self.found.push(Check { what, passed: false, detail: why, kind: CheckKind::Expectation });
                Ok(())
            }
        }
    }

    /// What was seen.
    fn take_in(&mut self, observations: Vec<Observation>) {
        for observation in observations {
            self.history.add(&observation);
            self.transcript.observation(&observation);
            let at = moment(observation.at);
            let (what, detail, kind) = match observation.what {
                Seen::InvariantBroken { invariant, detail } => (invariant, detail, CheckKind::Invariant),
                Seen::NotConverged { detail } => (CONVERGES.to_owned(), detail, CheckKind::Convergence),
                Seen::Crash { machine, detail } => (format!("Bellhop on {machine} goes on running"), detail, CheckKind::Crash),
                _ => continue,
            };
            self.found.push(Check { what, passed: false, detail: format!("at {at}: {detail}"), kind });
        }
    }

    /// The end: expectations are judged.
    fn outcome(self, scenario: &Scenario, slack: Duration) -> Outcome {
        let mut checks = self.found;
        checks.extend(scenario.expect.iter().map(|expectation| judge(scenario, &self.history, expectation, slack)));
        let blind = self.history.all_pings().map(|((from, to), echoes)| blind(from, *to, echoes)).collect();
        Outcome { checks, transcript: self.transcript.lines(), blind }
    }
}
