//! What a world is, to a scenario: machines to act on, time to let pass, and things to be seen.
//!
//! The player (`player`) knows nothing else of a world, and a world knows nothing of expectations: it plays concrete actions and
//! hands back what it saw, with times. The simulator is one world, network namespaces with real kernels are another. All times are
//! [`Duration`]s since the scenario's start.

use std::fmt;
use std::time::Duration;

use crate::action::Action;
use crate::observation::Observation;
use crate::scenario::Scenario;

/// Somewhere a scenario can be played.
pub trait World {
    /// What people call it: "simulator", "network namespaces".
    fn name(&self) -> &str;

    /// Whether everything the scenario needs exists here; otherwise what is missing, by name.
    fn supports(&self, scenario: &Scenario) -> Result<(), Unplayable>;

    /// What the judge adds to every bound because this world's clocks and looks are not exact; zero in the simulator.
    fn slack(&self) -> Duration;

    /// Builds topology and cluster and begins the looks. The scenario's time is zero when it returns, and Bellhop runs on the machines of
    /// `scenario.cluster.bellhop`. Nothing of the scenario's manifests is applied: the timeline does that.
    fn start(&mut self, scenario: &Scenario, looks: &[Look]) -> Result<(), WorldError>;

    /// Lets time pass until `at` (never backwards: an `at` in the past returns at once).
    fn run_until(&mut self, at: Duration) -> Result<(), WorldError>;

    /// The scenario's time.
    fn now(&self) -> Duration;

    /// Does one thing now. The target is already resolved to a machine's name. Returns at once: what a command prints and what a probe
    /// finds come later, as observations.
    fn act(&mut self, action: &Action) -> Result<(), WorldError>;

    /// What was seen since the last call, in order of [`Observation::at`].
    fn observations(&mut self) -> Vec<Observation>;

    /// Ends the run and removes everything that [`World::start`] made. Called after failures too.
    fn finish(&mut self) -> Result<(), WorldError>;
}

/// Something to be watched from the start of the run to its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// Every object of one kind, in all namespaces, whenever it changes: [`crate::Seen::Object`].
    Objects {
        /// `v1`, `apps/v1`, `coordination.k8s.io/v1`.
        api_version: String,
        /// `Service`.
        kind: String,
    },
    /// A machine's neighbor table, whenever an entry changes: [`crate::Seen::Neighbor`].
    Neighbors {
        /// The machine, mostly a client.
        machine: String,
    },
    /// Every ARP frame on every segment: [`crate::Seen::Frame`].
    Frames,
}

/// What a world lacks for a scenario. A scenario that cannot be played is reported so, by name, and never passes silently.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not playable here: {}", missing.join("; "))]
pub struct Unplayable {
    /// One phrase for each machine, fault or look that does not exist in this world.
    pub missing: Vec<String>,
}

/// The world itself failed: no statement about the program under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorldError(pub String);

impl fmt::Display for WorldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WorldError {}
