//! What worlds hand back: timestamped things that were seen, with nothing judged.
//!
//! Tables and objects are levels: an observation of one holds until the next observation of the same entry or object. A world may report
//! the same level twice (real worlds poll); it must not leave a change out that it could see. Times are since the scenario's start.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use serde_json::Value;

use crate::action::{ProbeId, RunId};

/// How long a request may be without an answer at the end of a scenario and say nothing: longer than any answer takes on a LAN whose
/// neighbors are known, shorter than anything that a scenario asks for.
pub const DECIDED: Duration = Duration::from_secs(1);

/// One thing seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// When it was seen. For a command or a probe: when its end was known.
    pub at: Duration,
    /// What was seen.
    pub what: Seen,
}

/// What can be seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// One echo request of a continuous ping, when it is answered or given up. What is neither when the scenario ends and was sent more than
    /// [`DECIDED`] before is reported then, as unanswered.
    Ping {
        /// Which probe sent it.
        probe: ProbeId,
        /// The asking machine.
        from: String,
        /// The address asked.
        to: IpAddr,
        /// ICMP sequence number, from 1.
        seq: u64,
        /// When it was sent (or would have been, had the neighbor been known).
        sent: Duration,
        /// When the answer came; `None`: never.
        answer: Option<Duration>,
    },
    /// One request of a continuous curl, when it has ended. What has not when the scenario ends and began more than [`DECIDED`] before is
    /// reported then, as a failure.
    Curl {
        /// Which probe made it.
        probe: ProbeId,
        /// The asking machine.
        from: String,
        /// The URL as the scenario has it.
        url: String,
        /// When it began; its end is [`Observation::at`].
        started: Duration,
        /// The answer, or why there was none.
        result: Result<HttpAnswer, CurlFailure>,
    },
    /// An entry of a neighbor table, when it has changed.
    Neighbor {
        /// Whose table.
        machine: String,
        /// Interface, as in `dev eth0`.
        dev: String,
        /// The neighbor's address.
        dst: IpAddr,
        /// Its hardware address, where the entry has one.
        lladdr: Option<MacAddr>,
        /// `REACHABLE`, `STALE`, `DELAY`, `PROBE`, `FAILED`, `INCOMPLETE`, `PERMANENT`, `NOARP`; `None`: the entry is gone.
        state: Option<String>,
    },
    /// An object of the Kubernetes API, as of now. Events are objects like others.
    Object {
        /// `v1`.
        api_version: String,
        /// `Service`.
        kind: String,
        /// `None` for what is not namespaced.
        namespace: Option<String>,
        /// Its name.
        name: String,
        /// The whole object; `None`: it is gone.
        object: Option<Value>,
    },
    /// An ARP frame, once, as it enters its segment.
    Frame(ArpFrame),
    /// What a command of the timeline printed, when it has ended.
    Output {
        /// Which one: from [`crate::Action::Run`].
        run: RunId,
        /// When it began; its end is [`Observation::at`].
        started: Duration,
        /// What it printed, both streams.
        text: String,
        /// Its exit code.
        exit: i32,
    },
    /// A NIC that exists. Needed for those whose MAC the scenario leaves to the world, and when a MAC changes.
    Nic {
        /// The machine.
        machine: String,
        /// The interface's name in the scenario.
        nic: String,
        /// Its hardware address.
        mac: MacAddr,
    },
    /// A world's note on a fault or on itself, for the transcript.
    Note {
        /// One line.
        text: String,
    },
    /// A promise that holds in every scenario (design §6, "Always-on invariants") does not hold.
    InvariantBroken {
        /// Which: a sentence.
        invariant: String,
        /// What was seen instead.
        detail: String,
    },
    /// After the scenario's end, when faults have stopped, something was not reached in time (design §6, invariant 3).
    NotConverged {
        /// What was not reached, by whom.
        detail: String,
    },
    /// A replica of Bellhop ended by itself, or panicked.
    Crash {
        /// Where it ran.
        machine: String,
        /// Its last words.
        detail: String,
    },
}

/// What an HTTP server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// The body; luksa/kubia says `You've hit <pod>`.
    pub body: String,
}

/// Why curl had no answer, with curl's own exit code for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CurlFailure {
    /// Refused or no route: curl's exit code 7.
    CouldNotConnect(String),
    /// Nothing within the time limit: curl's exit code 28.
    TimedOut,
    /// The connection ended before the answer did: curl's exit codes 52 and 56.
    Reset,
    /// Anything else, in curl's words.
    Other(String),
}

/// An ARP frame for IPv4 over Ethernet (RFC 826), with the Ethernet header that carried it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArpFrame {
    /// The segment it was seen on.
    pub segment: String,
    /// Source of the Ethernet header: the NIC that sent it.
    pub ethernet_source: MacAddr,
    /// Destination of the Ethernet header.
    pub ethernet_destination: MacAddr,
    /// Request or reply.
    pub operation: ArpOperation,
    /// The pair that the frame states: hardware address.
    pub sender_mac: MacAddr,
    /// The pair that the frame states: address.
    pub sender_ip: Ipv4Addr,
    /// To whom: hardware address.
    pub target_mac: MacAddr,
    /// To whom, or the address asked for.
    pub target_ip: Ipv4Addr,
}

/// ARP's two operations (RFC 826, `ar$op`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ArpOperation {
    /// 1: who has?
    Request,
    /// 2: is at.
    Reply,
}
