//! The machine's network interfaces: frames in and out of one ([`Nic`]), and what there is of them ([`Interfaces`]).
//!
//! This is the production side of [`bellhop_core::link::LinkLayer`]; the simulator has its own. Nothing is decided here: which interface
//! to open and what to answer is the core's business. It is also the only crate with `unsafe`, for what AF_PACKET has no safe door to;
//! all of it but one registration with tokio stands in `socket.rs`.
//!
//! Where pnet stands: the hot path drives its socket by hand (its channel polls and copies for each frame), and
//! links are read over netlink, since pnet's enumeration makes strings of interface names without checking them. Its datalink channel
//! carries the probing client, [`probe`].
#![allow(unsafe_code)] // The workspace denies it; this crate is where it may stand.
#![deny(unsafe_op_in_unsafe_fn)]
#![warn(clippy::undocumented_unsafe_blocks)]

mod filter;
mod interfaces;
mod memberships;
mod netlink;
mod nic;
pub mod probe;
mod socket;

pub use interfaces::Interfaces;
#[doc(hidden)]
pub use interfaces::read_datagram;
pub use nic::Nic;
