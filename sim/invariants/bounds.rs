//! How long things may take today: every bound of the invariants, in one place, each with what it is made of.
//!
//! They are true of the program as it is. Three of them are long because of work that is not done yet, and shrink with it: nodes are not watched on the
//! wire (a dead one is noticed by Kubernetes' NotReady), leadership is the Lease alone, IPv6 is not announced.

use std::time::Duration;

use bellhop_scenario::scenario::Stack;

/// How long an old answer may be heard beside a new one, and how far announcement and record may lie apart: a Lease (5 s) runs out, the
/// standby tries every second, gratuitous frames are repeated for 2.2 s, and a node is asked for its MAC again within 10 s.
pub(crate) const HANDOVER: Duration = Duration::from_secs(12);

/// How long a replica that is not disturbed may need to read that another holds the Lease: its watch tells it at once, and one that broke is
/// opened again within the watch's longest back-off of ten seconds.
pub(crate) const YIELD: Duration = Duration::from_secs(12);

/// How long after its last renewal a leader may still act as a confirmed one: the renew deadline is 3 s from when the renewal was *sent*; it may take
/// effect later than that, so the Lease's own duration is the bound that protects the next leader.
pub(crate) const CONFIRMED: Duration = Duration::from_secs(5);

/// After an outage Bellhop tries again with a back-off: 30 s at most between two writes of one object, a tenth to a fifth more by chance, and a
/// request that hangs is given up after 10 s.
pub(crate) const RECOVERY: Duration = Duration::from_secs(48);

/// How long after a cable, a switch or a machine is well again what a replica knows of a machine's MAC may be old: as [`HANDOVER`], of which asking again is a part.
pub(crate) const HEARD_AGAIN: Duration = HANDOVER;

/// Requests of one replica within a minute that are no storm, whatever changes: a Lease tried every second, ten watches that resume, and what fails tried
/// again at most five times a second.
pub(crate) const REQUESTS_PER_MINUTE: usize = 600;

/// Further requests for each different object that changed in that minute, or so shortly before it that a back-off may have reached into it. A new Service
/// is the most: its condition, its pool's `used`, its address, its Event, its node with an Event, its condition again; and each of the seven once
/// more after an answer that was lost.
pub(crate) const REQUESTS_PER_OBJECT: usize = 14;

/// Gratuitous frames for one address within a minute: an announcement is eight (two forms, four times), and one every two seconds is one for
/// each change of a link that flaps. Nothing damps that today.
pub(crate) const GRATUITOUS_PER_MINUTE: usize = 240;

/// How long Kubernetes may take to call a dead node NotReady beyond its grace period: heartbeats are up to 10 s apart, the controller looks every
/// 5 s. Until nodes are watched on the wire, this is when Bellhop learns of it.
const NOT_READY_LATEST: Duration = Duration::from_secs(15);

/// The longest a client's neighbor table may go on believing a MAC that nobody answers for, once Bellhop has said the new one and the client
/// has not heard it (layer2-peers-and-kernel.md §2.1): REACHABLE at most 45 s, DELAY 5 s, three probes a second apart, and the next try.
const LINUX_FORGETS: Duration = Duration::from_secs(55);

/// Within what time after the last fault Bellhop has decided who gets what and who carries it.
pub(crate) fn decided(grace: Duration) -> Duration {
    RECOVERY + grace + NOT_READY_LATEST + HANDOVER
}

/// Within what time after the last fault a client of this kind reaches every Service, where the node monitor's grace period is `grace`. `None`: there is no
/// bound, since nothing that Bellhop does today makes it forget.
pub(crate) fn convergence(stack: Stack, grace: Duration) -> Option<Duration> {
    match stack {
        Stack::Linux | Stack::Windows | Stack::Defender => Some(decided(grace) + LINUX_FORGETS),
        // Four hours, or never: they follow what is announced, and one announcement may be lost on them.
        Stack::SlowCache | Stack::IgnoresGratuitous => None,
    }
}
