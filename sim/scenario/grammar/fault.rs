//! Faults as they are written: one struct for each key of a step that makes something go wrong.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bellhop_core::mac::MacAddr;
use schemars::JsonSchema;
use serde::Deserialize;

use super::quantities::{PercentText, RateText};
use super::schema;
use super::spanned::Spanned;
use super::values::TargetText;
use crate::duration::Text as DurationText;
use crate::scenario::Latency;

/// Power off, and on again after a while.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reboot {
    pub(super) machine: Spanned<TargetText>,
    /// How long it has no power.
    pub(super) off: Spanned<DurationText>,
}

/// The whole machine, or the replica of Bellhop on it, stands still.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Freeze {
    pub(super) machine: Spanned<TargetText>,
    /// How long; to the end unless said.
    #[serde(rename = "for")]
    pub(super) lasts: Option<Spanned<DurationText>>,
}

/// The machine's clock runs fast (slow, if negative) for its programs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClockRate {
    pub(super) machine: Spanned<TargetText>,
    /// Millionths: 200 gains 17 s a day.
    pub(super) ppm: Spanned<i32>,
    /// How long; to the end unless said.
    #[serde(rename = "for")]
    pub(super) lasts: Option<Spanned<DurationText>>,
}

/// The replica of Bellhop is killed once a write of its has taken effect, before it hears the answer.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DieAtWrite {
    pub(super) machine: Spanned<TargetText>,
    /// 1 is its next write.
    pub(super) write: Spanned<u32>,
}

/// A NIC gets another MAC.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetMac {
    pub(super) machine: Spanned<TargetText>,
    pub(super) nic: Spanned<String>,
    #[schemars(with = "schema::Mac")]
    pub(super) mac: Spanned<MacAddr>,
}

/// A link goes down and up again and again.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Flap {
    pub(super) machine: Spanned<TargetText>,
    pub(super) nic: Spanned<String>,
    /// From one change to the next.
    pub(super) every: Spanned<DurationText>,
    /// How long; to the end unless said.
    #[serde(rename = "for")]
    pub(super) lasts: Option<Spanned<DurationText>>,
}

/// In which direction, seen from the NIC (of an uplink: from the first switch).
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Direction {
    In,
    Out,
    Both,
}

/// The cable of a NIC. At least one effect must be said.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Cable {
    pub(super) machine: Spanned<TargetText>,
    pub(super) nic: Spanned<String>,
    /// Seen from the NIC; both unless said.
    pub(super) direction: Option<Direction>,
    /// Nothing passes.
    #[serde(default)]
    pub(super) cut: bool,
    /// Frames that vanish.
    pub(super) loss: Option<PercentText>,
    /// How many frames in a row vanish once one does, on average.
    pub(super) burst: Option<Spanned<u32>>,
    /// Frames that come twice.
    pub(super) duplicate: Option<PercentText>,
    /// Frames that are held back so that others overtake them.
    pub(super) reorder: Option<PercentText>,
    /// Frames of which one bit flips.
    pub(super) corrupt: Option<PercentText>,
    /// What is added to the cable's own latency.
    pub(super) delay: Option<Spanned<Latency>>,
    /// Bits a second.
    pub(super) rate: Option<RateText>,
    /// How long; to the end unless said.
    #[serde(rename = "for")]
    pub(super) lasts: Option<Spanned<DurationText>>,
}

/// The cable between two switches. At least one effect must be said.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Uplink {
    /// The two switches.
    pub(super) between: Spanned<Vec<Spanned<String>>>,
    /// Out is from the first switch to the second; both unless said.
    pub(super) direction: Option<Direction>,
    /// Nothing passes.
    #[serde(default)]
    pub(super) cut: bool,
    /// Frames that vanish.
    pub(super) loss: Option<PercentText>,
    /// How many frames in a row vanish once one does, on average.
    pub(super) burst: Option<Spanned<u32>>,
    /// Frames that come twice.
    pub(super) duplicate: Option<PercentText>,
    /// Frames that are held back so that others overtake them.
    pub(super) reorder: Option<PercentText>,
    /// Frames of which one bit flips.
    pub(super) corrupt: Option<PercentText>,
    /// What is added to the cable's own latency.
    pub(super) delay: Option<Spanned<Latency>>,
    /// Bits a second.
    pub(super) rate: Option<RateText>,
    /// How long; to the end unless said.
    #[serde(rename = "for")]
    pub(super) lasts: Option<Spanned<DurationText>>,
}

/// An intruder: the machine takes an address as its own and answers for it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimAddress {
    pub(super) machine: Spanned<TargetText>,
    pub(super) address: IpAddr,
    /// How long; to the end unless said.
    #[serde(rename = "for")]
    pub(super) lasts: Option<Spanned<DurationText>>,
}

/// Gratuitous ARP that names the machine's own MAC for an address.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SpoofArp {
    pub(super) machine: Spanned<TargetText>,
    pub(super) address: Spanned<IpAddr>,
    /// From one pair of frames to the next.
    pub(super) every: Spanned<DurationText>,
    /// How long; to the end unless said.
    #[serde(rename = "for")]
    pub(super) lasts: Option<Spanned<DurationText>>,
}

/// Broadcast frames as fast as said.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Storm {
    pub(super) machine: Spanned<TargetText>,
    /// Frames a second, at most 200000.
    pub(super) rate: Spanned<u32>,
    /// How long; to the end unless said.
    #[serde(rename = "for")]
    pub(super) lasts: Option<Spanned<DurationText>>,
}

/// The API server, as everybody or as one replica of Bellhop sees it. At least one effect must be said.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Api {
    /// Only for the replica of Bellhop on this machine.
    pub(super) replica: Option<Spanned<TargetText>>,
    /// Connections are refused, watches break.
    #[serde(default)]
    pub(super) down: bool,
    /// Requests vanish, and watches fall silent without breaking.
    #[serde(default)]
    pub(super) silent: bool,
    /// How long a request takes, and how late a watch tells.
    pub(super) latency: Option<Spanned<Latency>>,
    /// Requests that are refused, by status: 429, 500, 503.
    #[schemars(with = "Option<BTreeMap<String, PercentText>>")]
    pub(super) refuse: Option<Spanned<BTreeMap<u16, PercentText>>>,
    /// Writes that take effect and whose answer is lost.
    pub(super) lose_answers: Option<PercentText>,
    /// Reads and lists answer as of so long ago.
    pub(super) stale: Option<Spanned<DurationText>>,
    /// Every watch is cut after so long.
    pub(super) cut_watches: Option<Spanned<DurationText>>,
    /// A watch that resumes is told 410 Gone: as the response's status, or as an event in the stream.
    pub(super) gone: Option<Gone>,
    /// How long; to the end unless said.
    #[serde(rename = "for")]
    pub(super) lasts: Option<Spanned<DurationText>>,
}

/// How 410 is told.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Gone {
    Http,
    Stream,
}

/// Pods of a Deployment stop being ready.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Unready {
    /// The Deployment in `default`.
    pub(super) deployment: Spanned<String>,
    /// Only its pods on this node.
    pub(super) machine: Option<Spanned<TargetText>>,
    /// How long; to the end unless said.
    #[serde(rename = "for")]
    pub(super) lasts: Option<Spanned<DurationText>>,
}
