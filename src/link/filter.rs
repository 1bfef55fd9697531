//! Which frames the kernel hands us: a classic BPF program, run by the kernel for each frame before anything wakes.
//!
//! It keeps ARP requests and replies, neighbor solicitations and advertisements that came from the wire to this station, and drops all else: what had a VLAN
//! tag, what is for other hosts, what this machine sent. It knows nothing of addresses; whether a frame is worth an answer is the announcer's question.
//! The program is a row of blocks, each of which either decides or falls through to the next, so that another kind of frame is another
//! block. Language and ancillary loads: Documentation/networking/filter.rst, include/uapi/linux/filter.h.
//!
//! A frame with priority tag (VLAN 0) is for the untagged network and passes where the kernel itself takes it as untagged.

use libc::{BPF_ABS, BPF_B, BPF_H, BPF_JEQ, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

/// The whole program, in the kernel's form.
pub(crate) fn program() -> Vec<sock_filter> {
    [from_the_wire_to_us().as_slice(), untagged().as_slice(), arp().as_slice(), discovery().as_slice(), [ret(DROP)].as_slice()].concat()
}

/// The verdict that drops a frame: keep none of its bytes.
const DROP: u32 = 0;
/// The verdict that keeps a frame whole: as many bytes as a frame can have (tcpdump's default snapshot length).
const KEEP: u32 = 0x4_0000;
/// Where an Ethernet frame has its EtherType.
const ETHERTYPE_OFFSET: u32 = 12;
/// EtherType of ARP (RFC 826).
const ETHERTYPE_ARP: u32 = libc::ETH_P_ARP as u32;
/// Where an ARP frame has its operation: 14 bytes of Ethernet, then hardware and protocol type and their lengths (RFC 826).
const ARP_OPERATION_OFFSET: u32 = 14 + 6;
/// ARP operation "request" (RFC 826).
const ARP_REQUEST: u32 = 1;
/// ARP operation "reply" (RFC 826).
const ARP_REPLY: u32 = 2;

/// EtherType of IPv6 (RFC 2464 §3).
const ETHERTYPE_IPV6: u32 = libc::ETH_P_IPV6 as u32;
/// Where an IPv6 packet says what follows its header (RFC 8200 §3).
const NEXT_HEADER_OFFSET: u32 = 14 + 6;
/// Where ICMPv6 that follows at once has its type.
const ICMPV6_TYPE_OFFSET: u32 = 14 + 40;
/// Neighbor solicitation (RFC 4861 §4.3).
const SOLICITATION: u32 = 135;
/// Neighbor advertisement (RFC 4861 §4.4).
const ADVERTISEMENT: u32 = 136;

/// Drops all but PACKET_HOST, PACKET_BROADCAST and PACKET_MULTICAST (0, 1, 2 in include/uapi/linux/if_packet.h): other hosts' frames,
/// and our own on their way out.
fn from_the_wire_to_us() -> [sock_filter; 3] {
    [ancillary(libc::SKF_AD_PKTTYPE), jump(BPF_JGT, libc::PACKET_MULTICAST as u32, 0, 1), ret(DROP)]
}

/// Drops what had a tag that the NIC or the kernel took off. A tag that is still in the frame shows as its EtherType (0x8100, 0x88a8)
/// and is dropped by the blocks below, which keep by EtherType.
fn untagged() -> [sock_filter; 3] {
    [ancillary(libc::SKF_AD_VLAN_TAG_PRESENT), jump(BPF_JEQ, 0, 1, 0), ret(DROP)]
}

/// Keeps ARP requests and replies, drops other ARP, falls through for all else.
fn arp() -> [sock_filter; 7] {
    [
        load_half(ETHERTYPE_OFFSET),
        jump(BPF_JEQ, ETHERTYPE_ARP, 0, 5),
        load_half(ARP_OPERATION_OFFSET),
        jump(BPF_JEQ, ARP_REQUEST, 1, 0),
        jump(BPF_JEQ, ARP_REPLY, 0, 1),
        ret(KEEP),
        ret(DROP),
    ]
}

/// Keeps neighbor solicitations and advertisements, drops other IPv6, falls through for all else. One behind an extension header is dropped: no host sends
/// such (RFC 6980 forbids it for fragments). The accumulator holds the EtherType still.
fn discovery() -> [sock_filter; 8] {
    [
        jump(BPF_JEQ, ETHERTYPE_IPV6, 0, 7),
        load_byte(NEXT_HEADER_OFFSET),
        jump(BPF_JEQ, libc::IPPROTO_ICMPV6.cast_unsigned(), 0, 4),
        load_byte(ICMPV6_TYPE_OFFSET),
        jump(BPF_JEQ, SOLICITATION, 1, 0),
        jump(BPF_JEQ, ADVERTISEMENT, 0, 1),
        ret(KEEP),
        ret(DROP),
    ]
}

/// Loads 8 bits of the frame, likewise.
fn load_byte(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_B | BPF_ABS, 0, 0, offset)
}

/// Loads 16 bits of the frame. A frame that is shorter ends the program, dropped.
fn load_half(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_H | BPF_ABS, 0, 0, offset)
}

/// Loads what the kernel knows of the frame beside its bytes.
fn ancillary(which: libc::c_int) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, (libc::SKF_AD_OFF + which).cast_unsigned())
}

/// Compares what was loaded with `value` and skips as many instructions as said.
fn jump(comparison: u32, value: u32, skip_if_true: u8, skip_if_false: u8) -> sock_filter {
    instruction(BPF_JMP | comparison | BPF_K, skip_if_true, skip_if_false, value)
}

/// Ends with a verdict.
fn ret(verdict: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, 0, 0, verdict)
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    // All codes of classic BPF are below 0x100.
    sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the kernel knows of a frame.
    struct Received<'a> {
        packet_type: u8,
        tag_present: bool,
        bytes: &'a [u8],
    }

    /// Runs the program as the kernel would: ten lines that are checked against the real one in `tests/nic.rs`.
    fn keeps(frame: &Received<'_>) -> bool {
        let program = program();
        let (mut accumulator, mut next) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[next];
            next += 1;
            let code = u32::from(code);
            if code == BPF_LD | BPF_W | BPF_ABS {
                accumulator = match k.cast_signed() - libc::SKF_AD_OFF {
                    libc::SKF_AD_PKTTYPE => u32::from(frame.packet_type),
                    libc::SKF_AD_VLAN_TAG_PRESENT => u32::from(frame.tag_present),
                    other => panic!("no ancillary load {other}"),
                };
            } else if code == BPF_LD | BPF_H | BPF_ABS {
                let at = k as usize;
                let Some(half) = frame.bytes.get(at..at + 2) else { return false };
                accumulator = u32::from(u16::from_be_bytes([half[0], half[1]]));
            } else if code == BPF_LD | BPF_B | BPF_ABS {
                let Some(byte) = frame.bytes.get(k as usize) else { return false };
                accumulator = u32::from(*byte);
            } else if code == BPF_JMP | BPF_JEQ | BPF_K {
                next += usize::from(if accumulator == k { jt } else { jf });
            } else if code == BPF_JMP | BPF_JGT | BPF_K {
                next += usize::from(if accumulator > k { jt } else { jf });
            } else if code == BPF_RET | BPF_K {
                return k != DROP;
            } else {
                panic!("no instruction {code:#x}");
            }
        }
    }

    fn arp_frame(operation: u8) -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[12..14].copy_from_slice(&[0x08, 0x06]);
        frame[20..22].copy_from_slice(&[0, operation]);
        frame
    }

    /// IPv6 with this protocol and the type that would be ICMPv6's.
    fn ipv6_frame(next_header: u8, kind: u8) -> Vec<u8> {
        let mut frame = vec![0; 86];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        (frame[20], frame[54]) = (next_header, kind);
        frame
    }

    fn from_wire(bytes: &[u8]) -> Received<'_> {
        Received { packet_type: libc::PACKET_BROADCAST, tag_present: false, bytes }
    }

    #[test]
    fn arp_requests_and_replies_pass_and_no_other_operation() {
        let kept: Vec<u8> = (0..=255).filter(|&operation| keeps(&from_wire(&arp_frame(operation)))).collect();
        assert_eq!(kept, [1, 2]);
    }

    #[test]
    fn solicitations_and_advertisements_pass_and_no_other_ipv6() {
        let kept: Vec<u8> = (0..=255).filter(|&kind| keeps(&from_wire(&ipv6_frame(58, kind)))).collect();
        assert_eq!(kept, [135, 136]);
        let kept: Vec<u8> = (0..=255).filter(|&next_header| keeps(&from_wire(&ipv6_frame(next_header, 135)))).collect();
        assert_eq!(kept, [58]);
    }

    #[test]
    fn only_what_came_from_the_wire_to_us_passes() {
        let frame = arp_frame(1);
        let kept: Vec<u8> = (0..=7).filter(|&packet_type| keeps(&Received { packet_type, tag_present: false, bytes: &frame })).collect();
        assert_eq!(kept, [libc::PACKET_HOST, libc::PACKET_BROADCAST, libc::PACKET_MULTICAST]);
    }

    #[test]
    fn a_tag_that_was_taken_off_drops_the_frame() {
        let bytes = &arp_frame(1);
        assert!(!keeps(&Received { packet_type: libc::PACKET_HOST, tag_present: true, bytes }));
    }

    #[test]
    fn a_tag_in_line_drops_the_frame() {
        for tag in [[0x81, 0x00], [0x88, 0xa8]] {
            let mut frame = arp_frame(1);
            frame.splice(12..12, [tag[0], tag[1], 0, 5]);
            assert!(!keeps(&from_wire(&frame)));
        }
    }

    #[test]
    fn a_frame_that_ends_before_its_operation_is_dropped() {
        for length in 0..22 {
            assert!(!keeps(&from_wire(&arp_frame(1)[..length])), "{length} bytes");
        }
        for length in 0..55 {
            assert!(!keeps(&from_wire(&ipv6_frame(58, 135)[..length])), "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn whatever_passes_is_arp_or_neighbor_discovery(
            packet_type in 0..8_u8,
            tag_present: bool,
            ethertype in prop::sample::select(vec![[8, 6], [0x86, 0xdd], [8, 0], [0x81, 0]]),
            bytes in prop::collection::vec(prop::sample::select(vec![0_u8, 1, 2, 6, 8, 58, 135, 136]), 0..80),
        ) {
            let mut bytes = bytes;
            if bytes.len() >= 14 {
                bytes[12..14].copy_from_slice(&ethertype);
            }
            let is_arp = bytes.len() >= 22 && ethertype == [8, 6] && (bytes[20..22] == [0, 1] || bytes[20..22] == [0, 2]);
            let is_discovery = bytes.len() >= 55 && ethertype == [0x86, 0xdd] && bytes[20] == 58 && [135, 136].contains(&bytes[54]);
            let expected = packet_type <= 2 && !tag_present && (is_arp || is_discovery);
            prop_assert_eq!(keeps(&Received { packet_type, tag_present, bytes: &bytes }), expected);
        }
    }
}
