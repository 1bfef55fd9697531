//! The simulator as a world for scenarios: one thread, one paused runtime, the whole program inside.
//!
//! A thin shell over `stage`: it owns the runtime, and turns the scenario's time into the world's. The same scenario and seed give
//! the same observations and the same [`SimWorld::trace_hash`], in every process.

use std::io;
use std::time::Duration;

use bellhop_core::time::Instant;
use bellhop_scenario::fault::Fault;
use bellhop_scenario::{Action, Look, Observation, Scenario, Seen, Unplayable, World, WorldError};
use tokio::runtime::Runtime;
use xxhash_rust::xxh3::xxh3_64;

use crate::eye::Judged;
use crate::machines;
use crate::planted::Planted;
use crate::settling::Settled;
use crate::stage::Stage;
use crate::trace::{self, Outputs, Played, Recorded, What};

/// A simulated LAN and cluster that plays one scenario.
pub struct SimWorld {
    /// Instead of the scenario's own seed.
    seed: Option<u64>,
    /// A bug of every replica.
    planted: Option<Planted>,
    /// Dropped before the runtime that its timers are in.
    stage: Option<Stage>,
    runtime: Option<Runtime>,
    /// Seen before the end and not yet handed out.
    left: Vec<Observation>,
    /// The hash at the end.
    hash: u64,
    /// Events of the fabric and writes to the API until the end.
    counts: (u64, u64),
    /// What the promises of every scenario were judged by.
    judged: Judged,
    /// What is to be recorded, until the start.
    record: Option<(Played, Outputs)>,
    /// What was recorded, after the end.
    recorded: Option<io::Result<Recorded>>,
}

impl SimWorld {
    /// A world that will draw from `seed`, or from the scenario's own.
    pub fn new(seed: Option<u64>) -> Self {
        Self {
            seed,
            planted: None,
            stage: None,
            runtime: None,
            left: Vec::new(),
            hash: 0,
            counts: (0, 0),
            judged: Judged::default(),
            record: None,
            recorded: None,
        }
    }

    /// Plants a bug in every replica of a world that has not been started.
    pub fn plant(&mut self, bug: Planted) {
        self.planted = Some(bug);
    }

    /// Records the run that is about to start.
    pub fn record(&mut self, played: Played, outputs: Outputs) {
        self.record = Some((played, outputs));
    }

    /// What was recorded, after the end; `None` if nothing was to be. An error says that a file could not be written.
    pub fn take_recorded(&mut self) -> Option<io::Result<Recorded>> {
        self.recorded.take()
    }

    /// The one number that stands for everything that happened: the fabric's events and the API's writes. Zero before the end.
    pub fn trace_hash(&self) -> u64 {
        self.hash
    }

    /// How many events the fabric had, and how many writes took effect in the API. Zero before the end.
    pub fn counts(&self) -> (u64, u64) {
        self.counts
    }

    /// By how much the promises that hold in every scenario were judged. Nothing before the end.
    pub fn judged(&self) -> Judged {
        self.judged
    }

    /// Which faults are on, the oldest first: what, since when, and until when if it ends by itself; in the scenario's time.
    pub fn ongoing(&self) -> Vec<(Fault, Duration, Option<Duration>)> {
        let Some(stage) = &self.stage else { return Vec::new() };
        let time = |at: Instant| at.saturating_since(stage.zero);
        stage.ongoing().map(|ongoing| (ongoing.fault.clone(), time(ongoing.since), ongoing.until.map(time))).collect()
    }

    /// Ends every fault now, and boots what is rebooting: from here on, things can only get better. What a timeline switched off stays off.
    pub fn heal(&mut self) -> Result<(), WorldError> {
        let (runtime, stage) = self.parts()?;
        runtime.block_on(async { stage.heal() }).map_err(WorldError)
    }

    /// Runtime and stage, once started.
    fn parts(&mut self) -> Result<(&Runtime, &mut Stage), WorldError> {
        match (&self.runtime, &mut self.stage) {
            (Some(runtime), Some(stage)) => Ok((runtime, stage)),
            _ => Err(WorldError("the simulator has not been started".to_owned())),
        }
    }
}

impl World for SimWorld {
    fn name(&self) -> &str {
        "simulator"
    }

    fn supports(&self, scenario: &Scenario) -> Result<(), Unplayable> {
        machines::supports(scenario)
    }

    fn slack(&self) -> Duration {
        Duration::ZERO
    }

    fn start(&mut self, scenario: &Scenario, looks: &[Look]) -> Result<(), WorldError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            // One yield then means that everything runnable has run (simulation.md §2).
            .event_interval(u32::MAX)
            .build()
            .map_err(|error| WorldError(format!("no runtime: {error}")))?;
        let seed = self.seed.unwrap_or(scenario.seed);
        let stage = runtime.block_on(Stage::build(scenario, seed, self.planted, looks, self.record.take()));
        self.runtime = Some(runtime);
        self.stage = Some(stage.map_err(WorldError)?);
        Ok(())
    }

    fn run_until(&mut self, at: Duration) -> Result<(), WorldError> {
        let (runtime, stage) = self.parts()?;
        let until = stage.zero + at;
        runtime.block_on(stage.run_until(until)).map_err(WorldError)
    }

    fn now(&self) -> Duration {
        self.stage.as_ref().map_or(Duration::ZERO, |stage| stage.lan.fabric.borrow().now().saturating_since(stage.zero))
    }

    fn act(&mut self, action: &Action) -> Result<(), WorldError> {
        let now = self.now();
        let (runtime, stage) = self.parts()?;
        stage.tape.say(stage.zero + now, What::Action(trace::action(&stage.scenario, stage.zero, now, action)));
        runtime.block_on(async { stage.act(action) }).map_err(WorldError)
    }

    fn observations(&mut self) -> Vec<Observation> {
        let mut seen = std::mem::take(&mut self.left);
        if let Some(stage) = &mut self.stage {
            seen.extend(stage.eye.take(stage.zero));
        }
        seen
    }

    fn finish(&mut self) -> Result<(), WorldError> {
        let (Some(runtime), Some(stage)) = (self.runtime.take(), self.stage.take()) else { return Ok(()) };
        let result = runtime.block_on(self.end(stage));
        drop(runtime);
        result
    }
}

impl SimWorld {
    /// The scenario is over: what is waited for is given up, the cluster settles, and what holds in every scenario is judged.
    async fn end(&mut self, mut stage: Stage) -> Result<(), WorldError> {
        let parts = [stage.lan.fabric.borrow().trace_hash(), stage.eye.hash(), stage.tape.hash()].map(u64::to_le_bytes);
        self.hash = xxh3_64(&parts.concat());
        self.counts = (stage.lan.fabric.borrow().event_count(), stage.api.writes());
        // After the hash is taken: what is still waited for is not what happened.
        stage.eye.give_up(stage.zero, &mut stage.lan.fabric.borrow_mut());
        self.left.extend(stage.eye.take(stage.zero));
        // The trace ends with the scenario; only broken promises still come.
        stage.tape.close();
        let settled = stage.settle_down().await;
        let ordeal = std::mem::take(&mut stage.ordeal);
        let ended = stage.lan.fabric.borrow().now();
        let settled = settled.map(|Settled { missed, tried, pairs }| {
            let judged = stage.eye.judge(stage.zero, ended, stage.lan.take_spoken(), ordeal, missed);
            self.judged = Judged { tried, pairs, ..judged };
        });
        self.recorded = stage.tape.finish(self.hash);
        settled.map_err(WorldError)?;
        // Of what came after the end, only what should never have come.
        let counts =
            |seen: &Observation| matches!(seen.what, Seen::InvariantBroken { .. } | Seen::NotConverged { .. } | Seen::Crash { .. });
        self.left.extend(stage.eye.take(stage.zero).into_iter().filter(counts));
        Ok(())
    }
}
