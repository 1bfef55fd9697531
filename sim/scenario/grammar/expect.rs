//! The expectations of a file as they are written: a sentence, one time word, one subject.

use std::net::{IpAddr, Ipv4Addr};

use bellhop_core::mac::MacAddr;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::schema;
use super::spanned::Spanned;
use super::values::{MacText, OneOrMany, TargetText};
use crate::duration::Text as DurationText;
use crate::observation::ArpOperation;

/// A sentence, exactly one of three time words, exactly one subject.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    pub(super) what: Spanned<String>,
    pub(super) eventually: Option<Spanned<Eventually>>,
    pub(super) always: Option<Spanned<During>>,
    pub(super) never: Option<Spanned<During>>,
    pub(super) neigh: Option<Neigh>,
    pub(super) ping: Option<Spanned<Ping>>,
    pub(super) curl: Option<Curl>,
    pub(super) resource: Option<Spanned<Value>>,
    pub(super) absent: Option<Spanned<Value>>,
    pub(super) event: Option<Spanned<Event>>,
    pub(super) condition: Option<Condition>,
    pub(super) wire: Option<Spanned<Wire>>,
    pub(super) output: Option<Spanned<Output>>,
    #[serde(rename = "node-of")]
    pub(super) node_of: Option<Spanned<NodeOf>>,
}

/// `within` counts from `after`, which is the start unless said.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Eventually {
    pub(super) within: DurationText,
    pub(super) after: Option<Spanned<String>>,
}

/// From the start to the end unless said.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct During {
    pub(super) from: Option<Spanned<String>>,
    pub(super) until: Option<Spanned<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Neigh {
    pub(super) client: Spanned<String>,
    pub(super) dst: IpAddr,
    pub(super) lladdr: Option<Spanned<MacText>>,
    pub(super) state: Option<Spanned<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Ping {
    pub(super) from: Spanned<String>,
    pub(super) to: IpAddr,
    /// No stretch of the window without an answer is longer. The window must lie within the time in which the timeline's pings ask, and counts whole:
    /// from its beginning to the first answer, and from the last answer to its end.
    pub(super) longest_gap: Option<DurationText>,
    /// No more requests of the window than this are without an answer. The window must lie within the time in which the timeline's pings ask, and the
    /// machine must have asked throughout: one that is off or stands still loses nothing, and the expectation fails.
    pub(super) lost: Option<u64>,
    /// A request of the window is answered, or is not; with `always` and `never` the window must lie within the time in which the pings ask.
    pub(super) answered: Option<bool>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Curl {
    pub(super) from: Spanned<String>,
    pub(super) url: Spanned<String>,
    pub(super) status: Option<u16>,
    pub(super) answered_by: Option<Spanned<AnsweredBy>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", expecting = "{ pods: NUMBER } or { pods-on: MACHINE }")]
pub(super) enum AnsweredBy {
    Pods(usize),
    PodsOn(TargetText),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Event {
    /// One of Bellhop's reasons, as in NodeChanged.
    pub(super) reason: Spanned<String>,
    pub(super) about: Option<About>,
    pub(super) message_contains: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    /// A kind of the API, as in Eip; must be said where a name is.
    pub(super) kind: Option<Spanned<String>>,
    pub(super) name: Option<Spanned<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Condition {
    #[serde(rename = "apiVersion")]
    pub(super) api_version: Option<String>,
    pub(super) kind: Spanned<String>,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) condition: String,
    pub(super) status: Spanned<String>,
    pub(super) reason: Option<String>,
    pub(super) message_contains: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Wire {
    pub(super) segment: Option<Spanned<String>>,
    pub(super) operation: Option<ArpOperation>,
    /// 0.0.0.0, a machine's address, or one of a segment's prefix.
    pub(super) sender_ip: Option<Spanned<Ipv4Addr>>,
    pub(super) sender_mac: Option<Spanned<MacText>>,
    /// The same.
    pub(super) target_ip: Option<Spanned<Ipv4Addr>>,
    pub(super) ethernet_source: Option<Spanned<MacText>>,
    #[schemars(with = "Option<schema::Mac>")]
    pub(super) ethernet_destination: Option<MacAddr>,
    pub(super) each: Option<Each>,
    /// At least so many such frames, 1 or more; 1 unless `at-most` is said.
    pub(super) at_least: Option<Spanned<usize>>,
    /// At most so many.
    pub(super) at_most: Option<Spanned<usize>>,
}

/// What each counted frame must be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Each {
    pub(super) sender_mac: Option<Spanned<MacText>>,
    pub(super) ethernet_source: Option<Spanned<MacText>>,
    #[schemars(with = "Option<schema::Mac>")]
    pub(super) ethernet_destination: Option<MacAddr>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Output {
    pub(super) step: Spanned<String>,
    pub(super) contains: Option<OneOrMany<String>>,
    pub(super) exit: Option<i32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct NodeOf {
    pub(super) service: String,
    pub(super) is: Option<Spanned<OneOrMany<TargetText>>>,
    pub(super) is_not: Option<Spanned<OneOrMany<TargetText>>>,
}
