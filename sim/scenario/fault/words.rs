//! Faults in words: `freeze worker-p001`, `cable eth0 of worker-p001: loss 5% in runs of 4, delay 1ms..5ms`.
//!
//! Transcripts, notes of worlds and reports use these, so that one fault is called the same everywhere.

use std::fmt;

use super::{Api, Chance, Direction, Fault, Gone, Wire};
use crate::duration::words;
use crate::scenario::Latency;

impl<M> Fault<M> {
    /// The key under which a file has it, which is also the name of its class.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Freeze { .. } => "freeze",
            Self::ClockRate { .. } => "clock-rate",
            Self::FreezeBellhop { .. } => "freeze-bellhop",
            Self::DieAtWrite { .. } => "die-at-write",
            Self::SetMac { .. } => "set-mac",
            Self::Flap { .. } => "flap",
            Self::Cable { .. } => "cable",
            Self::Uplink { .. } => "uplink",
            Self::ClaimAddress { .. } => "claim-address",
            Self::SpoofArp { .. } => "spoof-arp",
            Self::Storm { .. } => "storm",
            Self::Api { .. } => "api",
            Self::Unready { .. } => "unready",
        }
    }
}

impl Fault {
    /// What a world notes ([`crate::Seen::Note`]) when the fault is over.
    pub fn over(&self) -> String {
        format!("⚡ over: {self}")
    }
}

impl<M: fmt::Display> fmt::Display for Fault<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Freeze { machine } => write!(f, "freeze {machine}"),
            Self::ClockRate { machine, ppm } => write!(f, "clock-rate of {machine} off by {ppm:+} ppm"),
            Self::FreezeBellhop { machine } => write!(f, "freeze-bellhop on {machine}"),
            Self::DieAtWrite { machine, write: 1 } => write!(f, "die-at-write, the next one, of Bellhop on {machine}"),
            Self::DieAtWrite { machine, write } => write!(f, "die-at-write, number {write} from now, of Bellhop on {machine}"),
            Self::SetMac { machine, nic, mac } => write!(f, "set-mac {nic} of {machine} to {mac}"),
            Self::Flap { machine, nic, every } => write!(f, "flap {nic} of {machine} every {}", words(*every)),
            Self::Cable { machine, nic, wire } => {
                let direction = match wire.direction {
                    Direction::Both => "",
                    Direction::In => " (frames to it)",
                    Direction::Out => " (frames from it)",
                };
                write!(f, "cable {nic} of {machine}{direction}: {wire}")
            }
            Self::Uplink { between: [one, other], wire } => {
                let arrow = match wire.direction {
                    Direction::Both => "-",
                    Direction::In => "<-",
                    Direction::Out => "->",
                };
                write!(f, "uplink {one} {arrow} {other}: {wire}")
            }
            Self::ClaimAddress { machine, address } => write!(f, "claim-address {address} by {machine}"),
            Self::SpoofArp { machine, address, every } => write!(f, "spoof-arp {address} by {machine} every {}", words(*every)),
            Self::Storm { machine, rate } => write!(f, "storm of {rate} frames/s from {machine}"),
            Self::Api { replica: None, api } => write!(f, "api: {api}"),
            Self::Api { replica: Some(machine), api } => write!(f, "api as the replica on {machine} sees it: {api}"),
            Self::Unready { deployment, machine: None } => write!(f, "unready: the pods of {deployment}"),
            Self::Unready { deployment, machine: Some(machine) } => write!(f, "unready: the pods of {deployment} on {machine}"),
        }
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |what: &str, chance: Chance| (chance != Chance::default()).then(|| format!("{what} {chance}"));
        let in_runs = |loss: String| if self.burst > 1 { format!("{loss} in runs of {}", self.burst) } else { loss };
        let parts = [
            self.cut.then(|| "cut".to_owned()),
            share("loss", self.loss).map(in_runs),
            share("duplicate", self.duplicate),
            share("reorder", self.reorder),
            share("corrupt", self.corrupt),
            self.delay.map(|delay| format!("delay {}", range(delay))),
            self.rate.map(|rate| format!("rate {}", rate_words(rate))),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused = self.refuse.iter().map(|(status, chance)| Some(format!("{status} to {chance}")));
        let first = [
            self.down.then(|| "down".to_owned()),
            self.silent.then(|| "silent".to_owned()),
            self.latency.map(|latency| format!("latency {}", range(latency))),
        ];
        let last = [
            (self.lose_answers != Chance::default()).then(|| format!("loses the answers to {} of all writes", self.lose_answers)),
            self.stale.map(|age| format!("reads are {} old", words(age))),
            self.cut_watches.map(|after| format!("watches are cut after {}", words(after))),
            self.gone.map(|gone| match gone {
                Gone::Http => "410 Gone as a status".to_owned(),
                Gone::Stream => "410 Gone in the stream".to_owned(),
            }),
        ];
        f.write_str(&first.into_iter().chain(refused).chain(last).flatten().collect::<Vec<_>>().join(", "))
    }
}

/// `5%`, `0.0001%`: as files write it.
impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:04}", self.0 / 10_000, self.0 % 10_000);
        write!(f, "{}%", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// `1ms` or `1ms..5ms`.
fn range(latency: Latency) -> String {
    if latency.min == latency.max { words(latency.max) } else { format!("{}..{}", words(latency.min), words(latency.max)) }
}

/// `10mbit`: as files write it.
fn rate_words(rate: u64) -> String {
    let unit = [(1_000_000_000, "gbit"), (1_000_000, "mbit"), (1_000, "kbit")].into_iter().find(|(unit, _)| rate.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{rate} bit/s"), |(unit, name)| format!("{}{name}", rate / unit))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_chance_prints_as_files_write_it() {
        for (millionths, text) in
            [(1, "0.0001%"), (50_000, "5%"), (1_000, "0.1%"), (1_000_000, "100%"), (125_000, "12.5%"), (100_000, "10%")]
        {
            assert_eq!(Chance(millionths).to_string(), text);
        }
    }

    #[test]
    fn a_cable_says_all_its_effects() {
        let delay = Some(Latency { min: Duration::from_millis(1), max: Duration::from_millis(5) });
        let wire = Wire { loss: Chance(50_000), burst: 4, delay, rate: Some(10_000_000), direction: Direction::In, ..Wire::default() };
        let fault = Fault::Cable { machine: "worker-p001".to_owned(), nic: "eth0".to_owned(), wire };
        let expected = "cable eth0 of worker-p001 (frames to it): loss 5% in runs of 4, delay 1ms..5ms, rate 10mbit";
        assert_eq!(fault.to_string(), expected);
        assert_eq!(fault.over(), format!("⚡ over: {expected}"));
    }
}
