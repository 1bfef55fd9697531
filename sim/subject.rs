//! The subject of the fidelity suite in the simulator: one machine, a switch port that holds its carrier, and nothing else.
//!
//! What the host sends is taken off its NIC; what the experimenter sends is heard there. Time is virtual.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use bellhop_core::link::InterfaceAddress;
use bellhop_core::time::Instant;
use bellhop_fabric::{Event, Fabric, Latency, MachineConfig, MachineId, NeighborSettings, NicId, Sysctl};
use bellhop_fidelity::{Arm, ArmError, Captured, Entry, HOST, HOST_IP, HOST_IP6, LOCAL_IP, PREFIX, PREFIX6, Settings};

/// A simulated Linux host at one end of a cable.
pub struct SimulatedHost {
    fabric: Fabric,
    machine: MachineId,
    nic: NicId,
    sent: Rc<RefCell<VecDeque<Captured>>>,
}

impl SimulatedHost {
    /// One with these settings, whose every draw comes from `seed`.
    pub fn new(settings: &Settings, seed: u64) -> Self {
        let mut config = MachineConfig::new("host").nic("eth0", HOST, HOST_IP, PREFIX);
        let six = InterfaceAddress { address: HOST_IP6.into(), prefix_length: PREFIX6 };
        config.nics.iter_mut().for_each(|nic| nic.addresses.push(six));
        config.neighbors = neighbors(settings, NeighborSettings::default());
        config.neighbors6 = neighbors(settings, NeighborSettings::ipv6());
        if let Some(lock) = settings.lock {
            config.neighbors.lock = lock;
        }
        config.sysctl = Sysctl { arp_ignore: settings.arp_ignore, arp_announce: settings.arp_announce };
        config.local = vec![LOCAL_IP.into()];
        let mut fabric = Fabric::new(seed);
        let switch = fabric.add_switch();
        let machine = fabric.add_machine(config);
        // Ids of NICs are consecutive, and this machine has the only one.
        let nic = fabric.nic(machine, "eth0").expect("it was given an eth0");
        fabric.connect(nic, switch, Latency::default());
        let sent = Rc::new(RefCell::new(VecDeque::new()));
        let kept = Rc::clone(&sent);
        fabric.set_sink(Box::new(move |at, event| {
            if let Event::Sent { frame, .. } = event {
                kept.borrow_mut().push_back(Captured { at: at.saturating_since(Instant::ZERO), frame: frame.to_vec() });
            }
        }));
        Self { fabric, machine, nic, sent }
    }
}

/// The kernel's settings with these.
fn neighbors(settings: &Settings, kernel: NeighborSettings) -> NeighborSettings {
    NeighborSettings {
        base_reachable: settings.base_reachable,
        delay_first_probe: settings.delay_first_probe,
        broadcast_reprobes: settings.reprobes,
        accept_gratuitous: settings.arp_accept,
        drop_gratuitous: settings.drop_gratuitous,
        ..kernel
    }
}

impl Arm for SimulatedHost {
    fn now(&mut self) -> Duration {
        self.fabric.now().saturating_since(Instant::ZERO)
    }

    fn next_frame(&mut self, until: Duration) -> Result<Option<Captured>, ArmError> {
        let until = Instant::ZERO + until;
        loop {
            if let Some(captured) = self.sent.borrow_mut().pop_front() {
                return Ok(Some(captured));
            }
            if self.fabric.next_event().is_none_or(|at| at > until) {
                self.fabric.run_until(until);
                return Ok(None);
            }
            self.fabric.step();
        }
    }

    fn put(&mut self, frame: &[u8]) -> Result<(), ArmError> {
        self.fabric.inject(self.nic, frame);
        Ok(())
    }

    fn send_packet(&mut self, source: Option<IpAddr>, to: IpAddr, confirm: bool) -> Result<(), ArmError> {
        self.fabric.send_datagram(self.machine, source, to, confirm);
        Ok(())
    }

    fn entry(&mut self, address: IpAddr) -> Result<Option<Entry>, ArmError> {
        let found = self.fabric.neighbors(self.machine).into_iter().find(|neighbor| neighbor.address == address);
        Ok(found.map(|neighbor| Entry { state: neighbor.state.to_string(), mac: neighbor.mac }))
    }
}
