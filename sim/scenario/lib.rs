//! Scenarios: a file that reads like an incident report, played in any world and judged the same way in all of them.
//!
//! `load` parses a file strictly into a [`Scenario`]; `play` feeds its timeline to a [`World`] and judges what the world saw.
//! This crate knows no world: the simulator implements [`World`], so do network namespaces with real kernels.
//! Read [`world`] first, then [`scenario`].

pub mod action;
pub mod command;
pub mod duration;
pub mod expectation;
pub mod observation;
pub mod scenario;
pub mod world;

pub use action::{Action, Edit, ProbeId, RunId, Target};
pub use command::{Command, CommandLine, Kubectl};
pub use observation::{Observation, Seen};
pub use scenario::Scenario;
pub use world::{Look, Unplayable, World, WorldError};
