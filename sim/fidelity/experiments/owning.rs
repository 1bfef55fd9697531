//! What a host answers for, and as whom it asks: arp_ignore, arp_announce, address probes, and a claim of its own address.

use std::net::Ipv4Addr;
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use smoltcp::wire::ArpOperation;

use super::List;
use crate::arm::{ArmError, HOST, HOST_IP, LOCAL_IP, Settings};
use crate::lab::{Lab, X, answered};
use crate::wire::{Arp, Heard};

pub(super) fn add(list: &mut List) {
    let kernel = Settings::default;
    let ignore = |arp_ignore| Settings { arp_ignore, ..Settings::default() };
    list.v4("arp-ignore-0-answers-for-loopback", "6.2", ignore(0), asked_for_loopback, "x S=1 O=1 host; x S=1 O=1 host");
    list.v4("arp-ignore-1-is-silent-for-loopback", "6.2", ignore(1), asked_for_loopback, "silence; silence");
    list.v4("arp-ignore-1-answers-for-its-own", "6.2", ignore(1), asked_for_its_own, "x S=1 O=1 host");
    let announce = |arp_announce| Settings { arp_announce, ..Settings::default() };
    list.v4("arp-announce-0-asks-as-the-packets-source", "6.2", announce(0), asks_as, "198.51.100.7");
    list.v4("arp-announce-2-asks-as-the-nics-address", "6.2", announce(2), asks_as, "192.0.2.5");
    list.v4("acd-probe-of-the-hosts-address", "6.1", kernel(), probed, "x S=1 O=1 host; none");
    list.v4("a-claim-of-the-hosts-address", "6.1", kernel(), claimed, "silence; none");
}

fn request(sender: Ipv4Addr, target: Ipv4Addr) -> Arp {
    Arp { operation: ArpOperation::Request, sender: (X, sender), target: (MacAddr::ZERO, target) }
}

/// Everybody is asked, then the host alone.
fn asked_for_loopback(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let ask = request(Ipv4Addr::new(192, 0, 2, 77), LOCAL_IP);
    for destination in [MacAddr::BROADCAST, HOST] {
        let notes = lab.tell(&ask.frame(X, destination))?;
        lab.say(answered(&notes));
    }
    Ok(())
}

fn asked_for_its_own(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let notes = lab.tell(&request(Ipv4Addr::new(192, 0, 2, 77), HOST_IP).frame(X, MacAddr::BROADCAST))?;
    lab.say(answered(&notes));
    Ok(())
}

fn asks_as(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    let start = lab.now();
    lab.packet_with(Some(LOCAL_IP.into()), vip, false)?;
    let notes = lab.until(start + Duration::from_millis(200))?;
    let asker = notes.iter().find_map(|(_, heard)| if let Heard::Ask { asker, .. } = heard { Some(asker.to_string()) } else { None });
    lab.say(asker.unwrap_or_else(|| "does not ask".to_owned()));
    Ok(())
}

fn probed(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let notes = lab.tell(&request(Ipv4Addr::UNSPECIFIED, HOST_IP).frame(X, MacAddr::BROADCAST))?;
    lab.say(answered(&notes));
    let entry = lab.entry(Ipv4Addr::UNSPECIFIED.into())?;
    lab.say(entry);
    Ok(())
}

/// Linux does not defend its address.
fn claimed(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let notes = lab.tell(&request(HOST_IP, HOST_IP).frame(X, MacAddr::BROADCAST))?;
    lab.say(answered(&notes));
    let entry = lab.entry(HOST_IP.into())?;
    lab.say(entry);
    Ok(())
}
