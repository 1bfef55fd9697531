//! What can go wrong, as values of one vocabulary: the same for a scenario that a person wrote and for one that a seed drew.
//!
//! A fault begins at a step and lasts for as long as the step says ([`crate::Action::Fault`]); what is over in a moment (a process that dies, a
//! MAC that changes) has no length. Worlds do them or say by name that they cannot; what a fault means to Bellhop is nobody's business here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bellhop_core::mac::MacAddr;

use crate::scenario::Latency;

mod words;

/// One fault. `M` is how a machine is named, as in [`crate::Action`].
#[derive(Clone, Debug, PartialEq)]
pub enum Fault<M = String> {
    /// The whole machine stands still, kernel and programs, as a paused virtual machine: frames that reach it wait in its NIC's ring, and when
    /// it thaws its timers are due at once.
    Freeze {
        /// Which machine.
        machine: M,
    },
    /// The machine's clock runs fast by so many millionths (slow, if negative): for its programs, not for its kernel.
    ClockRate {
        /// Which machine.
        machine: M,
        /// Millionths.
        ppm: i32,
    },
    /// The replica of Bellhop stands still (SIGSTOP, then SIGCONT) while its machine's kernel goes on.
    FreezeBellhop {
        /// Its machine.
        machine: M,
    },
    /// The replica of Bellhop dies between two writes: killed once the so-manieth write from now on has taken effect, before it hears the
    /// answer. The watchdog (kubelet) starts it again ten seconds later.
    DieAtWrite {
        /// Its machine.
        machine: M,
        /// 1 is the next write.
        write: u32,
    },
    /// A NIC gets another MAC, as a bond that fails over or a replaced card; another machine's MAC makes a duplicate.
    SetMac {
        /// Its machine.
        machine: M,
        /// The NIC.
        nic: String,
        /// Its new MAC.
        mac: MacAddr,
    },
    /// A link goes down and up again for as long as the fault lasts.
    Flap {
        /// The NIC's machine.
        machine: M,
        /// The NIC.
        nic: String,
        /// From one change to the next.
        every: Duration,
    },
    /// The cable of a NIC.
    Cable {
        /// The NIC's machine.
        machine: M,
        /// The NIC.
        nic: String,
        /// What it does to frames.
        wire: Wire,
    },
    /// A cable between two switches. One that is cut makes their tree converge anew, where there is another way.
    Uplink {
        /// The switches at its ends.
        between: [String; 2],
        /// What it does to frames; `Out` is from the first switch to the second.
        wire: Wire,
    },
    /// An intruder: the machine takes an address as its own and answers for it.
    ClaimAddress {
        /// The machine.
        machine: M,
        /// The address.
        address: IpAddr,
    },
    /// An ARP spoofer: gratuitous requests and replies that name the machine's own MAC for an address.
    SpoofArp {
        /// The machine.
        machine: M,
        /// The address.
        address: IpAddr,
        /// From one pair of frames to the next.
        every: Duration,
    },
    /// Broadcast frames (ARP requests for addresses that nobody has) as fast as said.
    Storm {
        /// The machine that sends them.
        machine: M,
        /// Frames a second.
        rate: u32,
    },
    /// The API server, as everybody or as one replica of Bellhop sees it.
    Api {
        /// The replica's machine; `None`: everybody.
        replica: Option<M>,
        /// What it does to requests.
        api: Api,
    },
    /// Pods of a Deployment stop being ready, as when a readiness probe fails, and are ready again when it is over.
    Unready {
        /// The Deployment in `default`.
        deployment: String,
        /// Only its pods on this machine.
        machine: Option<M>,
    },
}

/// What a cable does to frames. Everything absent is as it should be. Chances are of each frame by itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wire {
    /// In which direction.
    pub direction: Direction,
    /// Nothing passes. The NIC keeps its carrier (a cut beyond a media converter) unless both directions are cut.
    pub cut: bool,
    /// Frames that vanish.
    pub loss: Chance,
    /// How many frames in a row vanish once one does (Gilbert's model: the mean of a geometric distribution); 1 is independent loss.
    pub burst: u32,
    /// Frames that come twice.
    pub duplicate: Chance,
    /// Frames that are held back by one to ten of the cable's latencies, so that others overtake them.
    pub reorder: Chance,
    /// Frames of which one bit flips. The receiver's NIC drops them (the check sequence is wrong), but one in a thousand gets through.
    pub corrupt: Chance,
    /// What is added to the cable's own latency.
    pub delay: Option<Latency>,
    /// Bits a second, with a queue of 100 frames before it.
    pub rate: Option<u64>,
}

impl Wire {
    /// Whether it does anything to any frame.
    pub fn has_effect(&self) -> bool {
        let none = Chance::default();
        let chances = [self.loss, self.duplicate, self.reorder, self.corrupt];
        self.cut || self.delay.is_some() || self.rate.is_some() || chances.iter().any(|chance| *chance != none)
    }
}

/// Seen from the NIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    #[default]
    Both,
    /// Frames that come to the NIC.
    In,
    /// Frames that leave it.
    Out,
}

/// A probability in millionths: `5%` is 50,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chance(pub u32);

impl Chance {
    /// Always.
    pub const CERTAIN: Self = Self(1_000_000);
}

/// What an API server does to requests. Everything absent is as it should be. Chances are of each request by itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Api {
    /// It cannot be reached: connections are refused, watches break.
    pub down: bool,
    /// Requests vanish, and so do answers: every one times out, and watches fall silent without breaking. A partition.
    pub silent: bool,
    /// How long a request takes, and how late a watch tells.
    pub latency: Option<Latency>,
    /// Requests that are refused with these statuses: 429 (with Retry-After), 500, 503.
    pub refuse: BTreeMap<u16, Chance>,
    /// Writes that take effect and whose answer is lost: the connection breaks instead.
    pub lose_answers: Chance,
    /// Reads and lists answer as of so long ago (a lagging apiserver behind the same load balancer).
    pub stale: Option<Duration>,
    /// Every watch is cut after so long.
    pub cut_watches: Option<Duration>,
    /// A watch that resumes is told 410 Gone.
    pub gone: Option<Gone>,
}

/// How "too old resource version" is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// As the response's status: what some proxies make of it.
    Http,
    /// As an ERROR event in the stream: what an API server does.
    Stream,
}

impl<M> Fault<M> {
    /// The machine that it happens to, where there is one.
    pub fn target(&self) -> Option<&M> {
        match self {
            Self::Freeze { machine }
            | Self::ClockRate { machine, .. }
            | Self::FreezeBellhop { machine }
            | Self::DieAtWrite { machine, .. }
            | Self::SetMac { machine, .. }
            | Self::Flap { machine, .. }
            | Self::Cable { machine, .. }
            | Self::ClaimAddress { machine, .. }
            | Self::SpoofArp { machine, .. }
            | Self::Storm { machine, .. } => Some(machine),
            Self::Api { replica: machine, .. } | Self::Unready { machine, .. } => machine.as_ref(),
            Self::Uplink { .. } => None,
        }
    }

    /// Whether it is over in a moment, and so has no length.
    pub fn is_momentary(&self) -> bool {
        matches!(self, Self::DieAtWrite { .. } | Self::SetMac { .. })
    }

    /// The same fault with its machine named by `name`.
    pub fn resolve<N, E>(&self, mut name: impl FnMut(&M) -> Result<N, E>) -> Result<Fault<N>, E> {
        Ok(match self {
            Self::Freeze { machine } => Fault::Freeze { machine: name(machine)? },
            Self::ClockRate { machine, ppm } => Fault::ClockRate { machine: name(machine)?, ppm: *ppm },
            Self::FreezeBellhop { machine } => Fault::FreezeBellhop { machine: name(machine)? },
            Self::DieAtWrite { machine, write } => Fault::DieAtWrite { machine: name(machine)?, write: *write },
            Self::SetMac { machine, nic, mac } => Fault::SetMac { machine: name(machine)?, nic: nic.clone(), mac: *mac },
            Self::Flap { machine, nic, every } => Fault::Flap { machine: name(machine)?, nic: nic.clone(), every: *every },
            Self::Cable { machine, nic, wire } => Fault::Cable { machine: name(machine)?, nic: nic.clone(), wire: wire.clone() },
            Self::Uplink { between, wire } => Fault::Uplink { between: between.clone(), wire: wire.clone() },
            Self::ClaimAddress { machine, address } => Fault::ClaimAddress { machine: name(machine)?, address: *address },
            Self::SpoofArp { machine, address, every } => Fault::SpoofArp { machine: name(machine)?, address: *address, every: *every },
            Self::Storm { machine, rate } => Fault::Storm { machine: name(machine)?, rate: *rate },
            Self::Api { replica, api } => Fault::Api { replica: replica.as_ref().map(name).transpose()?, api: api.clone() },
            Self::Unready { deployment, machine } => {
                Fault::Unready { deployment: deployment.clone(), machine: machine.as_ref().map(name).transpose()? }
            }
        })
    }
}
