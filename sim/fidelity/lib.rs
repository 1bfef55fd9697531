//! The fidelity suite: what a Linux host does on the wire, as experiments that run on the simulated host and on a real kernel alike.
//!
//! The subject is a Linux host with one NIC; the experimenter holds the other end of the cable. An [`Experiment`] is written once, against
//! an [`Arm`]; what it saw is one line of text, so that arms can be compared by eye and by program. Where two arms differ, the simulator is
//! wrong. Here are the bodies and what the reference expects (layer2-peers-and-kernel.md §6); the arms live with their worlds: `bellhop-sim`
//! has the simulated one, `bellhop-e2e` the kernel. This crate knows no fabric and no namespace. Begin at [`experiments`].

mod arm;
mod experiments;
mod lab;
mod wire;

pub use arm::{Arm, ArmError, Captured, Entry, HOST, HOST_IP, HOST_IP6, LOCAL_IP, LOCAL_IP6, PREFIX, PREFIX6, Settings};
pub use experiments::{Experiment, experiments};
