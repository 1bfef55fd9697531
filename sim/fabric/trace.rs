//! What happened, as typed events, and the one number that stands for all of them.
//!
//! Every event is hashed in its binary form, in the order of time; two runs that did the same have the same hash. Keeping or printing
//! events is the business of the sink, if there is one. The form is private to one version of this crate: hashes compare within it.

use std::net::IpAddr;

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use xxhash_rust::xxh3::Xxh3;

use crate::curl::{CurlError, CurlReport};
use crate::fabric::{CurlId, MachineId, NicId, PingId, SwitchId};
use crate::frame::Frame;
use crate::neighbor::NeighborState;
use crate::ping::{Echo, EchoOutcome};

mod dropped;
pub use dropped::{DropReason, Place};

/// Something that happened in the fabric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A NIC sent a frame. Its kernel or a port did.
    Sent {
        /// The NIC.
        nic: NicId,
        /// The frame.
        frame: Frame,
    },
    /// A frame reached a NIC, for it or not.
    Received {
        /// The NIC.
        nic: NicId,
        /// The frame.
        frame: Frame,
    },
    /// A frame reached a switch.
    Switched {
        /// The switch.
        switch: SwitchId,
        /// The port it came in by.
        port: usize,
        /// The frame.
        frame: Frame,
    },
    /// A frame ended where it should not have.
    Dropped {
        /// Where.
        place: Place,
        /// Why.
        reason: DropReason,
        /// The frame; a broken one as it arrived.
        frame: Frame,
    },
    /// A neighbor entry changed.
    Neighbor {
        /// The NIC whose table it is in.
        nic: NicId,
        /// The neighbor.
        address: IpAddr,
        /// Its new state.
        state: NeighborState,
        /// Its MAC, if one is known.
        mac: Option<MacAddr>,
    },
    /// It is known what became of an echo request.
    Echo {
        /// The ping.
        ping: PingId,
        /// The machine it runs on.
        machine: MachineId,
        /// Whom it pings.
        to: IpAddr,
        /// What became of it.
        echo: Echo,
    },
    /// A curl ended.
    Curl {
        /// The curl.
        curl: CurlId,
        /// The machine it ran on.
        machine: MachineId,
        /// How it ended.
        report: CurlReport,
    },
    /// A pod answered a request.
    Served {
        /// The node.
        machine: MachineId,
        /// The pod.
        pod: String,
        /// The client address that it saw.
        client: IpAddr,
    },
    /// A NIC went up or down.
    Link {
        /// The NIC.
        nic: NicId,
        /// Whether frames pass now.
        up: bool,
    },
    /// A machine was switched on or off.
    Power {
        /// The machine.
        machine: MachineId,
        /// Whether it is on.
        on: bool,
    },
    /// A machine froze or thawed.
    Frozen {
        /// The machine.
        machine: MachineId,
        /// Whether it stands still.
        frozen: bool,
    },
    /// A NIC got another MAC.
    Mac {
        /// The NIC.
        nic: NicId,
        /// Its new MAC.
        mac: MacAddr,
    },
    /// A machine took an address onto a NIC, or gave it up.
    Claim {
        /// The NIC.
        nic: NicId,
        /// The address.
        address: IpAddr,
        /// Whether it has it now.
        held: bool,
    },
    /// The spanning tree opened or blocked a port to another switch.
    Tree {
        /// The switch.
        switch: SwitchId,
        /// The port.
        port: usize,
        /// Whether frames pass now.
        forwarding: bool,
    },
}

/// Takes every event as it happens.
pub type Sink = Box<dyn FnMut(Instant, &Event)>;

/// The running hash and the sink.
#[derive(Default)]
pub(crate) struct Trace {
    /// Over all events but those that are still in `pending`.
    hash: Xxh3,
    /// How many there were.
    count: u64,
    /// Binary forms that are not hashed yet: a hash of much at once is cheaper than many of little.
    pending: Vec<u8>,
    /// Who else wants them.
    pub(crate) sink: Option<Sink>,
}

/// Bytes that are hashed at once: some hundred events, and little beside a core's first cache.
const HASHED_AT_ONCE: usize = 8192;

impl Trace {
    /// Takes in one event.
    pub(crate) fn record(&mut self, now: Instant, event: &Event) {
        self.count += 1;
        self.pending.extend_from_slice(&now.as_nanos().to_le_bytes());
        encode(event, &mut self.pending);
        if self.pending.len() >= HASHED_AT_ONCE {
            self.hash.update(&self.pending);
            self.pending.clear();
        }
        if let Some(sink) = &mut self.sink {
            sink(now, event);
        }
    }

    /// The hash of all events so far.
    pub(crate) fn hash(&self) -> u64 {
        let mut hash = self.hash.clone();
        hash.update(&self.pending);
        hash.digest()
    }

    /// How many events there were.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

/// Appends the binary form: a tag, then every field, numbers in little endian, texts behind their length.
fn encode(event: &Event, out: &mut Vec<u8>) {
    match event {
        Event::Sent { nic, frame } => frame_event(1, nic.0, 0, frame, out),
        Event::Received { nic, frame } => frame_event(2, nic.0, 0, frame, out),
        Event::Switched { switch, port, frame } => frame_event(3, switch.0, *port, frame, out),
        Event::Neighbor { nic, address, state, mac } => {
            out.push(4);
            number(nic.0, out);
            ip(*address, out);
            out.push(*state as u8);
            out.extend_from_slice(&mac.unwrap_or(MacAddr::ZERO).0);
        }
        Event::Echo { ping, machine, to, echo } => {
            out.push(5);
            out.extend_from_slice(&ping.0.to_le_bytes());
            number(machine.0, out);
            ip(*to, out);
            encode_echo(echo, out);
        }
        Event::Curl { curl, machine, report } => {
            out.push(6);
            out.extend_from_slice(&curl.0.to_le_bytes());
            number(machine.0, out);
            out.extend_from_slice(&report.started.as_nanos().to_le_bytes());
            match &report.result {
                Ok(answer) => {
                    out.extend_from_slice(&answer.status.to_le_bytes());
                    text(&answer.body, out);
                }
                Err(error) => out.extend_from_slice(&[0, 0, curl_error(*error)]),
            }
        }
        Event::Served { machine, pod, client } => {
            out.push(7);
            number(machine.0, out);
            text(pod, out);
            ip(*client, out);
        }
        Event::Link { nic, up } => {
            out.push(8);
            number(nic.0, out);
            out.push(u8::from(*up));
        }
        Event::Power { machine, on } => {
            out.push(9);
            number(machine.0, out);
            out.push(u8::from(*on));
        }
        Event::Dropped { place: Place::Nic(nic), reason, frame } => {
            out.push(10);
            frame_event(*reason as u8, nic.0, 0, frame, out);
        }
        Event::Dropped { place: Place::Port { switch, port }, reason, frame } => {
            out.push(11);
            frame_event(*reason as u8, switch.0, *port, frame, out);
        }
        Event::Frozen { machine, frozen } => {
            out.push(12);
            number(machine.0, out);
            out.push(u8::from(*frozen));
        }
        Event::Mac { nic, mac } => {
            out.push(13);
            number(nic.0, out);
            out.extend_from_slice(&mac.0);
        }
        Event::Claim { nic, address, held } => {
            out.push(14);
            number(nic.0, out);
            ip(*address, out);
            out.push(u8::from(*held));
        }
        Event::Tree { switch, port, forwarding } => {
            out.push(15);
            number(switch.0, out);
            number(*port, out);
            out.push(u8::from(*forwarding));
        }
    }
}

/// The form of an event about a frame, which its length and hash stand for.
fn frame_event(tag: u8, place: usize, port: usize, frame: &Frame, out: &mut Vec<u8>) {
    let mut form = [0; 33];
    form[0] = tag;
    let numbers = [place as u64, port as u64, frame.len() as u64, frame.hash()];
    for (part, number) in form[1..].chunks_exact_mut(8).zip(numbers) {
        part.copy_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&form);
}

/// The form of an echo.
fn encode_echo(echo: &Echo, out: &mut Vec<u8>) {
    out.extend_from_slice(&echo.sequence.to_le_bytes());
    out.extend_from_slice(&echo.sent.as_nanos().to_le_bytes());
    match echo.outcome {
        EchoOutcome::Answered { round_trip, ttl } => {
            out.extend_from_slice(&[1, ttl]);
            out.extend_from_slice(&u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX).to_le_bytes());
        }
        EchoOutcome::Unreachable { from, code } => {
            out.extend_from_slice(&[2, code]);
            ip(from, out);
        }
        EchoOutcome::Lost => out.push(3),
    }
}

/// A number for an error.
fn curl_error(error: CurlError) -> u8 {
    match error {
        CurlError::Refused => 1,
        CurlError::NoRoute => 2,
        CurlError::ConnectTimeout => 3,
        CurlError::Timeout => 4,
        CurlError::Reset => 5,
        CurlError::Empty => 6,
    }
}

/// An address: as long as its family's are.
fn ip(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(v4) => out.extend_from_slice(&v4.octets()),
        IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()),
    }
}

/// An index, as 64 bits everywhere.
fn number(number: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(number as u64).to_le_bytes());
}

/// A text behind its length.
fn text(text: &str, out: &mut Vec<u8>) {
    number(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}
