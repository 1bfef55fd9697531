//! Scenarios: a file that reads like an incident report, played in any world and judged the same way in all of them.
//!
//! [`load`] parses a file strictly into a [`Scenario`]; [`play`] feeds its timeline to a [`World`] and judges what the world saw.
//! This crate knows no world: the simulator implements [`World`], so do network namespaces with real kernels.
//! Read [`world`] first, then [`scenario`].

pub mod action;
pub mod command;
pub mod duration;
pub mod edit;
pub mod expectation;
pub mod fault;
pub mod feature;
pub mod grammar;
mod history;
mod judge;
pub mod observation;
pub mod outcome;
pub mod player;
pub mod scenario;
pub mod source;
#[cfg(test)]
mod tests;
mod transcript;
pub mod world;

pub use action::{Action, Edit, ProbeId, RunId, Target};
pub use command::{Command, CommandLine, Kubectl};
pub use fault::Fault;
pub use grammar::{Refusal, files, load, parse, parse_in, schema};
pub use observation::{Observation, Seen};
pub use outcome::Outcome;
pub use player::{PlayError, looks, play};
pub use scenario::Scenario;
pub use world::{Look, Unplayable, World, WorldError};
