//! The simulated LAN: cables, learning switches, and machines that behave like Linux on the wire.
//!
//! A machine has NICs, routes, a neighbor table that follows the kernel's state machine, ping and curl; a node has pods and kube-proxy's
//! rules besides. Everything happens in one queue with nanoseconds, and every draw comes from one seed: the same calls give the same
//! [`Fabric::trace_hash`]. No I/O, no clock, no async: whoever drives it lets time pass. Bellhop comes in through virtual ports
//! ([`Fabric::open_port`]). Begin at [`Fabric`].

mod conntrack;
mod curl;
mod fabric;
mod frame;
mod host;
mod neighbor;
mod packet;
mod packet6;
mod ping;
mod pod;
mod proxy;
mod queue;
mod random;
mod switch;
mod tcp;
mod trace;
mod wire;

pub use curl::{Answer, CurlError, CurlOptions, CurlReport, KERNEL_CONNECT};
pub use fabric::{CurlId, Fabric, MachineId, NicId, PingId, PortId, SpoofId, StormId, SwitchId};
pub use frame::{Arp, ETHERNET_HEADER_LENGTH, FRAME_LENGTH_MAX, Frame, Ndp, Operation};
pub use host::{MachineConfig, NicConfig, Route, Sysctl};
pub use neighbor::{Ageing, Neighbor, NeighborSettings, NeighborState, Profile, UnknownProfile};
pub use ping::{Echo, EchoOutcome, PingOptions};
pub use pod::PodConfig;
pub use proxy::{Endpoint, PortRules, ProxyMode, ProxyRules, ServiceRules, TrafficPolicy};
pub use random::stream;
pub use switch::{AGEING, CONVERGE_RSTP, CONVERGE_STP, SwitchConfig, SwitchCounters};
pub use trace::{DropReason, Event, Place, Sink};
pub use wire::{Chance, Direction, Latency, Shape, WireFault};
