//! What mattered lately for an address, in words: faults, programs, links, what was said on the wire, what clients believe.
//!
//! The same thing said many times is one entry with a count. Frames that only carry traffic are not in it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;

use super::LATELY;
use super::wire::{asks, is_client, names};
use crate::trace::places::Places;
use crate::trace::record::{Numbered, Place, ProgramChange, Record, What};

/// When, and what in words.
type Entry = (Instant, String);

/// Entries under way.
pub(super) struct Chronicle<'a> {
    places: &'a Places,
    address: IpAddr,
    from: Instant,
    entries: Vec<Told>,
    /// The last entry about each thing that repeats.
    repeats: BTreeMap<String, usize>,
    /// What each client's table had last.
    believed: BTreeMap<String, MacAddr>,
    /// The last that mattered before `from`.
    earlier: Option<(Instant, String)>,
}

/// An entry: when, what, how often, and when last.
struct Told {
    at: Instant,
    words: String,
    times: u32,
    last: Instant,
}

/// What is said again sooner is said at once: an announcement has both forms, request and reply.
const AT_ONCE: std::time::Duration = std::time::Duration::from_millis(1);
/// After so much silence the same thing said again is a new entry.
const APART: std::time::Duration = std::time::Duration::from_secs(4);

impl<'a> Chronicle<'a> {
    /// Of the time before `at`.
    pub(super) fn new(places: &'a Places, address: IpAddr, at: Instant) -> Self {
        let from = Instant::from_nanos(at.as_nanos().saturating_sub(u64::try_from(LATELY.as_nanos()).unwrap_or(u64::MAX)));
        let (repeats, believed) = (BTreeMap::new(), BTreeMap::new());
        Self { places, address, from, entries: Vec::new(), repeats, believed, earlier: None }
    }

    /// Things told elsewhere.
    pub(super) fn add_all(&mut self, at: Instant, told: Vec<String>) {
        if at < self.from {
            self.earlier = told.into_iter().next_back().map(|words| (at, words)).or_else(|| self.earlier.take());
        } else {
            self.entries.extend(told.into_iter().map(|words| Told { at, words, times: 1, last: at }));
        }
    }

    /// A record, if it matters.
    pub(super) fn add(&mut self, record: &Record) {
        let places = self.places;
        let words = match &record.what {
            What::Sent { nic, frame, by_bellhop } => {
                let who = places.machine_of(*nic);
                let Some(said) = self.said(if *by_bellhop { format!("Bellhop on {who}") } else { who.to_owned() }, frame) else { return };
                return self.repeat(record.at, said);
            }
            What::Dropped { place, reason, frame } => {
                let about: Vec<IpAddr> = match (frame.bytes.arp(), frame.bytes.ndp()) {
                    (Some(arp), _) => vec![arp.sender_ip.into(), arp.target_ip.into()],
                    (_, Some(ndp)) => vec![ndp.source.into(), ndp.target.into()],
                    _ => return,
                };
                if !about.contains(&self.address) {
                    return;
                }
                let protocol = if self.address.is_ipv4() { "An ARP frame" } else { "A frame of neighbor discovery" };
                let place = match place {
                    Place::Nic(nic) => places.nic(*nic).to_string(),
                    Place::Port(switch, port) => format!("port {port} of {}", places.switch(*switch)),
                };
                return self.repeat(record.at, format!("{protocol} about {} is lost at {place}: {reason}.", self.address));
            }
            What::Neighbor { nic, address, state, mac } if *address == self.address && is_client(places, *nic) => {
                let who = places.machine_of(*nic);
                let before = match mac {
                    Some(mac) => self.believed.insert(who.to_owned(), *mac),
                    None => self.believed.remove(who),
                };
                match (mac, state.as_str()) {
                    (Some(mac), _) if before == Some(*mac) => return,
                    (Some(mac), _) => format!("{who} has {address} at {} in its neighbor table.", places.mac(*mac)),
                    (None, "INCOMPLETE") => format!("{who} knows no MAC for {address} and asks."),
                    (None, state) => format!("{who}'s entry for {address} is {state}: nobody answered."),
                }
            }
            What::Link { nic, up } => format!("The link of {} goes {}.", places.nic(*nic), if *up { "up" } else { "down" }),
            What::Power { machine, on } => {
                format!("{} {}.", places.machine(*machine), if *on { "has power again and boots" } else { "loses its power" })
            }
            What::Frozen { machine, frozen } => {
                format!("{} {}.", places.machine(*machine), if *frozen { "stands still" } else { "goes on" })
            }
            What::Mac { nic, mac } => format!("{} has the MAC {mac} from now on.", places.nic(*nic)),
            What::Claim { nic, address, held } if *address == self.address => {
                format!("{} {} {address} as its own.", places.machine_of(*nic), if *held { "takes" } else { "no longer has" })
            }
            What::Action(action) => format!("The timeline: {}", action.words),
            What::FaultOver { words } => format!("Over: {words}"),
            What::Program { program, change } => match program.split_once(' ') {
                Some(("bellhop", machine)) => format!("Bellhop on {machine} {}.", became(change)),
                Some(("node", machine)) => match change {
                    ProgramChange::Started => format!("kubelet and kube-proxy on {machine} start."),
                    ProgramChange::Killed => format!("kubelet and kube-proxy on {machine} are killed."),
                    // Its machine does, and that is said.
                    ProgramChange::Frozen | ProgramChange::Thawed => return,
                    ProgramChange::Ended | ProgramChange::Failed(_) => format!("kubelet or kube-proxy on {machine} {}.", became(change)),
                },
                _ => format!("The {program} {}.", became(change)),
            },
            What::Note { text } => text.clone(),
            What::Broken { invariant, .. } => format!("Broken from here on: {invariant}."),
            _ => return,
        };
        self.add_all(record.at, vec![words]);
    }

    /// What a frame of ARP or neighbor discovery says of the address.
    fn said(&self, who: String, frame: &Numbered) -> Option<String> {
        let (frame, address) = (&frame.bytes, self.address);
        if let Some((mac, to)) = names(frame, address) {
            let mac = self.places.mac(mac);
            return Some(match to {
                None => format!("{who} tells everybody: {address} is at {mac}."),
                Some(to) => format!("{who} answers {}: {address} is at {mac}.", self.asker(to)),
            });
        }
        let whom = if frame.destination().is_unicast() { self.places.mac(frame.destination()) } else { "everybody".to_owned() };
        asks(frame, address).then(|| format!("{who} asks {whom}: who has {address}?"))
    }

    fn asker(&self, address: IpAddr) -> String {
        self.places.machine_with_address(address).map_or_else(|| address.to_string(), str::to_owned)
    }

    /// Something that may be said again and again.
    fn repeat(&mut self, at: Instant, words: String) {
        if at < self.from {
            return self.add_all(at, vec![words]);
        }
        if let Some(told) = self.repeats.get(&words).and_then(|index| self.entries.get_mut(*index))
            && at - told.last < APART
        {
            told.times += 1;
            told.last = at;
            return;
        }
        self.repeats.insert(words.clone(), self.entries.len());
        self.entries.push(Told { at, words, times: 1, last: at });
    }

    /// All of it, and the last that mattered before.
    pub(super) fn finish(self) -> (Vec<Entry>, Option<Entry>) {
        let entry = |Told { at, words, times, last }: Told| {
            let apart = Some(last - at).filter(|apart| *apart >= AT_ONCE).map(crate::trace::explain::span);
            let again = match (times, apart) {
                (1, _) => String::new(),
                (2, Some(apart)) => format!(" (twice, {apart} apart)"),
                (2, None) => " (twice)".to_owned(),
                (times, Some(apart)) => format!(" ({times} times within {apart})"),
                (times, None) => format!(" ({times} times)"),
            };
            (at, words + &again)
        };
        (self.entries.into_iter().map(entry).collect(), self.earlier)
    }
}

/// What became of a program.
fn became(change: &ProgramChange) -> String {
    match change {
        ProgramChange::Started => "starts".to_owned(),
        ProgramChange::Ended => "ends".to_owned(),
        ProgramChange::Failed(words) => format!("ends with an error: {words}"),
        ProgramChange::Killed => "is killed".to_owned(),
        ProgramChange::Frozen => "stands still".to_owned(),
        ProgramChange::Thawed => "goes on".to_owned(),
    }
}
