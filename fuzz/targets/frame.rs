//! Any bytes as frames from the wire, into what the program does with each: the parser and the announcer of the core. The kernel's filter before them and
//! the parsers of netlink are private to `bellhop-link`; their property tests stand beside them.
#![no_main]

use std::net::Ipv4Addr;

use bellhop_core::announcer::{Announcer, Voice};
use bellhop_core::arp::{ArpMessage, Operation};
use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use libfuzzer_sys::fuzz_target;

const OURS: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 91);
const NIC: MacAddr = MacAddr([0x52, 0x54, 0x22, 0xa3, 0x9a, 0xd9]);
const CARRIER: MacAddr = MacAddr([0x52, 0x54, 0x22, 0x3a, 0xe6, 0x6e]);

fuzz_target!(|bytes: &[u8]| {
    let mut announcer = Announcer::new(NIC);
    announcer.handle_carrier(Instant::ZERO, OURS, Some(CARRIER));
    announcer.handle_voice(Instant::ZERO, Voice::Announcing);
    // One after the other, as they come: each is as long as its first byte says.
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first() {
        let (frame, next) = after.split_at(after.len().min(usize::from(*length)));
        rest = next;
        hear(&mut announcer, frame);
    }
});

fn hear(announcer: &mut Announcer, frame: &[u8]) {
    let message = match ArpMessage::parse(frame) {
        Ok(message) => message,
        Err(reason) => return announcer.handle_ignored(reason),
    };
    let mut written = Vec::new();
    message.emit(&mut written);
    assert_eq!(ArpMessage::parse(&written), Ok(message), "what reads writes back");
    let mut reply = Vec::new();
    if announcer.handle_message(&message, &mut reply).is_ok() {
        let reply = ArpMessage::parse(&reply).expect("what is answered is ARP");
        assert_eq!((reply.operation, reply.source, reply.destination), (Operation::Reply, NIC, message.sender_mac));
        assert_eq!((reply.sender_mac, reply.sender_ip), (CARRIER, OURS), "nothing a stranger says becomes an answer");
    }
}
