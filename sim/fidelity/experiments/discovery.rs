//! Neighbor discovery: what each form of an advertisement does (§6.4), and how solicitations are answered and asked (RFC 4861, RFC 4862).

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use bellhop_core::mac::MacAddr;

use super::List;
use crate::arm::{ArmError, HOST, HOST_IP6, LOCAL_IP6, Settings};
use crate::lab::{LEADER, Lab, X, Y, answered};
use crate::wire::{ALL_NODES, Advertisement, Heard, group_mac, solicitation, solicited_node};

/// The address that the leader has of its own: a link-local one.
const LEADER_IP6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x2);
/// Someone who asks.
const ASKER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77);

pub(super) fn add(list: &mut List) {
    let kernel = Settings::default;
    list.v6(
        "unsolicited-na-on-reachable",
        "6.4",
        kernel(),
        unsolicited,
        "O=1 TLLA: STALE y; O=0 TLLA: STALE x; O=1 SLLA: REACHABLE x; O=0 SLLA: REACHABLE x",
    );
    list.v6("unsolicited-na-on-stale", "6.4", kernel(), on_stale, "O=0 TLLA: STALE x; O=1 TLLA: STALE y");
    list.v6("unsolicited-na-creates-nothing", "6.2", kernel(), creates, "none");
    list.v6("solicited-na-unasked", "6.4", kernel(), solicited, "O=1: REACHABLE y; O=0: STALE x; to a group: REACHABLE x");
    list.v6("na-from-anothers-address", "6.3", kernel(), from_another, "answer: REACHABLE x; announcement: STALE y");
    list.v6("na-without-mac", "6.4", kernel(), without_mac, "on STALE x: REACHABLE x; on INCOMPLETE: INCOMPLETE");
    list.v6("two-repliers-with-override", "6.2", kernel(), |lab| two_repliers(lab, true), "REACHABLE y");
    list.v6("two-repliers-without-override", "6.2", kernel(), |lab| two_repliers(lab, false), "STALE x");
    list.v6("dad-solicitation-is-answered", "6.1", kernel(), duplicate_detection, "all S=0 O=1 host; silence; silence");
    list.v6("solicitation-to-the-group", "6.1", kernel(), asked_as_group, "x S=1 O=1 host; DELAY x");
    list.v6("solicitation-to-the-host-alone", "6.1", kernel(), asked_alone, "x S=1 O=0 no MAC; DELAY x");
    list.v6("solicitation-for-loopback", "6.2", kernel(), asked_for_loopback, "silence; silence");
    let delay = Settings { delay_first_probe: Duration::from_secs(1), ..Settings::default() };
    list.v6("sources-of-solicitations", "6.2", delay, sources, "all from 2001:db8::5; x from fe80::ff:fe00:5");
}

fn six(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(ip) => ip,
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
    }
}

/// Y claims the address, to all nodes, unasked.
fn unsolicited_frame(address: IpAddr, overrides: bool, of_target: bool) -> Vec<u8> {
    let says = Advertisement { target: six(address), mac: Some(Y), of_target, solicited: false, overrides };
    says.frame(Y, group_mac(ALL_NODES), ALL_NODES)
}

fn unsolicited(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    for (number, (overrides, of_target)) in (0..).zip([(true, true), (false, true), (true, false), (false, false)]) {
        let vip = lab.vip(number);
        lab.resolve(vip, X)?;
        lab.tell(&unsolicited_frame(vip, overrides, of_target))?;
        let entry = lab.entry(vip)?;
        lab.say(format!("O={} {}: {entry}", u8::from(overrides), if of_target { "TLLA" } else { "SLLA" }));
    }
    Ok(())
}

fn on_stale(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    lab.stale(vip)?;
    for overrides in [false, true] {
        lab.tell(&unsolicited_frame(vip, overrides, true))?;
        let entry = lab.entry(vip)?;
        lab.say(format!("O={} TLLA: {entry}", u8::from(overrides)));
    }
    Ok(())
}

fn creates(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    lab.tell(&unsolicited_frame(vip, true, true))?;
    let entry = lab.entry(vip)?;
    lab.say(entry);
    Ok(())
}

fn solicited(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let group = (group_mac(ALL_NODES), ALL_NODES);
    let forms = [("O=1", true, (HOST, HOST_IP6)), ("O=0", false, (HOST, HOST_IP6)), ("to a group", true, group)];
    for (number, (form, overrides, (mac, to))) in (0..).zip(forms) {
        let vip = lab.vip(number);
        lab.resolve(vip, X)?;
        let says = Advertisement { target: six(vip), mac: Some(Y), of_target: true, solicited: true, overrides };
        lab.tell(&says.frame(Y, mac, to))?;
        let entry = lab.entry(vip)?;
        lab.say(format!("{form}: {entry}"));
    }
    Ok(())
}

/// The leader, from its own address and card, answers that X has the address and then tells all nodes that Y has: receivers look at the target.
fn from_another(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    lab.packet(vip)?;
    lab.await_question(vip)?;
    let says = Advertisement { target: six(vip), mac: Some(X), of_target: true, solicited: true, overrides: true };
    lab.tell(&says.frame_from(LEADER_IP6, LEADER, HOST, HOST_IP6))?;
    let entry = lab.entry(vip)?;
    lab.say(format!("answer: {entry}"));
    let says = Advertisement { mac: Some(Y), solicited: false, ..says };
    lab.tell(&says.frame_from(LEADER_IP6, LEADER, group_mac(ALL_NODES), ALL_NODES))?;
    let entry = lab.entry(vip)?;
    lab.say(format!("announcement: {entry}"));
    Ok(())
}

fn without_mac(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let says = |address| {
        let says = Advertisement { target: six(address), mac: None, of_target: true, solicited: true, overrides: true };
        says.frame(X, HOST, HOST_IP6)
    };
    let known = lab.vip(0);
    lab.stale(known)?;
    lab.tell(&says(known))?;
    let entry = lab.entry(known)?;
    lab.say(format!("on STALE x: {entry}"));
    let unknown = lab.vip(1);
    lab.packet(unknown)?;
    lab.await_question(unknown)?;
    lab.tell(&says(unknown))?;
    let entry = lab.entry(unknown)?;
    lab.say(format!("on INCOMPLETE: {entry}"));
    Ok(())
}

/// X answers, Y right after; both with O or both without.
fn two_repliers(lab: &mut Lab<'_>, overrides: bool) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    lab.packet(vip)?;
    lab.await_question(vip)?;
    for mac in [X, Y] {
        let answer = lab.answer(vip, mac, mac, overrides);
        lab.tell(&answer)?;
    }
    let entry = lab.entry(vip)?;
    lab.say(entry);
    Ok(())
}

/// As RFC 4862 asks; with a MAC told, which it must not; and to the host alone, which it must not.
fn duplicate_detection(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let nobody = (X, Ipv6Addr::UNSPECIFIED);
    let group = solicited_node(HOST_IP6);
    for (to, mac) in [(group, None), (group, Some(X)), ((HOST, HOST_IP6), None)] {
        let notes = lab.tell(&solicitation(nobody, to, HOST_IP6, mac))?;
        lab.say(answered(&notes));
    }
    Ok(())
}

fn asked_as_group(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    asked(lab, solicited_node(HOST_IP6), Some(X))
}

/// RFC 4861 §4.3 lets a unicast solicitation leave the option out; the asker is known, because it has asked before.
fn asked_alone(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    lab.tell(&solicitation((X, ASKER), solicited_node(HOST_IP6), HOST_IP6, Some(X)))?;
    asked(lab, (HOST, HOST_IP6), None)
}

fn asked(lab: &mut Lab<'_>, to: (MacAddr, Ipv6Addr), mac: Option<MacAddr>) -> Result<(), ArmError> {
    let notes = lab.tell(&solicitation((X, ASKER), to, HOST_IP6, mac))?;
    lab.say(answered(&notes));
    let entry = lab.entry(ASKER.into())?;
    lab.say(entry);
    Ok(())
}

/// Of its group, then of the host alone.
fn asked_for_loopback(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    for (mac, to) in [solicited_node(LOCAL_IP6), (HOST, HOST_IP6)] {
        let notes = lab.tell(&solicitation((X, ASKER), (mac, to), LOCAL_IP6, Some(X)))?;
        lab.say(answered(&notes));
    }
    Ok(())
}

/// A first question is asked as the packet that waits, a probe as the NIC.
fn sources(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    let start = lab.now();
    lab.packet(vip)?;
    let mut notes = lab.until(start + Duration::from_millis(100))?;
    let answer = lab.answer(vip, Y, Y, true);
    lab.tell(&answer)?;
    let announcement = lab.announcement(vip, X);
    lab.tell(&announcement)?;
    let used = lab.now();
    lab.packet(vip)?;
    notes.extend(lab.until(used + Duration::from_millis(1500))?);
    for (_, heard) in notes {
        if let Heard::Ask { alone, asker, .. } = heard {
            lab.say(format!("{} from {asker}", if alone.is_some() { "x" } else { "all" }));
        }
    }
    Ok(())
}
