//! The program: it watches the API, leads by a Lease, writes statuses, opens links and announces.
//!
//! [`run`] is all of it, as one future over an [`env::Env`]. [`system`] makes that from the operating system; the simulator
//! makes its own. [`watch`] is of use to the models of Kubernetes around us too.

pub mod check;
pub mod cli;
mod connections;
pub mod env;
mod event;
pub mod http;
pub mod install;
mod jobs;
mod lease;
pub mod metrics;
mod outage;
mod packed;
mod ports;
mod run;
mod snapshot;
pub mod system;
pub mod uninstall;
pub mod watch;
mod watches;
mod write;

#[cfg(test)]
mod testing;

pub use run::{Config, run};
