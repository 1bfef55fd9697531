//! How frames move: out of NICs, through cables and switches, into machines.
//!
//! A frame that a switch floods reaches all NICs whose cables are alike and sound at one moment and in one event: a switch copies a frame
//! out of all its ports at once, and the cables are of one make. What goes to other switches, or through a cable with a fault, goes by itself.

use std::time::Duration;

use bellhop_core::time::Instant;

use super::{Fabric, NicId, Pending, SwitchId};
use crate::frame::{FRAME_LENGTH_MAX, Frame};
use crate::host::Effects;
use crate::switch::Way;
use crate::trace::{DropReason, Event, Place};
use crate::wire::{End, Latency, Passage};

/// Lists of receivers that are kept for the next flood, to save allocations.
const SPARE_LISTS: usize = 64;

impl Fabric {
    /// A frame comes out of a cable. `broken`: its check sequence does not fit.
    pub(super) fn arrive(&mut self, cable: usize, side: usize, broken: bool, frame: Frame) {
        let wire = &self.cables[cable];
        let end = wire.ends[side];
        if !wire.carrier {
            self.drop_frame(end, DropReason::NoCarrier, &frame);
        } else if broken {
            self.drop_frame(end, DropReason::Corrupt, &frame);
        } else {
            match end {
                End::Port { switch, port } => self.switch_frame(switch, port, frame),
                End::Nic(nic) => self.deliver(nic, &frame),
            }
        }
    }

    /// The copies of a flooded frame come out of all these cables, each at its NIC.
    pub(super) fn arrive_flood(&mut self, mut cables: Vec<u32>, frame: &Frame) {
        for cable in cables.drain(..) {
            let wire = &self.cables[cable as usize];
            let End::Nic(nic) = wire.ends[NIC_SIDE] else { continue };
            if wire.carrier {
                self.deliver(nic, frame);
            } else {
                self.drop_frame(End::Nic(nic), DropReason::NoCarrier, frame);
            }
        }
        self.keep_list(cables);
    }

    /// Keeps an empty list for the next flood.
    fn keep_list(&mut self, list: Vec<u32>) {
        if self.spare_lists.len() < SPARE_LISTS {
            self.spare_lists.push(list);
        }
    }

    /// A machine takes in a frame that reached its NIC.
    pub(super) fn deliver(&mut self, nic: usize, frame: &Frame) {
        let (machine, index) = (self.nics[nic].machine, self.nics[nic].index);
        let host = &mut self.machines[machine];
        if !host.is_nic_up(index) {
            return;
        }
        if self.frozen[machine].is_some() {
            self.wait_in_ring(machine, nic, frame);
            return;
        }
        let mac = host.nics[index].config.mac;
        self.ports.hear(NicId(nic), mac, frame);
        let mut effects = std::mem::take(&mut self.effects);
        host.handle_frame(self.now, index, frame, &mut effects);
        self.trace.record(self.now, &Event::Received { nic: NicId(nic), frame: frame.clone() });
        self.carry_out(machine, effects);
    }

    /// A NIC sends a frame, if it can.
    pub(super) fn send_from(&mut self, nic: NicId, frame: Frame) {
        let place = &self.nics[nic.0];
        let up = self.machines[place.machine].is_nic_up(place.index);
        let Some((cable, side)) = place.cable.filter(|_| up && frame.len() <= FRAME_LENGTH_MAX) else { return };
        if self.frozen[place.machine].is_some() {
            self.drop_frame(End::Nic(nic.0), DropReason::Frozen, &frame);
            return;
        }
        self.trace.record(self.now, &Event::Sent { nic, frame: frame.clone() });
        self.send_into(cable, side, frame, None);
    }

    /// Does what a machine wants, and keeps the lists for the next time.
    pub(super) fn carry_out(&mut self, machine: usize, mut effects: Effects) {
        for happened in effects.happened.drain(..) {
            self.note(machine, happened);
        }
        for (index, frame) in effects.transmit.drain(..) {
            if let Some(nic) = self.nic_id(machine, index) {
                self.send_from(nic, frame);
            }
        }
        let boots = self.machines[machine].boots;
        for (at, timer) in effects.timers.drain(..) {
            let machine = u32::try_from(machine).unwrap_or(u32::MAX);
            self.queue.push(at, Pending::Timer { machine, boots, timer });
        }
        self.effects = effects;
    }

    /// A switch takes in a frame and sends it on, or not.
    fn switch_frame(&mut self, switch: usize, port: usize, frame: Frame) {
        match self.switches[switch].handle_frame(self.now, port, &frame) {
            Way::Refused(reason) => {
                self.drop_frame(End::Port { switch, port }, reason, &frame);
                return;
            }
            Way::Nowhere => {}
            Way::Port(to) => {
                let to = &self.switches[switch].ports[to];
                let (cable, side, open) = (to.cable, to.side, !to.blocked && self.cables[to.cable].carrier);
                if open {
                    self.send_into(cable, side, frame.clone(), None);
                }
            }
            Way::Flood => self.flood(switch, port, &frame),
        }
        self.trace.record(self.now, &Event::Switched { switch: SwitchId(switch), port, frame });
    }

    /// Sends a frame out of every open port but the one it came in by.
    fn flood(&mut self, switch: usize, from: usize, frame: &Frame) {
        let draw = self.switches[switch].draw_flood();
        let ports = std::mem::take(&mut self.switches[switch].ports);
        let mut together = self.spare_lists.pop().unwrap_or_default();
        let mut common: Option<(Latency, Instant)> = None;
        for (_, port) in ports.iter().enumerate().filter(|(index, port)| *index != from && !port.blocked) {
            let wire = &mut self.cables[port.cable];
            if !wire.carrier {
                continue;
            }
            let latency = wire.latency;
            if port.uplink {
                self.send_into(port.cable, port.side, frame.clone(), None);
                continue;
            }
            let (shared, at) = *common.get_or_insert_with(|| {
                let alone = self.now + Duration::from_nanos(latency.nanos(draw));
                (latency, self.switches[switch].flood_in_order(alone))
            });
            if shared == latency && wire.lanes[NIC_SIDE].joins_flood(at) {
                together.push(u32::try_from(port.cable).unwrap_or(u32::MAX));
            } else {
                self.send_into(port.cable, port.side, frame.clone(), Some(draw));
            }
        }
        self.switches[switch].ports = ports;
        match common {
            Some((_, at)) if !together.is_empty() => self.queue.push(at, Pending::Flood { cables: together, frame: frame.clone() }),
            _ => self.keep_list(together),
        }
    }

    /// Puts a frame into a live cable at one side; it comes out at the other, or not. `flood`: the draw that it shares with the copies of a flood.
    fn send_into(&mut self, cable: usize, side: usize, frame: Frame, flood: Option<u64>) {
        let far = 1 - side;
        let wire = &mut self.cables[cable];
        if !wire.carrier {
            return;
        }
        match wire.lanes[far].pass(self.now, &wire.latency, frame.len(), flood) {
            Passage::Dropped(reason) => {
                let end = wire.ends[side];
                self.drop_frame(end, reason, &frame);
            }
            Passage::Arrives { at, twice, flipped } => {
                let (frame, broken) = match flipped {
                    Some((bit, noticed)) => (frame.with_flipped_bit(bit), noticed),
                    None => (frame, false),
                };
                let (cable, side) = (u32::try_from(cable).unwrap_or(u32::MAX), u8::from(far == 1));
                if twice {
                    self.queue.push(at, Pending::Arrival { cable, side, broken, frame: frame.clone() });
                }
                self.queue.push(at, Pending::Arrival { cable, side, broken, frame });
            }
        }
    }

    /// Writes down that a frame ended.
    pub(super) fn drop_frame(&mut self, at: End, reason: DropReason, frame: &Frame) {
        let place = match at {
            End::Nic(nic) => Place::Nic(NicId(nic)),
            End::Port { switch, port } => Place::Port { switch: SwitchId(switch), port },
        };
        self.trace.record(self.now, &Event::Dropped { place, reason, frame: frame.clone() });
    }
}

/// The side of a cable that is in a NIC, where one is: [`Fabric::connect`] lays them so.
pub(super) const NIC_SIDE: usize = 0;
