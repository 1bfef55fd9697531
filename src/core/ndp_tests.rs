//! What reads as neighbor discovery and what does not, on frames as Linux sends them.

use proptest::prelude::*;

use super::*;

const CLIENT: MacAddr = MacAddr([0x52, 0x54, 0x22, 0xfa, 0xb9, 0x3b]);

/// 2001:db8::5 (52:54:22:fa:b9:3b) asks the group of 2001:db8::91 for it: written by hand, as tcpdump shows it.
#[rustfmt::skip]
const SOLICITATION: [u8; 86] = [
    0x33, 0x33, 0xff, 0x00, 0x00, 0x91, 0x52, 0x54, 0x22, 0xfa, 0xb9, 0x3b, 0x86, 0xdd, // Ethernet
    0x60, 0x00, 0x00, 0x00, 0x00, 0x20, 0x3a, 0xff, // IPv6: 32 bytes of ICMPv6, hop limit 255
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x05, // from
    0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0x91, // to
    0x87, 0x00, 0xee, 0x7b, 0, 0, 0, 0, // neighbor solicitation, with its checksum
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x91, // target
    0x01, 0x01, 0x52, 0x54, 0x22, 0xfa, 0xb9, 0x3b, // source link-layer address
];

/// Where things are in a frame.
const NEXT_HEADER: usize = 20;
const HOP_LIMIT_AT: usize = 21;
const SOURCE_IP: usize = 22;
const DESTINATION_IP: usize = 38;
const ICMP: usize = 54;
const TARGET: usize = ICMP + 8;
const OPTION: usize = ICMP + 24;

fn ip(text: &str) -> Ipv6Addr {
    text.parse().expect("a literal")
}

fn message() -> NdpMessage {
    NdpMessage {
        destination: MacAddr([0x33, 0x33, 0xff, 0x00, 0x00, 0x91]),
        source: CLIENT,
        source_ip: ip("2001:db8::5"),
        destination_ip: ip("ff02::1:ff00:91"),
        kind: Kind::Solicitation,
        target: ip("2001:db8::91"),
        link_address: Some(CLIENT),
    }
}

fn advertisement(solicited: bool, overrides: bool) -> NdpMessage {
    NdpMessage { kind: Kind::Advertisement { solicited, overrides }, destination_ip: ip("2001:db8::5"), ..message() }
}

fn written(message: &NdpMessage) -> Vec<u8> {
    let mut frame = vec![0xee; 100];
    message.emit(&mut frame);
    frame
}

/// The solicitation with other bytes at a place, and a checksum that fits them.
fn with(position: usize, bytes: &[u8]) -> Result<NdpMessage, DropReason> {
    let mut frame = SOLICITATION;
    frame[position..position + bytes.len()].copy_from_slice(bytes);
    fill_checksum(&mut frame);
    NdpMessage::parse(&frame)
}

/// Puts the right checksum into a frame with 40 bytes of IPv6 header, whatever else is wrong with it.
fn fill_checksum(frame: &mut [u8]) {
    let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&frame[at..at + 16]).expect("sixteen bytes"));
    let (from, to) = (address(SOURCE_IP), address(DESTINATION_IP));
    Icmpv6Packet::new_unchecked(&mut frame[ICMP..]).fill_checksum(&from, &to);
}

#[test]
fn a_frame_reads_as_the_message_it_is_and_is_written_as_it_was() {
    assert_eq!(NdpMessage::parse(&SOLICITATION), Ok(message()));
    assert_eq!(written(&message()), SOLICITATION);
}

#[test]
fn every_flag_of_an_advertisement_reads_back_as_it_was_written() {
    for (solicited, overrides) in [(false, false), (false, true), (true, false), (true, true)] {
        let says = advertisement(solicited, overrides);
        let frame = written(&says);
        assert_eq!((frame[ICMP], frame[ICMP + 4]), (136, u8::from(solicited) << 6 | u8::from(overrides) << 5));
        assert_eq!(frame[OPTION..OPTION + 2], [2, 1], "the option is the target's");
        assert_eq!(NdpMessage::parse(&frame), Ok(says));
    }
}

#[test]
fn what_is_padded_behind_its_payload_reads_the_same() {
    assert_eq!(NdpMessage::parse(&[SOLICITATION.as_slice(), &[0; 20]].concat()), Ok(message()));
}

#[test]
fn what_came_through_a_router_or_was_damaged_is_dropped() {
    assert_eq!(with(HOP_LIMIT_AT, &[254]), Err(DropReason::HopLimit));
    let mut damaged = SOLICITATION;
    damaged[TARGET + 15] = 0x92;
    assert_eq!(NdpMessage::parse(&damaged), Err(DropReason::Checksum));
}

#[test]
fn what_is_cut_or_something_else_is_dropped_with_its_reason() {
    for length in 0..SOLICITATION.len() {
        assert_eq!(NdpMessage::parse(&SOLICITATION[..length]), Err(DropReason::Short), "{length} bytes");
    }
    assert_eq!(with(NEXT_HEADER, &[17]), Err(DropReason::WrongType), "UDP");
    assert_eq!(with(14, &[0x40]), Err(DropReason::WrongType), "another version");
    assert_eq!(with(ICMP, &[128]), Err(DropReason::WrongType), "an echo");
    assert_eq!(with(12, &[0x08, 0x00]), Err(DropReason::OtherProtocol));
}

#[test]
fn what_rfc_4861_throws_away_for_what_it_says_is_unsound() {
    assert_eq!(with(ICMP + 1, &[1]), Err(DropReason::Unsound), "a code");
    assert_eq!(with(TARGET, &[0xff]), Err(DropReason::Unsound), "a group as target");
    assert_eq!(with(OPTION + 1, &[0]), Err(DropReason::Unsound), "an option of no length");
    assert_eq!(with(OPTION + 1, &[2]), Err(DropReason::Unsound), "an option that ends behind the packet");
    let to_all = NdpMessage { destination_ip: ALL_NODES, ..advertisement(true, true) };
    assert_eq!(NdpMessage::parse(&written(&to_all)), Err(DropReason::Unsound), "an answer to everybody");
}

#[test]
fn duplicate_detection_asks_the_group_and_tells_no_mac() {
    let detects = NdpMessage { source_ip: Ipv6Addr::UNSPECIFIED, link_address: None, ..message() };
    let read = NdpMessage::parse(&written(&detects));
    assert_eq!(read, Ok(detects));
    assert!(read.is_ok_and(|read| read.detects_duplicates()));
    let tells = NdpMessage { link_address: Some(CLIENT), ..detects };
    let unicast = NdpMessage { destination_ip: detects.target, ..detects };
    for unsound in [tells, unicast] {
        assert_eq!(NdpMessage::parse(&written(&unsound)), Err(DropReason::Unsound));
    }
}

#[test]
fn a_nonce_beside_is_skipped() {
    // Linux detects duplicates with one (RFC 7527; enhanced_dad).
    let detects = NdpMessage { source_ip: Ipv6Addr::UNSPECIFIED, link_address: None, ..message() };
    let mut frame = [written(&detects).as_slice(), &[14, 1, 1, 2, 3, 4, 5, 6]].concat();
    frame[19] += 8;
    fill_checksum(&mut frame);
    assert_eq!(NdpMessage::parse(&frame), Ok(detects));
}

#[test]
fn senders_that_no_station_can_be_are_refused() {
    assert_eq!(with(SOURCE_IP, &[0xff]), Err(DropReason::BadSender), "a group as source");
    assert_eq!(with(OPTION + 2, &[0xff; 6]), Err(DropReason::BadSender));
    assert_eq!(with(OPTION + 2, &[0; 6]), Err(DropReason::BadSender));
    let anonymous = NdpMessage { source_ip: Ipv6Addr::UNSPECIFIED, ..advertisement(false, true) };
    assert_eq!(NdpMessage::parse(&written(&anonymous)), Err(DropReason::BadSender));
    let without_option = NdpMessage { source: MacAddr::BROADCAST, link_address: None, ..message() };
    assert_eq!(NdpMessage::parse(&written(&without_option)), Err(DropReason::BadSender));
}

#[test]
fn groups_are_made_of_the_last_bits() {
    assert_eq!(solicited_node(ip("2001:db8::1234:abcd")), ip("ff02::1:ff34:abcd"));
    assert_eq!(group_mac(ip("ff02::1:ff34:abcd")), MacAddr([0x33, 0x33, 0xff, 0x34, 0xab, 0xcd]));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
        let _ = NdpMessage::parse(&bytes);
    }

    /// Bytes behind sound headers, so that they come as far as the options.
    #[test]
    fn no_options_panic_and_what_reads_writes_back(kind in 133u8..=137, options in prop::collection::vec(0u8..32, 0..64)) {
        let mut frame = SOLICITATION[..OPTION].to_vec();
        frame.extend_from_slice(&options);
        frame[19] = 24 + options.len() as u8;
        frame[ICMP] = kind;
        fill_checksum(&mut frame);
        if let Ok(message) = NdpMessage::parse(&frame) {
            prop_assert_eq!(NdpMessage::parse(&written(&message)), Ok(message));
        }
    }

    #[test]
    fn no_change_to_a_solicitation_panics_and_what_reads_writes_back(position in 12usize..86, byte: u8) {
        if let Ok(message) = with(position, &[byte]) {
            prop_assert_eq!(NdpMessage::parse(&written(&message)), Ok(message));
        }
    }
}
