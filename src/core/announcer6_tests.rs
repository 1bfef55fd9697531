//! What an announcer says of IPv6 addresses, and to whom.

use super::*;
use crate::ndp::solicited_node;

const MASTER1: MacAddr = MacAddr([0x52, 0x54, 0x22, 0xa3, 0x9a, 0xd9]);
const WORKER_P001: MacAddr = MacAddr([0x52, 0x54, 0x22, 0x3a, 0xe6, 0x6e]);
const WORKER_P002: MacAddr = MacAddr([0x52, 0x54, 0x22, 0x37, 0x6c, 0x7b]);
const CLIENT: MacAddr = MacAddr([0x52, 0x54, 0x22, 0xfa, 0xb9, 0x3b]);

fn ip(text: &str) -> Ipv6Addr {
    text.parse().expect("a literal")
}

fn vip() -> Ipv6Addr {
    ip("2001:db8::91")
}

/// The leader on master1, with 2001:db8::91 carried by worker-p001.
fn announcer(voice: Voice) -> Announcer {
    let mut announcer = Announcer::new(MASTER1);
    announcer.handle_nic(MASTER1, Some(ip("fe80::2")));
    announcer.handle_carrier(Instant::ZERO, vip().into(), Some(WORKER_P001));
    announcer.handle_voice(Instant::ZERO, voice);
    announcer
}

fn asks_for(target: Ipv6Addr) -> NdpMessage {
    let group = solicited_node(target);
    NdpMessage {
        destination: group_mac(group),
        source: CLIENT,
        source_ip: ip("2001:db8::5"),
        destination_ip: group,
        kind: Kind::Solicitation,
        target,
        link_address: Some(CLIENT),
    }
}

fn answer(announcer: &mut Announcer, message: NdpMessage) -> Result<NdpMessage, DropReason> {
    let mut reply = Vec::new();
    announcer.handle_message(&Message::Ndp(message), &mut reply)?;
    NdpMessage::parse(&reply)
}

fn announced(announcer: &mut Announcer, now: Instant) -> Vec<NdpMessage> {
    let mut frame = Vec::new();
    std::iter::from_fn(|| announcer.poll_announcement(now, &mut frame).then(|| NdpMessage::parse(&frame).expect("our own frame"))).collect()
}

#[test]
fn an_answer_speaks_from_the_leaders_nic_and_address_of_the_nodes_mac() {
    let answer = answer(&mut announcer(Voice::Answering), asks_for(vip())).expect("an answer");
    assert_eq!((answer.source, answer.source_ip), (MASTER1, ip("fe80::2")));
    assert_eq!((answer.destination, answer.destination_ip), (CLIENT, ip("2001:db8::5")));
    assert_eq!(answer.kind, Kind::Advertisement { solicited: true, overrides: true });
    assert_eq!((answer.target, answer.link_address), (vip(), Some(WORKER_P001)));
}

#[test]
fn who_asks_us_alone_hears_the_mac_too() {
    let unicast = NdpMessage { destination: MASTER1, destination_ip: vip(), link_address: None, ..asks_for(vip()) };
    let answer = answer(&mut announcer(Voice::Answering), unicast).expect("an answer");
    assert_eq!((answer.destination, answer.link_address), (CLIENT, Some(WORKER_P001)));
}

#[test]
fn who_detects_duplicates_learns_with_everybody_that_the_address_is_taken() {
    let detects = NdpMessage { source_ip: Ipv6Addr::UNSPECIFIED, link_address: None, ..asks_for(vip()) };
    let answer = answer(&mut announcer(Voice::Answering), detects).expect("an answer");
    assert_eq!((answer.destination, answer.destination_ip), (MacAddr([0x33, 0x33, 0, 0, 0, 1]), ip("ff02::1")));
    assert_eq!(answer.kind, Kind::Advertisement { solicited: false, overrides: true });
    assert_eq!((answer.target, answer.link_address), (vip(), Some(WORKER_P001)));
}

#[test]
fn what_is_not_for_us_is_left_alone_and_counted() {
    let mut announcer = announcer(Voice::Answering);
    let says = NdpMessage { kind: Kind::Advertisement { solicited: false, overrides: true }, ..asks_for(vip()) };
    assert_eq!(answer(&mut announcer, asks_for(ip("2001:db8::92"))), Err(DropReason::NotOurs));
    assert_eq!(answer(&mut announcer, says), Err(DropReason::NotARequest));
    assert_eq!(answer(&mut announcer, NdpMessage { source_ip: vip(), ..asks_for(vip()) }), Err(DropReason::Gratuitous));
    assert_eq!(announcer.counters().ignored.iter().sum::<u64>(), 3);
    announcer.handle_voice(Instant::ZERO, Voice::Silent);
    assert_eq!(answer(&mut announcer, asks_for(vip())), Err(DropReason::NotLeading));
}

#[test]
fn a_move_is_told_to_all_nodes_three_times_a_second_apart() {
    let mut announcer = announcer(Voice::Announcing);
    let start = Instant::from_millis(60_000);
    announced(&mut announcer, start);
    announcer.handle_carrier(start, vip().into(), Some(WORKER_P002));
    let mut times = Vec::new();
    for millis in (0..5000).step_by(100) {
        for said in announced(&mut announcer, start + std::time::Duration::from_millis(millis)) {
            assert_eq!((said.source, said.source_ip), (MASTER1, ip("fe80::2")));
            assert_eq!((said.destination, said.destination_ip), (MacAddr([0x33, 0x33, 0, 0, 0, 1]), ip("ff02::1")));
            assert_eq!(said.kind, Kind::Advertisement { solicited: false, overrides: true });
            assert_eq!((said.target, said.link_address), (vip(), Some(WORKER_P002)));
            times.push(millis);
        }
    }
    assert_eq!(times, [0, 1000, 2000]);
}

#[test]
fn an_address_of_each_family_is_announced_each_in_its_own_way() {
    let mut announcer = announcer(Voice::Announcing);
    announcer.handle_carrier(Instant::ZERO, [192, 168, 0, 91].into(), Some(WORKER_P001));
    let (mut frame, mut arp, mut ndp) = (Vec::new(), 0, 0);
    while let Some(next) = announcer.poll_timeout().map(|next| next.max(Instant::from_millis(100))) {
        if announcer.poll_announcement(next, &mut frame) {
            let of_arp = matches!(Message::parse(&frame), Ok(Message::Arp(_)));
            (arp, ndp) = (arp + usize::from(of_arp), ndp + usize::from(!of_arp));
        }
    }
    assert_eq!((arp, ndp, announcer.counters().gratuitous), (8, 3, 11));
}

#[test]
fn a_nic_without_an_address_of_its_own_still_says_whose_the_address_is() {
    let mut announcer = announcer(Voice::Answering);
    announcer.handle_nic(MASTER1, None);
    assert_eq!(answer(&mut announcer, asks_for(vip())).map(|answer| answer.source_ip), Ok(vip()));
}
