//! What a scenario expects, as values: a sentence, a time word, a subject.
//!
//! Anchors (`after: power-loss`) are already durations here: a step's time is known when the file is loaded. Which observations satisfy a
//! subject is the business of `judge`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use serde_json::Value;

use crate::action::Target;
use crate::observation::ArpOperation;

/// One thing that must be so.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// A sentence, for people.
    pub what: String,
    /// When.
    pub when: When,
    /// The step that the window is anchored to, for messages.
    pub after: Option<String>,
    /// What.
    pub subject: Subject,
}

/// The time words. All bounds are times since the scenario's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// True at some moment in this window.
    Eventually(Window),
    /// True throughout this window.
    Always(Window),
    /// True at no moment of this window.
    Never(Window),
}

/// From the first moment to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First moment.
    pub from: Duration,
    /// Last moment.
    pub until: Duration,
}

/// What an expectation is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// An entry of a machine's neighbor table.
    Neigh {
        /// Whose table.
        client: String,
        /// The entry's address.
        dst: IpAddr,
        /// Its hardware address.
        lladdr: Option<Mac>,
        /// Its state, `REACHABLE`.
        state: Option<String>,
    },
    /// A continuous ping.
    Ping {
        /// The asking machine.
        from: String,
        /// The address.
        to: IpAddr,
        /// What is asked of it.
        wanted: PingWanted,
    },
    /// A continuous curl.
    Curl {
        /// The asking machine.
        from: String,
        /// The URL, as in the timeline.
        url: String,
        /// The status that an answer must have; without it any answer counts.
        status: Option<u16>,
        /// Which pods answer.
        answered_by: Option<AnsweredBy>,
    },
    /// An object of the API has these fields.
    Resource(Pattern),
    /// No such object, or it has not these fields.
    Absent(Pattern),
    /// A Kubernetes Event.
    Event {
        /// Its reason.
        reason: String,
        /// Kind of the object that it is about.
        kind: Option<String>,
        /// Name of the object that it is about.
        name: Option<String>,
        /// A part of its message.
        message_contains: Option<String>,
    },
    /// A condition in an object's status.
    Condition {
        /// The object's apiVersion.
        api_version: String,
        /// Its kind.
        kind: String,
        /// Its namespace; `None`: `default`, or not namespaced.
        namespace: Option<String>,
        /// Its name.
        name: String,
        /// The condition's type.
        condition: String,
        /// `True`, `False`, `Unknown`.
        status: String,
        /// Its reason.
        reason: Option<String>,
        /// A part of its message.
        message_contains: Option<String>,
    },
    /// ARP frames on the wire, counted.
    Wire {
        /// Which frames.
        filter: WireFilter,
        /// What each of them must be.
        each: WireFilter,
        /// At least so many.
        at_least: Option<usize>,
        /// At most so many.
        at_most: Option<usize>,
    },
    /// What a command of the timeline printed.
    Output {
        /// Its step's id.
        step: String,
        /// Parts that it must contain.
        contains: Vec<String>,
        /// Its exit code.
        exit: Option<i32>,
    },
    /// The node that carries a Service's address.
    NodeOf {
        /// The Service, by `[namespace/]name` or address.
        service: String,
        /// It is one of these (when there are any).
        is: Vec<Target>,
        /// It is none of these.
        is_not: Vec<Target>,
    },
}

/// What is asked of a continuous ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingWanted {
    /// No stretch of the window without an answer arriving is longer, its ends included.
    LongestGap(Duration),
    /// No more than so many requests unanswered, and requests throughout the window.
    Lost(u64),
    /// A request is answered, or is not.
    Answered(bool),
}

/// A hardware address, by value or by whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mac {
    /// This one.
    Is(MacAddr),
    /// That of a machine's NIC on the segment in question.
    Of(Target),
}

/// Which pods answer HTTP requests, told from `You've hit <pod>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnsweredBy {
    /// So many different ones within the window.
    Pods(usize),
    /// Only such as run on this node.
    PodsOn(Target),
}

/// A partial object: what is named must match, what is not named may be anything.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    /// `v1`.
    pub api_version: String,
    /// `Service`.
    pub kind: String,
    /// `metadata.namespace`; `None`: `default`, or not namespaced.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
    /// The rest of the object. Objects match field by field; a list matches when each of its items matches some item.
    pub fields: Value,
}

/// Which ARP frames count. What is absent may be anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WireFilter {
    /// On this segment.
    pub segment: Option<String>,
    /// Request or reply.
    pub operation: Option<ArpOperation>,
    /// ARP sender address.
    pub sender_ip: Option<Ipv4Addr>,
    /// ARP sender hardware address.
    pub sender_mac: Option<Mac>,
    /// ARP target address.
    pub target_ip: Option<Ipv4Addr>,
    /// Source of the Ethernet header.
    pub ethernet_source: Option<Mac>,
    /// Destination of the Ethernet header.
    pub ethernet_destination: Option<MacAddr>,
}
