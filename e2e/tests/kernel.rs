//! Machines, relays and processes against the real kernel. Needs root; without it a test says so and checks nothing.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bellhop_e2e::lan::Lan;
use bellhop_e2e::namespace::Namespace;
use bellhop_e2e::relay::Relay;

/// Whether we may; says so loudly when not.
fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        // Not by eprintln: that is captured, and nobody would see it.
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        writeln!(std::io::stderr(), "SKIPPED: needs root: {name}").expect("a terminal");
    }
    root
}

fn tutorial() -> Lan {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/tutorial/tutorial-cluster.yaml");
    Lan::new(&bellhop_scenario::load(&file).expect("a good scenario").topology).expect("a LAN")
}

fn pings(lan: &Lan, from: &str, to: &str) -> bool {
    let status = lan.machine(from).expect("power").inside(|| Command::new("ping").args(["-c", "1", "-W", "1", to]).output());
    status.expect("a namespace").expect("ping").status.success()
}

/// The same, soon: a bridge hears of a new cable within a second (the kernel's linkwatch).
fn soon_pings(lan: &Lan, from: &str, to: &str) -> bool {
    (0..5).any(|_| pings(lan, from, to))
}

#[test]
fn the_tutorials_machines_reach_each_other_and_have_its_macs() {
    if !root() {
        return;
    }
    let lan = tutorial();
    assert!(soon_pings(&lan, "i-f3fozos0", "192.168.0.2"));
    assert_eq!(lan.macs("master1").expect("MACs")["eth0"], "52:54:22:a3:9a:d9");
    let neighbors = lan.machine("i-f3fozos0").and_then(|client| client.ip("neigh")).expect("ip neigh");
    assert!(neighbors.contains("192.168.0.2 dev eth0 lladdr 52:54:22:a3:9a:d9"), "{neighbors}");
}

#[test]
fn a_machine_without_power_is_silent_until_it_has_power_again() {
    if !root() {
        return;
    }
    let mut lan = tutorial();
    lan.power_off("worker-p001").expect("power off");
    assert!(!pings(&lan, "i-f3fozos0", "192.168.0.3"));
    lan.power_on("worker-p001").expect("power on");
    assert!(soon_pings(&lan, "i-f3fozos0", "192.168.0.3"));
}

#[test]
fn a_relay_leads_out_of_a_namespace_until_it_is_closed() {
    if !root() {
        return;
    }
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let machine = Namespace::new().expect("a namespace");
    machine.ip("link set lo up").expect("lo");
    let relay = Relay::open(&machine, 0, server.local_addr().expect("an address").port()).expect("a relay");
    let port = relay.port();
    let dial = || machine.inside(|| std::net::TcpStream::connect(("127.0.0.1", port))).expect("a namespace");
    let mut near = dial().expect("a connection");
    near.write_all(b"hello").expect("sent");
    let mut heard = [0; 5];
    server.accept().expect("the relay's connection").0.read_exact(&mut heard).expect("said");
    assert_eq!(&heard, b"hello");
    drop(relay);
    assert!(dial().is_err(), "a closed relay refuses");
}

#[test]
fn a_program_ends_with_the_thread_that_started_it() {
    if !root() {
        return;
    }
    let child = std::thread::spawn(|| {
        let child = bellhop_e2e::process::mortal("sleep").arg("60").spawn().expect("sleep");
        // setpriv must have come so far that the kernel knows.
        std::thread::sleep(Duration::from_millis(500));
        child
    });
    let mut child = child.join().expect("a thread");
    let until = Instant::now() + Duration::from_secs(5);
    while child.try_wait().expect("a child").is_none() {
        assert!(Instant::now() < until, "it still runs");
        std::thread::sleep(Duration::from_millis(10));
    }
}
