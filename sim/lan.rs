//! The fabric as all parts of a world share it, with the waiting that it does not know.
//!
//! The fabric is synchronous; programs wait for frames and for changed interfaces. The driver calls [`Lan::tell`] whenever something may
//! have happened, and whoever waits is woken.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bellhop::env::{Link, Links, LocalFuture};
use bellhop_core::link::{FRAME_LENGTH_MAX, Interface, LinkError, LinkLayer};
use bellhop_core::mac::MacAddr;
use bellhop_core::name::InterfaceName;
use bellhop_fabric::{Fabric, Frame, MachineId, PortId};

use crate::invariants::Spoken;
use crate::trace::Tape;

/// A fabric, and who waits for what of it.
pub(crate) struct Lan {
    /// Never borrowed across an `await`.
    pub(crate) fabric: RefCell<Fabric>,
    waiting: RefCell<Waiting>,
    /// What Bellhop said by ARP.
    spoken: RefCell<Vec<Spoken>>,
    /// Told which frames are Bellhop's.
    tape: Tape,
}

#[derive(Default)]
struct Waiting {
    /// Open ports: whether there may be something to read, and who waits.
    ports: BTreeMap<PortId, (bool, Option<Waker>)>,
    /// How often a machine's interfaces changed, and who waits.
    machines: BTreeMap<MachineId, (u64, Vec<Waker>)>,
}

impl Lan {
    /// Around a fabric; the tape is told which frames are Bellhop's.
    pub(crate) fn new(fabric: Fabric, tape: Tape) -> Rc<Self> {
        Rc::new(Self { fabric: RefCell::new(fabric), waiting: RefCell::default(), spoken: RefCell::default(), tape })
    }

    /// All that Bellhop said so far, taken out.
    pub(crate) fn take_spoken(&self) -> Vec<Spoken> {
        self.spoken.take()
    }

    /// Wakes whoever waits for what happened since the last call.
    pub(crate) fn tell(&self) {
        let (ports, machines) = {
            let mut fabric = self.fabric.borrow_mut();
            (fabric.take_ready_ports(), fabric.take_changed())
        };
        if ports.is_empty() && machines.is_empty() {
            return;
        }
        let mut waiting = self.waiting.borrow_mut();
        let mut wakers = Vec::new();
        for port in ports {
            if let Some((ready, waker)) = waiting.ports.get_mut(&port) {
                *ready = true;
                wakers.extend(waker.take());
            }
        }
        for machine in machines {
            let (changes, waiters) = waiting.machines.entry(machine).or_default();
            *changes += 1;
            wakers.append(waiters);
        }
        drop(waiting);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// The interfaces of one machine, for the programs on it.
pub(crate) struct MachineLinks {
    lan: Rc<Lan>,
    machine: MachineId,
    /// The number of changes at the last look.
    seen: Cell<u64>,
}

impl MachineLinks {
    /// Of a machine.
    pub(crate) fn new(lan: Rc<Lan>, machine: MachineId) -> Self {
        Self { lan, machine, seen: Cell::new(0) }
    }

    /// How often the interfaces changed.
    fn changes(&self) -> u64 {
        self.lan.waiting.borrow().machines.get(&self.machine).map_or(0, |(changes, _)| *changes)
    }
}

impl Links for MachineLinks {
    fn interfaces(&self) -> Vec<Interface> {
        self.seen.set(self.changes());
        self.lan.fabric.borrow().interfaces(self.machine)
    }

    fn route_to(&self, destination: IpAddr) -> Option<InterfaceName> {
        self.lan.fabric.borrow().route_to(self.machine, destination)
    }

    fn changed(&self) -> LocalFuture<'_> {
        Box::pin(poll_fn(|context| {
            if self.changes() != self.seen.get() {
                return Poll::Ready(());
            }
            let mut waiting = self.lan.waiting.borrow_mut();
            let (_, waiters) = waiting.machines.entry(self.machine).or_default();
            waiters.retain(|waiter| !waiter.will_wake(context.waker()));
            waiters.push(context.waker().clone());
            Poll::Pending
        }))
    }

    fn open(&self, interface: &InterfaceName) -> Result<Box<dyn Link>, LinkError> {
        let mut fabric = self.lan.fabric.borrow_mut();
        let nic = fabric.nic(self.machine, interface.as_str()).ok_or_else(|| LinkError::Gone(interface.clone()))?;
        let port = fabric.open_port(nic);
        self.lan.waiting.borrow_mut().ports.insert(port, (true, None));
        let replica = fabric.machine_name(self.machine).to_owned();
        Ok(Box::new(PortLink { lan: Rc::clone(&self.lan), port, replica }))
    }
}

/// What a frame says of where an address is, and whether it says so to all: of ARP its sender, of an advertisement its target, of a solicitation its
/// source. Probes say nothing.
fn said(frame: &Frame) -> Option<(IpAddr, MacAddr, bool)> {
    if let Some(arp) = frame.arp() {
        return (!arp.sender_ip.is_unspecified()).then_some((arp.sender_ip.into(), arp.sender_mac, arp.sender_ip == arp.target_ip));
    }
    let ndp = frame.ndp().filter(|ndp| !ndp.source.is_unspecified())?;
    let address = if ndp.advertises { ndp.target } else { ndp.source };
    Some((address.into(), ndp.mac.unwrap_or_else(|| frame.source()), ndp.advertises && !ndp.solicited))
}

/// A virtual port, as Bellhop has it.
struct PortLink {
    lan: Rc<Lan>,
    port: PortId,
    /// The machine.
    replica: String,
}

impl LinkLayer for PortLink {
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, LinkError> {
        loop {
            let received = self.lan.fabric.borrow_mut().port_receive(self.port);
            match received {
                Ok(Some(frame)) if frame.len() > buffer.len().min(FRAME_LENGTH_MAX) => {}
                Ok(Some(frame)) => {
                    buffer[..frame.len()].copy_from_slice(&frame);
                    return Ok(Some(frame.len()));
                }
                // Nothing more until the driver says so; an error is told once.
                nothing => {
                    if let Some((ready, _)) = self.lan.waiting.borrow_mut().ports.get_mut(&self.port) {
                        *ready = false;
                    }
                    return nothing.map(|_| None);
                }
            }
        }
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), LinkError> {
        let mut fabric = self.lan.fabric.borrow_mut();
        self.lan.tape.as_bellhop(|| fabric.port_send(self.port, frame))?;
        if let Some((address, mac, gratuitous)) = said(&Frame::from(frame)) {
            self.lan.spoken.borrow_mut().push(Spoken { at: fabric.now(), replica: self.replica.clone(), address, mac, gratuitous });
        }
        Ok(())
    }

    fn join(&mut self, group: Ipv6Addr) -> Result<(), LinkError> {
        self.lan.fabric.borrow_mut().port_join(self.port, group);
        Ok(())
    }

    fn leave(&mut self, group: Ipv6Addr) {
        self.lan.fabric.borrow_mut().port_leave(self.port, group);
    }
}

impl Link for PortLink {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.lan.waiting.borrow_mut().ports.get_mut(&self.port) {
            Some((true, _)) => Poll::Ready(()),
            Some((false, waker)) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }

    fn ignored(&self) -> Vec<(&'static str, u64)> {
        vec![("queue_full", self.lan.fabric.borrow().port_lost(self.port))]
    }
}

impl Drop for PortLink {
    fn drop(&mut self) {
        self.lan.waiting.borrow_mut().ports.remove(&self.port);
        self.lan.fabric.borrow_mut().close_port(self.port);
    }
}

#[cfg(test)]
mod tests {
    use bellhop_core::ndp::{ALL_NODES, Kind, NdpMessage, group_mac};

    use super::*;

    const NIC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const CARRIER: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);

    fn frame(kind: Kind, source_ip: &str, link_address: MacAddr) -> Frame {
        let mut bytes = Vec::new();
        let message = NdpMessage {
            destination: group_mac(ALL_NODES),
            source: NIC,
            source_ip: source_ip.parse().expect("a literal"),
            destination_ip: if kind == SOLICITED { "2001:db8::5".parse().expect("a literal") } else { ALL_NODES },
            kind,
            target: "2001:db8::91".parse().expect("a literal"),
            link_address: Some(link_address),
        };
        message.emit(&mut bytes);
        Frame::from(bytes.as_slice())
    }

    const SOLICITED: Kind = Kind::Advertisement { solicited: true, overrides: true };
    const UNASKED: Kind = Kind::Advertisement { solicited: false, overrides: true };

    #[test]
    fn an_advertisement_says_where_its_target_is_and_a_solicitation_where_its_source_is() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("a literal");
        assert_eq!(said(&frame(SOLICITED, "fe80::2", CARRIER)), Some((ip("2001:db8::91"), CARRIER, false)));
        assert_eq!(said(&frame(UNASKED, "fe80::2", CARRIER)), Some((ip("2001:db8::91"), CARRIER, true)));
        assert_eq!(said(&frame(Kind::Solicitation, "fe80::2", NIC)), Some((ip("fe80::2"), NIC, false)));
    }
}
