//! The scenario files on real Linux kernels: machines are network namespaces, programs are processes.
//!
//! [`NetnsWorld`] is a [`bellhop_scenario::World`]. One process plays one scenario and holds everything that it makes: namespaces have no
//! name but are held by its file descriptors, and each program it starts is killed by the kernel when it ends, however it ends. So
//! nothing can be left behind. [`suite`] starts one such process for each scenario. Read [`world`] first, then [`lan`].
//! [`kind`] is a suite of its own on real Kubernetes, and a third world.
//! [`fidelity`] is something else: the simulator's experiments about a single host, on the kernel. So is [`conformance`]: our API server beside a real one.
//! The programs under test are black boxes here: `bellhop`, `bellhop-sim`, `kubectl`, `ping`, `ip`, `curl`, `tcpdump`.

mod capture;
mod clock;
mod cluster;
pub mod conformance;
mod due;
pub mod fidelity;
mod http;
pub mod kind;
pub mod lan;
mod looks;
pub mod namespace;
mod neighbors;
mod objects;
mod ping;
mod probe;
pub mod process;
pub mod relay;
pub mod suite;
mod terminal;
pub mod world;

pub use world::NetnsWorld;
