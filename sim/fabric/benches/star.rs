//! The LAN that is measured: a star of 48-port switches, as many as the hosts need.

#![allow(dead_code, reason = "not every benchmark uses all of it")]

use std::net::Ipv4Addr;
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use bellhop_fabric::{Fabric, Latency, MachineConfig, MachineId, PingOptions};

/// Ports of a switch that take hosts; one more leads to the middle.
const HOSTS_PER_SWITCH: u16 = 47;

/// The address of a host.
fn address(host: u16) -> Ipv4Addr {
    let [high, low] = (host + 1).to_be_bytes();
    Ipv4Addr::new(198, 51, high, low)
}

/// A star with this many hosts that say nothing.
pub(crate) fn silent(hosts: u16) -> (Fabric, Vec<MachineId>) {
    let latency = Latency::between(Duration::from_micros(5), Duration::from_micros(7));
    let mut fabric = Fabric::new(42);
    let middle = fabric.add_switch();
    let mut edge = middle;
    let mut machines = Vec::new();
    for host in 0..hosts {
        if host % HOSTS_PER_SWITCH == 0 {
            edge = fabric.add_switch();
            fabric.connect_switches(edge, middle, latency);
        }
        let [high, low] = host.to_be_bytes();
        let mac = MacAddr([2, 0, 0, 0, high, low]);
        let machine = fabric.add_machine(MachineConfig::new(&format!("host{host}")).nic("eth0", mac, address(host), 16));
        if let Some(nic) = fabric.nic(machine, "eth0") {
            fabric.connect(nic, edge, latency);
        }
        machines.push(machine);
    }
    (fabric, machines)
}

/// A star in which each host pings another every ten milliseconds.
pub(crate) fn star(hosts: u16) -> Fabric {
    let (mut fabric, machines) = silent(hosts);
    for (host, machine) in (0..hosts).zip(machines) {
        let to = address((host + 37) % hosts);
        fabric.ping(machine, PingOptions { interval: Duration::from_millis(10), ..PingOptions::to(to) });
    }
    fabric
}

/// A star in which one host broadcasts at this rate.
pub(crate) fn flooded(hosts: u16, rate: u32) -> Fabric {
    let (mut fabric, machines) = silent(hosts);
    if let Some(machine) = machines.first() {
        fabric.storm(*machine, rate);
    }
    fabric
}
