//! Machines that stand still, kernel and programs, as a paused virtual machine does, and go on later.

use std::collections::{BTreeMap, VecDeque};

use super::{Fabric, MachineId};
use crate::frame::Frame;
use crate::host::Timer;
use crate::trace::{DropReason, Event};
use crate::wire::End;

/// Frames that wait in a NIC's ring: the receive descriptors that igb and e1000 set up (IGB_DEFAULT_RXD, E1000_DEFAULT_RXD) and QEMU's virtio-net has
/// (VIRTIO_NET_RX_QUEUE_DEFAULT_SIZE).
const RING: usize = 256;

/// What waits for a machine that stands still.
#[derive(Debug, Default)]
pub(super) struct Frozen {
    /// How many frames each NIC has taken.
    rings: BTreeMap<usize, usize>,
    /// Those frames, the oldest first.
    frames: VecDeque<(usize, Frame)>,
    /// Timers that came due, in order.
    timers: Vec<Timer>,
}

impl Fabric {
    /// Lets a machine stand still. What reaches its NICs waits in their rings, timers are held; a NIC keeps its carrier and the switch hears nothing. A
    /// machine without power cannot.
    pub fn freeze(&mut self, machine: MachineId) {
        let frozen = &mut self.frozen[machine.0];
        if self.machines[machine.0].powered && frozen.is_none() {
            *frozen = Some(Box::default());
            self.trace.record(self.now, &Event::Frozen { machine, frozen: true });
        }
    }

    /// Lets it go on: the frames in its rings are taken in, in the order in which they came, and then its timers fire, in the order of their time.
    pub fn thaw(&mut self, machine: MachineId) {
        let Some(waited) = self.frozen[machine.0].take() else { return };
        self.trace.record(self.now, &Event::Frozen { machine, frozen: false });
        for (nic, frame) in waited.frames {
            self.deliver(nic, &frame);
        }
        for timer in waited.timers {
            self.fire(machine.0, timer);
        }
    }

    /// Whether a machine stands still.
    pub fn is_frozen(&self, machine: MachineId) -> bool {
        self.frozen[machine.0].is_some()
    }

    /// A machine's timer is due.
    pub(super) fn fire(&mut self, machine: usize, timer: Timer) {
        if let Some(frozen) = &mut self.frozen[machine] {
            frozen.timers.push(timer);
            return;
        }
        let mut effects = std::mem::take(&mut self.effects);
        self.machines[machine].handle_timer(self.now, timer, &mut effects);
        self.carry_out(machine, effects);
    }

    /// A frame reached a NIC whose machine stands still.
    pub(super) fn wait_in_ring(&mut self, machine: usize, nic: usize, frame: &Frame) {
        let Some(frozen) = &mut self.frozen[machine] else { return };
        let taken = frozen.rings.entry(nic).or_default();
        if *taken < RING {
            *taken += 1;
            frozen.frames.push_back((nic, frame.clone()));
        } else {
            self.drop_frame(End::Nic(nic), DropReason::RingFull, frame);
        }
    }
}
