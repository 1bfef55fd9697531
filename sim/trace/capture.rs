//! What goes into `wire.pcapng`: each frame once, outbound at the NIC that sent it, and once more where it was lost.
//!
//! Why so: a capture of a LAN is what a mirror port shows, every frame once. One interface for each NIC with everything it sends and hears would
//! hold a flooded request twenty times on twenty machines, and Wireshark would call the copies retransmissions and duplicate addresses. Who
//! sent a frame is its interface (`frame.interface_name == "master1/eth0"`); what became of it on its way is in the trace. A frame that
//! was lost comes again at that place, with a comment that says why, as Windows' pktmon has it.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use bellhop_fabric::{Arp, Frame, Operation};

use super::header::Header;
use super::pcapng::{Blocks, Direction};
use super::places::{NicIndex, Places};
use super::record::{Place, Record, What};
use crate::clock::EPOCH_SECONDS;

/// A capture under way.
pub(super) struct Capture {
    blocks: Blocks<Box<dyn Write>>,
    /// Addresses that were announced at a MAC.
    announced: BTreeSet<(IpAddr, MacAddr)>,
}

impl Capture {
    /// Begins a file: an interface for each NIC, then one for each switch, and the names of all addresses.
    pub(super) fn begin(out: Box<dyn Write>, header: &Header) -> io::Result<Self> {
        let (places, played) = (&header.places, &header.played);
        let comment = format!("{}, seed {}: a simulated LAN; the scenario's zero is {}", played.path, played.seed, wall(header.zero));
        let mut blocks = Blocks::begin(out, &played.program, &comment)?;
        for (index, nic) in places.nics.iter().enumerate() {
            blocks.interface(&places.nic(NicIndex(index)).to_string(), &format!("segment {}", nic.segment), Some(nic.mac))?;
        }
        for switch in &places.switches {
            blocks.interface(switch, "a switch: frames that were lost in it", None)?;
        }
        let names: Vec<(Ipv4Addr, String)> = places.nics.iter().filter_map(|nic| own_name(places, nic)).collect();
        blocks.names(&names)?;
        Ok(Self { blocks, announced: BTreeSet::new() })
    }

    /// Takes a record in, if it belongs here.
    pub(super) fn record(&mut self, places: &Places, Record { at, what }: &Record) -> io::Result<()> {
        let (interface, direction, frame, comment) = match what {
            What::Sent { nic, frame, by_bellhop } => {
                let comment = if *by_bellhop { self.said(places, *nic, &frame.bytes) } else { None };
                (nic.0, Direction::Outbound, frame, comment)
            }
            What::Dropped { place: Place::Nic(nic), reason, frame } => {
                (nic.0, Direction::Inbound, frame, Some(format!("lost at {}: {reason}", places.nic(*nic))))
            }
            What::Dropped { place: Place::Port(switch, port), reason, frame } => {
                let comment = format!("lost at port {port} of {}: {reason}", places.switch(*switch));
                (places.nics.len() + switch.0, Direction::Unknown, frame, Some(comment))
            }
            _ => return Ok(()),
        };
        let interface = u32::try_from(interface).unwrap_or(u32::MAX);
        self.blocks.frame(interface, wall_nanos(*at), direction, &frame.bytes, comment.as_deref())
    }

    /// Everything is out.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.blocks.flush()
    }

    /// What is to be said of a frame that Bellhop sent: an answer, or the first announcement of an address at a MAC.
    fn said(&mut self, places: &Places, nic: NicIndex, frame: &Frame) -> Option<String> {
        let (address, mac, asker) = answered(frame)?;
        let (leader, at) = (places.machine_of(nic), places.mac(mac));
        let Some(asker) = asker else {
            let is_first = self.announced.insert((address, mac));
            return is_first.then(|| format!("Bellhop on {leader} announces, for the first time: {address} is at {at}"));
        };
        let asker = places.machine_with_address(asker).map_or_else(|| asker.to_string(), str::to_owned);
        Some(format!("Bellhop on {leader} answers {asker}: {address} is at {at}"))
    }
}

/// Which address a frame says to be at which MAC, and to whom; `None`: to all.
fn answered(frame: &Frame) -> Option<(IpAddr, MacAddr, Option<IpAddr>)> {
    if let Some(Arp { operation, sender_ip, sender_mac, target_ip, .. }) = frame.arp() {
        let asker = (sender_ip != target_ip).then_some(target_ip.into());
        return (asker.is_none() || operation == Operation::Reply).then_some((sender_ip.into(), sender_mac, asker));
    }
    let ndp = frame.ndp().filter(|ndp| ndp.advertises)?;
    let asker = (!ndp.destination.is_multicast()).then_some(ndp.destination.into());
    Some((ndp.target.into(), ndp.mac?, asker))
}

/// A NIC's address with its machine's name; a second NIC's has its own name behind it.
fn own_name(places: &Places, nic: &super::places::Nic) -> Option<(Ipv4Addr, String)> {
    let IpAddr::V4(address) = nic.address?.addr() else { return None };
    let machine = places.machine(nic.machine);
    let is_first = places.nics.iter().find(|other| other.machine == nic.machine).is_some_and(|first| first.name == nic.name);
    Some((address, if is_first { machine.to_owned() } else { format!("{machine}-{}", nic.name) }))
}

/// Nanoseconds since 1970, on the run's fixed day.
fn wall_nanos(at: Instant) -> u64 {
    u64::try_from(EPOCH_SECONDS).unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(at.as_nanos())
}

/// The wall time of a moment.
fn wall(at: Instant) -> jiff::Timestamp {
    crate::clock::WorldClock::wall_at(at)
}
