//! One thing that happened, whatever it happened to: the type that a trace consists of.
//!
//! The fabric's events, the API's requests and writes, what the timeline did, programs that started and ended, promises that were broken.
//! Places are numbers ([`super::Places`]), frames have a number too and share their bytes. What a record looks like in a file is said in
//! `jsonl`, what it means for an address in `story`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use bellhop_fabric::Frame;
use serde_json::Value;

use super::places::{MachineIndex, NicIndex, SwitchIndex};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// When, since the world's zero, which is some seconds before the scenario's.
    pub at: Instant,
    /// What.
    pub what: What,
}

/// A frame, and the number by which a trace refers to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// From 1, in the order in which frames were first seen.
    pub number: u64,
    /// Its bytes.
    pub bytes: Frame,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A NIC sent a frame.
    Sent {
        /// The NIC.
        nic: NicIndex,
        /// The frame.
        frame: Numbered,
        /// Whether Bellhop sent it through a port of its own; otherwise the machine's kernel did.
        by_bellhop: bool,
    },
    /// A frame reached a NIC, for it or not.
    Received {
        /// The NIC.
        nic: NicIndex,
        /// The frame.
        frame: Numbered,
    },
    /// A frame reached a switch.
    Switched {
        /// The switch.
        switch: SwitchIndex,
        /// The port it came in by.
        port: usize,
        /// The frame.
        frame: Numbered,
    },
    /// A frame ended where it should not have.
    Dropped {
        /// Where.
        place: Place,
        /// Why, in a few words.
        reason: String,
        /// The frame, as it was then.
        frame: Numbered,
    },
    /// An entry of a neighbor table changed.
    Neighbor {
        /// The NIC whose table it is in.
        nic: NicIndex,
        /// The neighbor.
        address: IpAddr,
        /// `REACHABLE`, `STALE`, … as `ip neigh` has it.
        state: String,
        /// Its MAC, if one is known.
        mac: Option<MacAddr>,
    },
    /// It is known what became of an echo request.
    Echo {
        /// The machine that pings.
        machine: MachineIndex,
        /// Whom it pings.
        to: IpAddr,
        /// The request's number, from 1.
        sequence: u32,
        /// When it was sent.
        sent: Instant,
        /// What came.
        outcome: EchoOutcome,
    },
    /// A curl ended.
    Curl {
        /// The machine it ran on.
        machine: MachineIndex,
        /// Whom it asked: address and port.
        to: (IpAddr, u16),
        /// When it started.
        started: Instant,
        /// Status and body; or in curl's words why there is no answer.
        result: Result<(u16, String), String>,
    },
    /// A pod answered a request.
    Served {
        /// Its node.
        machine: MachineIndex,
        /// The pod.
        pod: String,
        /// The client's address, as the pod saw it.
        client: IpAddr,
    },
    /// A NIC went up or down.
    Link {
        /// The NIC.
        nic: NicIndex,
        /// Whether frames pass now.
        up: bool,
    },
    /// A machine was switched on or off.
    Power {
        /// The machine.
        machine: MachineIndex,
        /// Whether it is on.
        on: bool,
    },
    /// A machine froze or thawed.
    Frozen {
        /// The machine.
        machine: MachineIndex,
        /// Whether it stands still now.
        frozen: bool,
    },
    /// A NIC got another MAC.
    Mac {
        /// The NIC.
        nic: NicIndex,
        /// The new one.
        mac: MacAddr,
    },
    /// A machine took an address as its own, or gave it up: an intruder does.
    Claim {
        /// The NIC.
        nic: NicIndex,
        /// The address.
        address: IpAddr,
        /// Whether it has it now.
        held: bool,
    },
    /// The spanning tree opened or blocked a port between switches.
    Tree {
        /// The switch.
        switch: SwitchIndex,
        /// The port.
        port: usize,
        /// Whether frames pass now.
        forwarding: bool,
    },
    /// A request reached the API server, or did not.
    Request(Request),
    /// A write to the API took effect.
    Write(Write),
    /// The timeline did something.
    Action(Action),
    /// A fault of the timeline is over.
    FaultOver {
        /// Which, in the words with which it began.
        words: String,
    },
    /// A program started, ended or was killed.
    Program {
        /// Which: `bellhop master1`, `node worker-p001`, `control-plane`.
        program: String,
        /// What became of it.
        change: ProgramChange,
    },
    /// The world's remark on itself.
    Note {
        /// One line.
        text: String,
    },
    /// A promise that holds in every scenario was broken. It may be told later than it happened.
    Broken {
        /// Which: a sentence.
        invariant: String,
        /// What was seen instead.
        detail: String,
    },
}

/// Where in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At a NIC.
    Nic(NicIndex),
    /// At a switch's port.
    Port(SwitchIndex, usize),
}

/// What came for an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EchoOutcome {
    /// An answer.
    Answered {
        /// From request to answer.
        round_trip: Duration,
        /// Hops left.
        ttl: u8,
    },
    /// Somebody says that it cannot be delivered.
    Unreachable {
        /// Who.
        from: IpAddr,
        /// ICMP's code.
        code: u8,
    },
    /// Nothing.
    Lost,
}

/// An object of the API: resource with its group, namespace (empty for cluster scope), name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// `services`, `deployments.apps`.
    pub resource: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Empty for a collection.
    pub name: String,
}

/// A request to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asked: `bellhop master1`.
    pub client: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// For what.
    pub object: ObjectKey,
    /// `status`; empty for the object itself.
    pub subresource: String,
    /// What became of it: `200`, `409`, `200, answer lost`, `unreachable`.
    pub outcome: String,
}

/// A write that took effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Who wrote.
    pub client: String,
    /// `create`, `update`, `patch`, `delete`, `expire`.
    pub verb: String,
    /// What.
    pub object: ObjectKey,
    /// `status`; empty for the object itself.
    pub subresource: String,
    /// The revision of this write.
    pub version: u64,
    /// Whether the object is gone now.
    pub deleted: bool,
    /// The object before, if it was there.
    pub before: Option<Arc<Value>>,
    /// The object after; the last state of a deleted one.
    pub after: Arc<Value>,
}

/// Something that the timeline did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The step's id, where it has one.
    pub step: Option<String>,
    /// What kind of thing, as scenario files call it: `power-off`, `run`.
    pub kind: String,
    /// The machine that it was done to, or on.
    pub machine: Option<String>,
    /// As the transcript has it: `⚡ power-off worker-p001`.
    pub words: String,
    /// When it is over, for a fault that ends by itself.
    pub until: Option<Instant>,
}

/// What became of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramChange {
    /// It started.
    Started,
    /// It ended by itself, without an error.
    Ended,
    /// It ended with these words: an error, or a panic.
    Failed(String),
    /// It was killed: SIGKILL, or the power went.
    Killed,
    /// It stands still from now on (SIGSTOP, or its whole machine).
    Frozen,
    /// It goes on.
    Thawed,
}
