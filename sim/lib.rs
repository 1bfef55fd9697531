//! The simulator: the whole program on a simulated LAN and cluster, in virtual time.
//!
//! [`SimWorld`] plays scenarios; [`cli`] is the program `bellhop-sim`. A world is a `stage` (fabric, API, programs) that a `driver` lets
//! time pass for; `actions` is what a timeline does to it, `eye` what is seen of it, [`trace`] everything that happened.

mod actions;
pub mod cli;
mod clock;
mod driver;
mod eye;
mod invariants;
mod kubectl;
mod lan;
mod machines;
mod node;
mod planted;
mod probes;
mod programs;
mod settling;
mod stage;
mod subject;
mod sweep;
pub mod trace;
mod world;

pub use clock::WorldClock;
pub use eye::Judged;
pub use planted::Planted;
pub use subject::SimulatedHost;
pub use world::SimWorld;
