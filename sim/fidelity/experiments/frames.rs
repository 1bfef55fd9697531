//! Which ARP frames change what a host knows: the six frames of the reference's table at three ages, the lock, and what creates an entry.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use smoltcp::wire::ArpOperation;

use super::List;
use crate::arm::{ArmError, HOST, HOST_IP, Settings};
use crate::lab::{Lab, X, Y, gratuitous_request};
use crate::wire::Arp;

/// After the entry became X's: inside the lock, well inside, and past it.
const AGES: [u64; 3] = [50, 500, 1300];

pub(super) fn add(list: &mut List) {
    let kernel = Settings::default;
    let taken = "after 50 ms: STALE y; after 500 ms: STALE y; after 1300 ms: STALE y";
    list.v4("garp-request-broadcast", "6.2", kernel(), |lab| at_three_ages(lab, garp_request), taken);
    list.v4("garp-request-unicast", "6.2", kernel(), |lab| at_three_ages(lab, |ip| gratuitous_request(ip, Y).frame(Y, HOST)), taken);
    list.v4("garp-reply-with-its-own-mac-as-target", "6.2", kernel(), |lab| at_three_ages(lab, garp_reply), taken);
    list.v4(
        "garp-reply-with-broadcast-as-target",
        "6.2",
        kernel(),
        |lab| at_three_ages(lab, broadcast_reply),
        "after 50 ms: REACHABLE x; after 500 ms: REACHABLE x; after 1300 ms: STALE y",
    );
    list.v4(
        "plain-reply",
        "6.2",
        kernel(),
        |lab| at_three_ages(lab, plain_reply),
        "after 50 ms: REACHABLE x; after 500 ms: REACHABLE x; after 1300 ms: REACHABLE y",
    );
    list.v4("question-for-the-host", "6.2", kernel(), |lab| at_three_ages(lab, question), taken);
    list.v4(
        "acd-probe",
        "6.2",
        kernel(),
        |lab| at_three_ages(lab, |ip| request(Ipv4Addr::UNSPECIFIED, ip)),
        "after 50 ms: REACHABLE x; after 500 ms: REACHABLE x; after 1300 ms: REACHABLE x",
    );
    let lock = |lock| Settings { lock: Some(Duration::from_millis(lock)), ..Settings::default() };
    list.v4(
        "locktime-has-an-edge",
        "6.2",
        lock(2000),
        |lab| {
            at(lab, 0, 1700, plain_reply)?;
            at(lab, 1, 2300, plain_reply)
        },
        "after 1700 ms: REACHABLE x; after 2300 ms: REACHABLE y",
    );
    list.v4("without-locktime", "6.2", lock(0), |lab| at(lab, 0, 50, plain_reply), "after 50 ms: REACHABLE y");
    list.v4("two-repliers", "6.2", kernel(), two_repliers, "REACHABLE x");
    list.v4("two-repliers-without-locktime", "6.2", lock(0), two_repliers, "REACHABLE y");
    let accept = |arp_accept| Settings { arp_accept, ..Settings::default() };
    list.v4("arp-accept-0-creates-nothing", "6.2", accept(false), created, "none; none; none; none");
    list.v4("arp-accept-1-creates", "6.2", accept(true), created, "STALE y; STALE y; STALE y; REACHABLE y");
    list.v4("a-question-for-the-host-creates", "6.2", kernel(), asked_creates, "y S=1 O=1 host; STALE y");
    let drop = Settings { drop_gratuitous: true, ..Settings::default() };
    list.v4("drop-gratuitous-arp", "6.2", drop, dropped, "REACHABLE x; REACHABLE x; REACHABLE x");
    list.v4("a-change-of-state-locks-too", "6.2", kernel(), state_locks, "DELAY x; DELAY x; REACHABLE y");
    list.v4("the-same-mac-changes-nothing", "6.2", kernel(), same_mac, "REACHABLE x; REACHABLE y");
}

/// A frame about an address that is claimed for Y.
type Claim = fn(Ipv4Addr) -> Vec<u8>;

fn garp_request(ip: Ipv4Addr) -> Vec<u8> {
    gratuitous_request(ip, Y).frame(Y, MacAddr::BROADCAST)
}

/// kube-vip's form.
fn garp_reply(ip: Ipv4Addr) -> Vec<u8> {
    Arp { operation: ArpOperation::Reply, sender: (Y, ip), target: (Y, ip) }.frame(Y, MacAddr::BROADCAST)
}

/// MetalLB's form.
fn broadcast_reply(ip: Ipv4Addr) -> Vec<u8> {
    Arp { operation: ArpOperation::Reply, sender: (Y, ip), target: (MacAddr::BROADCAST, ip) }.frame(Y, MacAddr::BROADCAST)
}

/// An answer to the host, asked for or not.
fn plain_reply(ip: Ipv4Addr) -> Vec<u8> {
    Arp { operation: ArpOperation::Reply, sender: (Y, ip), target: (HOST, HOST_IP) }.frame(Y, HOST)
}

fn question(ip: Ipv4Addr) -> Vec<u8> {
    request(ip, HOST_IP)
}

fn request(sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    Arp { operation: ArpOperation::Request, sender: (Y, sender), target: (MacAddr::ZERO, target) }.frame(Y, MacAddr::BROADCAST)
}

fn at_three_ages(lab: &mut Lab<'_>, claim: Claim) -> Result<(), ArmError> {
    (0..).zip(AGES).try_for_each(|(number, age)| at(lab, number, age, claim))
}

/// X's entry is so old when Y claims the address.
fn at(lab: &mut Lab<'_>, number: u8, age: u64, claim: Claim) -> Result<(), ArmError> {
    let (address, ip) = vip(lab, number);
    let known = lab.resolve(address, X)?;
    lab.until(known + Duration::from_millis(age))?;
    lab.tell(&claim(ip))?;
    let entry = lab.entry(address)?;
    lab.say(format!("after {age} ms: {entry}"));
    Ok(())
}

/// X answers, Y 30 ms later.
fn two_repliers(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let (address, ip) = vip(lab, 0);
    let known = lab.resolve(address, X)?;
    lab.until(known + Duration::from_millis(30))?;
    lab.tell(&plain_reply(ip))?;
    let entry = lab.entry(address)?;
    lab.say(entry);
    Ok(())
}

/// Four frames about four addresses that the host does not know.
fn created(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let claims: [Claim; 4] = [garp_request, garp_reply, broadcast_reply, plain_reply];
    for (number, claim) in (0..).zip(claims) {
        let (address, ip) = vip(lab, number);
        lab.tell(&claim(ip))?;
        let entry = lab.entry(address)?;
        lab.say(entry);
    }
    Ok(())
}

fn asked_creates(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let (address, ip) = vip(lab, 0);
    let notes = lab.tell(&question(ip))?;
    lab.say(crate::lab::answered(&notes));
    let entry = lab.entry(address)?;
    lab.say(entry);
    Ok(())
}

/// Past the lock, so that only the setting can be the reason.
fn dropped(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let (address, ip) = vip(lab, 0);
    let known = lab.resolve(address, X)?;
    lab.until(known + Duration::from_millis(1300))?;
    for claim in [garp_request, garp_reply, broadcast_reply] {
        lab.tell(&claim(ip))?;
        let entry = lab.entry(address)?;
        lab.say(entry);
    }
    Ok(())
}

/// A packet turns STALE to DELAY, and for a second after that another's reply is not believed.
fn state_locks(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let (address, ip) = vip(lab, 0);
    lab.stale(address)?;
    let known = lab.now();
    lab.until(known + Duration::from_millis(1300))?;
    lab.packet(address)?;
    let used = lab.now();
    lab.until(used + Duration::from_millis(100))?;
    let entry = lab.entry(address)?;
    lab.say(entry);
    for age in [500, 1300] {
        lab.until(used + Duration::from_millis(age))?;
        lab.tell(&plain_reply(ip))?;
        let entry = lab.entry(address)?;
        lab.say(entry);
    }
    Ok(())
}

/// X announces what is known already: the entry stays, and the lock counts from the change, not from the echo of it.
fn same_mac(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let (address, ip) = vip(lab, 0);
    let known = lab.resolve(address, X)?;
    lab.until(known + Duration::from_millis(800))?;
    lab.tell(&gratuitous_request(ip, X).frame(X, MacAddr::BROADCAST))?;
    let entry = lab.entry(address)?;
    lab.say(entry);
    lab.until(known + Duration::from_millis(1300))?;
    lab.tell(&plain_reply(ip))?;
    let entry = lab.entry(address)?;
    lab.say(entry);
    Ok(())
}

/// The address under test in both of its forms.
fn vip(lab: &Lab<'_>, number: u8) -> (IpAddr, Ipv4Addr) {
    let address = lab.vip(number);
    match address {
        IpAddr::V4(ip) => (address, ip),
        IpAddr::V6(_) => (address, Ipv4Addr::UNSPECIFIED),
    }
}
