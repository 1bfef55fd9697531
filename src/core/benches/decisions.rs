//! What the hot paths cost: answering one who-has among 10,000 addresses, and handing out one address among 10,000 in use.
//!
//! `cargo bench -p bellhop-core`. Wall time on whatever machine this is: compare ratios, not figures of different runs.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use bellhop_core::announcer::{Announcer, Voice};
use bellhop_core::arp::{ArpMessage, Operation};
use bellhop_core::frame::Message;
use bellhop_core::ledger::Ledger;
use bellhop_core::mac::MacAddr;
use bellhop_core::pool::AddressPool;
use bellhop_core::time::Instant;
use criterion::{Criterion, criterion_group, criterion_main};

const ADDRESSES: u32 = 10_000;
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST.to_bits() + number)
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

/// Decode, decide, encode.
fn answer(c: &mut Criterion) {
    let mut announcer = Announcer::new(MacAddr([2, 0, 0, 0, 0, 2]));
    announcer.handle_voice(Instant::ZERO, Voice::Answering);
    for number in 0..ADDRESSES {
        announcer.handle_carrier(Instant::ZERO, address(number).into(), Some(MacAddr([2, 0, 0, 0, 1, (number % 3) as u8])));
    }
    // A stride that is prime to the table's size visits every address and no two neighbors in a row.
    let requests: Vec<Vec<u8>> = (0..ADDRESSES).map(|number| who_has(address(number * 7919 % ADDRESSES))).collect();
    let mut next = requests.iter().cycle();
    let mut reply = Vec::with_capacity(64);
    c.bench_function("answer one who-has among 10,000 addresses", |b| {
        b.iter(|| {
            let message = Message::parse(black_box(next.next().expect("a cycle has no end"))).expect("a request");
            announcer.handle_message(&message, &mut reply).expect("one of ours");
            black_box(&reply);
        });
    });
}

/// One address of a pool with 10,000 in use: given back, and handed out again.
fn allocate(c: &mut Criterion) {
    let mut ledger = Ledger::new(AddressPool::parse("10.0.0.0/8", false).expect("a pool"));
    for number in 0..ADDRESSES {
        ledger.take(IpAddr::V4(address(number)));
    }
    let mut number = 0;
    c.bench_function("release and allocate one address among 10,000 in use", |b| {
        b.iter(|| {
            number = (number + 7919) % ADDRESSES;
            ledger.release(IpAddr::V4(address(number)));
            let lowest = ledger.lowest_free().expect("one was just given back");
            ledger.take(black_box(lowest));
        });
    });
}

criterion_group!(benches, answer, allocate);
criterion_main!(benches);
