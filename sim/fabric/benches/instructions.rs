//! What `.ci/instructions` counts: ten thousand events of the star, and twenty thousand of a storm. Run by itself it only does them.
//!
//! callgrind collects inside the functions called `counted_*` and nowhere else, so that building the LAN does not count.

use std::hint::black_box;

use bellhop_core::time::Instant;
use bellhop_fabric::Fabric;

mod star;

fn main() {
    let mut fabric = star::star(100);
    fabric.run_until(Instant::from_millis(500));
    counted_star(&mut fabric);
    let mut fabric = star::flooded(100, 10_000);
    fabric.run_until(Instant::from_millis(500));
    counted_storm(&mut fabric);
}

/// A hundred hosts that ping each other.
#[inline(never)]
fn counted_star(fabric: &mut Fabric) {
    black_box(go_on(fabric, 10_000));
}

/// A hundred hosts of which one storms.
#[inline(never)]
fn counted_storm(fabric: &mut Fabric) {
    // Another number than above: the compiler makes one function of two equal ones.
    black_box(go_on(fabric, 20_000));
}

/// Lets so many events happen.
fn go_on(fabric: &mut Fabric, events: u64) -> u64 {
    let end = fabric.event_count() + events;
    while fabric.event_count() < end && fabric.step() {}
    fabric.trace_hash()
}
