//! Bytes that a simulated host takes, all that belongs to it in: its cable, its share of the switches, its neighbors, its part of the queue.
//!
//! `cargo bench -p bellhop-fabric --bench memory`. Counted by the allocator, so the same on every machine of one word size; the target
//! is 16 KiB a host, and the command fails above it.

use std::process::ExitCode;

use bellhop_core::time::Instant;
use peak_alloc::PeakAlloc;

mod star;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// What a host may take.
const BYTES_MAX: usize = 16 * 1024;

fn main() -> ExitCode {
    // `cargo test` runs benchmarks too, to see that they start.
    let hosts: &[u16] = if std::env::args().any(|argument| argument == "--bench") { &[10, 100, 1000] } else { &[10] };
    let mut within = true;
    for hosts in hosts {
        let before = ALLOCATED.current_usage();
        let (fabric, _) = star::silent(*hosts);
        let silent = per_host(before, *hosts);
        drop(fabric);
        let before = ALLOCATED.current_usage();
        let mut fabric = star::star(*hosts);
        fabric.run_until(Instant::from_millis(10_000));
        let pinging = per_host(before, *hosts);
        println!("{hosts:>5} hosts: {silent:>6} bytes a host, {pinging:>6} when each has pinged another for ten seconds");
        within &= pinging <= BYTES_MAX;
    }
    if within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What was allocated since, by host.
fn per_host(before: usize, hosts: u16) -> usize {
    (ALLOCATED.current_usage() - before) / usize::from(hosts)
}
