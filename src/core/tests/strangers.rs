//! Any bytes as frames from the wire, into the whole of what the core does with them: nothing panics, and nothing that a stranger says is repeated.
//!
//! The body is [`ear`]'s, which `fuzz/targets/frame.rs` feeds too; here it always runs, from frames that are nearly right.

use bellhop_core::mac::MacAddr;
use bellhop_core::ndp::{Kind, NdpMessage, group_mac, solicited_node};
use proptest::prelude::*;

mod ear;

const CLIENT: MacAddr = MacAddr([0x52, 0x54, 0x22, 0xfa, 0xb9, 0x3b]);

/// A who-has for the address that is carried, as the tutorial's client asks it.
const WHO_HAS: [u8; 42] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0x22, 0xfa, 0xb9, 0x3b, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0x22, 0xfa,
    0xb9, 0x3b, 192, 168, 0, 5, 0, 0, 0, 0, 0, 0, 192, 168, 0, 91,
];

#[test]
fn a_question_for_the_address_is_answered_so_the_ear_hears() {
    assert_eq!(ear::hear_all([WHO_HAS.as_slice()].into_iter()).replies, 1);
}

/// The client's neighbor solicitation for the same.
fn solicitation() -> NdpMessage {
    let group = solicited_node(ear::OURS6);
    NdpMessage {
        destination: group_mac(group),
        source: CLIENT,
        source_ip: "2001:db8::5".parse().expect("a literal"),
        destination_ip: group,
        kind: Kind::Solicitation,
        target: ear::OURS6,
        link_address: Some(CLIENT),
    }
}

/// The node's answer to a solicitation of ours.
fn advertisement() -> NdpMessage {
    NdpMessage {
        destination: ear::NIC,
        source: CLIENT,
        source_ip: ear::NODE6,
        destination_ip: ear::OWN6,
        kind: Kind::Advertisement { solicited: true, overrides: true },
        target: ear::NODE6,
        link_address: Some(CLIENT),
    }
}

fn written(message: &NdpMessage) -> Vec<u8> {
    let mut frame = Vec::new();
    message.emit(&mut frame);
    frame
}

#[test]
fn neighbor_discovery_is_answered_and_believed_so_the_ear_hears_it() {
    let (asks, answers) = (written(&solicitation()), written(&advertisement()));
    let heard = ear::hear_all([asks.as_slice(), answers.as_slice()].into_iter());
    assert_eq!((heard.replies, heard.learned), (1, 1));
}

#[test]
fn a_node_that_answers_is_known_so_the_ear_hears_that_too() {
    let mut answer = WHO_HAS;
    answer[..6].copy_from_slice(&ear::NIC.0);
    answer[21] = 2;
    answer[28..32].copy_from_slice(&ear::NODE.octets());
    answer[38..].copy_from_slice(&ear::OWN.octets());
    assert_eq!(ear::hear_all([answer.as_slice()].into_iter()).learned, 1);
}

proptest! {
    #[test]
    fn no_frames_make_it_panic_or_say_what_it_should_not(frames in prop::collection::vec(frame(), 0..32)) {
        ear::hear_all(frames.iter().map(Vec::as_slice));
    }
}

/// Any bytes, or ARP of which a few bytes are others: of the operation, of a sender, of a target, of anything.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let change = prop_oneof![
        (Just(21), 0..4_u8).boxed(),
        (Just(31), prop::sample::select(vec![2_u8, 3, 5, 91])).boxed(),
        (Just(41), prop::sample::select(vec![2_u8, 3, 5, 91])).boxed(),
        (0..42_usize, any::<u8>()).boxed(),
    ];
    let nearly = prop::collection::vec(change, 0..4).prop_map(|changes| {
        let mut frame = WHO_HAS.to_vec();
        changes.into_iter().for_each(|(at, byte)| frame[at] = byte);
        frame
    });
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..128), 4 => nearly, 4 => nearly_discovery()]
}

/// Neighbor discovery of which something else is said, written whole so that its checksum fits, and then perhaps a byte changed.
fn nearly_discovery() -> impl Strategy<Value = Vec<u8>> {
    let address =
        prop::sample::select(vec!["::", "2001:db8::2", "2001:db8::3", "2001:db8::5", "2001:db8::91", "ff02::1", "ff02::1:ff00:91"]);
    let address = address.prop_map(|text| text.parse().expect("a literal"));
    let mac = prop::sample::select(vec![CLIENT, ear::NIC, MacAddr::BROADCAST, MacAddr::ZERO]);
    let kind = prop_oneof![
        Just(Kind::Solicitation),
        (any::<bool>(), any::<bool>()).prop_map(|(solicited, overrides)| Kind::Advertisement { solicited, overrides }),
    ];
    let addresses = (address.clone(), address.clone(), address);
    let message = (addresses, kind, mac.clone(), prop::option::of(mac)).prop_map(
        |((source_ip, destination_ip, target), kind, source, link_address)| NdpMessage {
            source_ip,
            destination_ip,
            target,
            kind,
            source,
            link_address,
            ..solicitation()
        },
    );
    let change = prop::option::of((0..86_usize, any::<u8>()));
    (message, change).prop_map(|(message, change)| {
        let mut frame = written(&message);
        if let Some((at, byte)) = change.filter(|(at, _)| *at < frame.len()) {
            frame[at] = byte;
        }
        frame
    })
}
