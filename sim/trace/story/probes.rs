//! Pings and curls of clients to one address: which were answered up to a moment, and when answers began and stopped.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bellhop_core::time::Instant;

use super::{LATELY, Probe, Probing};
use crate::trace::places::{MachineIndex, Places};
use crate::trace::record::{EchoOutcome, Record, What};

/// When a request was sent, and when its answer came; or why none did, in curl's words.
type Asked = (Instant, Result<Instant, Option<String>>);

/// Requests of clients, by when they were sent.
#[derive(Default)]
pub(super) struct Probes {
    /// When each was sent and when its answer came, or why none did.
    requests: BTreeMap<(String, Probing), Vec<Asked>>,
}

impl Probes {
    pub(super) fn add(&mut self, places: &Places, address: IpAddr, until: Instant, record: &Record) {
        let name = |machine: &MachineIndex| places.machine(*machine).to_owned();
        match &record.what {
            What::Echo { machine, to, sent, outcome, .. } if *to == address && *sent <= until => {
                let result = match outcome {
                    EchoOutcome::Answered { round_trip, .. } if *sent + *round_trip <= until => Ok(*sent + *round_trip),
                    _ => Err(None),
                };
                self.requests.entry((name(machine), Probing::Ping)).or_default().push((*sent, result));
            }
            What::Curl { machine, to: (to, _), started, result } if *to == address && *started <= until => {
                let result = match result {
                    Ok(_) if record.at <= until => Ok(record.at),
                    Err(why) if record.at <= until => Err(Some(why.clone())),
                    _ => Err(None),
                };
                self.requests.entry((name(machine), Probing::Curl)).or_default().push((*started, result));
            }
            _ => {}
        }
    }

    /// Sorted by when they were sent; what is younger than a round trip at the moment has had no time.
    fn sorted(&self, until: Instant) -> BTreeMap<&(String, Probing), Vec<&Asked>> {
        /// A request that is on its way at the moment says nothing yet: a LAN's round trip is far below.
        const ON_ITS_WAY: Duration = Duration::from_millis(10);
        let mut sorted = BTreeMap::new();
        for (key, requests) in &self.requests {
            let mut requests: Vec<_> = requests.iter().filter(|(sent, result)| result.is_ok() || *sent + ON_ITS_WAY <= until).collect();
            requests.sort_by_key(|(sent, _)| *sent);
            sorted.insert(key, requests);
        }
        sorted
    }

    pub(super) fn summary(&self, until: Instant) -> BTreeMap<(String, Probing), Probe> {
        let mut probes = BTreeMap::new();
        for (key, requests) in self.sorted(until) {
            let mut probe = Probe::default();
            for (sent, result) in requests {
                match result {
                    Ok(answer) => probe = Probe { answered: Some(*answer), ..Probe::default() },
                    Err(why) => {
                        let (first, count) = probe.unanswered.unwrap_or((*sent, 0));
                        probe.unanswered = Some((first, count + 1));
                        probe.failure = why.clone();
                    }
                }
            }
            probes.insert(key.clone(), probe);
        }
        probes
    }

    /// When answers began and stopped lately.
    pub(super) fn turns(&self, address: IpAddr, until: Instant) -> Vec<(Instant, String)> {
        let mut turns = Vec::new();
        for ((machine, probing), requests) in self.sorted(until) {
            let verb = if *probing == Probing::Ping { "ping" } else { "curl" };
            let (mut before, mut ever) = (None, false);
            for (sent, result) in requests {
                match (before, result) {
                    (None | Some(true), Err(_)) => {
                        turns.push((*sent, format!("{machine}'s {verb} of {address} gets no answer from here on.")))
                    }
                    (None | Some(false), Ok(answer)) => {
                        turns.push((*answer, format!("{machine}'s {verb} of {address} is answered{}.", if ever { " again" } else { "" })))
                    }
                    _ => {}
                }
                before = Some(result.is_ok());
                ever |= result.is_ok();
            }
        }
        turns.retain(|(at, _)| *at + LATELY >= until && *at <= until);
        turns
    }
}
