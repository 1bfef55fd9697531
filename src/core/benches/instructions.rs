//! What `.ci/instructions` counts: a thousand answers to who-has, among ten thousand addresses. Run by itself it only gives them.
//!
//! callgrind collects inside the function called `counted_answers` and nowhere else.

use std::hint::black_box;
use std::net::Ipv4Addr;

use bellhop_core::announcer::{Announcer, Voice};
use bellhop_core::arp::{ArpMessage, Operation};
use bellhop_core::frame::Message;
use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;

const ADDRESSES: u32 = 10_000;
const ANSWERS: u32 = 1_000;

fn main() {
    let mut announcer = Announcer::new(MacAddr([2, 0, 0, 0, 0, 2]));
    announcer.handle_voice(Instant::ZERO, Voice::Answering);
    for number in 0..ADDRESSES {
        announcer.handle_carrier(Instant::ZERO, address(number).into(), Some(MacAddr([2, 0, 0, 0, 1, (number % 3) as u8])));
    }
    let requests: Vec<Vec<u8>> = (0..ANSWERS).map(|number| who_has(address(number * 7919 % ADDRESSES))).collect();
    let mut reply = Vec::with_capacity(64);
    counted_answers(&mut announcer, &requests, &mut reply);
}

/// Decode, decide, encode.
#[inline(never)]
fn counted_answers(announcer: &mut Announcer, requests: &[Vec<u8>], reply: &mut Vec<u8>) {
    for request in requests {
        let message = Message::parse(black_box(request)).expect("a request");
        announcer.handle_message(&message, reply).expect("one of ours");
        black_box(&reply);
    }
}

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 1).to_bits() + number)
}

fn who_has(target_ip: Ipv4Addr) -> Vec<u8> {
    let client = MacAddr([2, 0, 0, 0, 0, 5]);
    let mut frame = Vec::new();
    ArpMessage {
        destination: MacAddr::BROADCAST,
        source: client,
        operation: Operation::Request,
        sender_mac: client,
        sender_ip: Ipv4Addr::new(10, 255, 0, 5),
        target_mac: MacAddr::ZERO,
        target_ip,
    }
    .emit(&mut frame);
    frame
}
