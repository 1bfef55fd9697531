//! Connection tracking and translation of TCP, as netfilter does it for kube-proxy.
//!
//! The first packet of a connection asks [`Proxy`]; all later ones, in either direction, follow what was decided then, until the entry
//! times out. It knows neither routes nor NICs. Without an entry of its own a packet passes unchanged.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bellhop_core::time::Instant;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use rand_chacha::ChaCha8Rng;

use crate::packet::{Segment, readdress};
use crate::proxy::{Choice, Origin, Proxy, ProxyMode};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on, perhaps with other addresses.
    Pass,
    /// It is gone.
    Drop,
    /// It is answered with "port unreachable".
    Reject,
    /// It is answered with a reset.
    Reset,
}

/// From and to.
type Tuple = (SocketAddr, SocketAddr);

/// One tracked connection.
#[derive(Debug)]
struct Connection {
    /// As the client sends it.
    original: Tuple,
    /// As the endpoint answers it.
    reply: Tuple,
    /// Which directions have ended: client's, endpoint's.
    finished: [bool; 2],
    /// When it is forgotten.
    expires: Instant,
}

/// net.netfilter.nf_conntrack_tcp_timeout_syn_sent.
const OPENING: Duration = Duration::from_secs(120);
/// kube-proxy's conntrack.tcpEstablishedTimeout.
const ESTABLISHED: Duration = Duration::from_secs(24 * 3600);
/// nf_conntrack_tcp_timeout_time_wait.
const CLOSING: Duration = Duration::from_secs(120);
/// nf_conntrack_tcp_timeout_close.
const RESET: Duration = Duration::from_secs(10);
/// Connections at one time; a new one beyond is dropped ("nf_conntrack: table full"). kube-proxy sets 131,072 for four cores.
const CONNECTIONS_MAX: usize = 131_072;
/// Ports that masquerading picks from when the client's own is taken (net.ipv4.ip_local_port_range).
const PORTS: std::ops::RangeInclusive<u16> = 32768..=60999;

/// The table of one node.
#[derive(Debug, Default)]
pub(crate) struct Conntrack {
    /// By number.
    connections: BTreeMap<u64, Connection>,
    /// Both tuples of each, with 0 for the original direction and 1 for the reply. One look-up a packet; hashed by a fixed seed, and never gone through.
    by_tuple: HashMap<Tuple, (u64, usize), FixedState>,
    /// The next number.
    next: u64,
}

/// What a new connection is decided from.
pub(crate) struct Arrival<'a> {
    /// Where it came in.
    pub(crate) origin: Origin,
    /// Whether its destination is one of the node's own (not Services') addresses.
    pub(crate) to_node: bool,
    /// The address that masquerading writes, for an endpoint.
    pub(crate) masquerade_as: &'a dyn Fn(IpAddr) -> Option<IpAddr>,
}

impl Conntrack {
    /// Translates one packet in place.
    pub(crate) fn translate(
        &mut self,
        now: Instant,
        bytes: &mut [u8],
        segment: &Segment,
        arrival: &Arrival<'_>,
        proxy: &mut Proxy,
        rng: &mut ChaCha8Rng,
    ) -> Verdict {
        let tuple = (segment.source, segment.destination);
        if let Some((number, direction)) = self.find(now, tuple, segment.opens) {
            return self.follow(now, number, direction, segment, bytes);
        }
        let (target, masquerade) = match proxy.choose(segment.destination, arrival.to_node, arrival.origin, rng) {
            Choice::NotOurs => return Verdict::Pass,
            Choice::Drop => return Verdict::Drop,
            Choice::Reject => return Verdict::Reject,
            Choice::To { target, masquerade } => (target, masquerade),
        };
        // ipvs takes no connection from its middle (ip_vs_proto_tcp.c, without sloppy_tcp); netfilter does (nf_conntrack_tcp_loose).
        if !segment.opens && proxy.mode() != ProxyMode::Iptables {
            return if segment.resets { Verdict::Drop } else { Verdict::Reset };
        }
        // A pod that reaches itself through its Service would answer itself directly: masquerade (kube-proxy's hairpin rule).
        let hairpin = target.ip() == segment.source.ip();
        let source = if masquerade || hairpin { (arrival.masquerade_as)(target.ip()) } else { Some(segment.source.ip()) };
        let Some(number) = source.and_then(|source| self.track(now, tuple, SocketAddr::new(source, segment.source.port()), target)) else {
            return Verdict::Drop;
        };
        self.follow(now, number, 0, segment, bytes)
    }

    /// The live connection of a tuple. A new SYN on one that has ended starts a new one.
    fn find(&mut self, now: Instant, tuple: Tuple, opens: bool) -> Option<(u64, usize)> {
        let (number, direction) = *self.by_tuple.get(&tuple)?;
        let connection = self.connections.get(&number)?;
        let over = connection.expires <= now || (opens && connection.finished != [false; 2]);
        if over {
            self.forget(number);
            return None;
        }
        Some((number, direction))
    }

    /// Enters a new connection. `None` where the table or the ports are full.
    fn track(&mut self, now: Instant, original: Tuple, source: SocketAddr, target: SocketAddr) -> Option<u64> {
        if self.connections.len() >= CONNECTIONS_MAX {
            self.forget_expired(now);
        }
        if self.connections.len() >= CONNECTIONS_MAX {
            return None;
        }
        let ports = std::iter::once(source.port()).chain(PORTS);
        let free = |port: &u16| !self.by_tuple.contains_key(&(target, SocketAddr::new(source.ip(), *port)));
        let port = ports.into_iter().find(free)?;
        let reply = (target, SocketAddr::new(source.ip(), port));
        let number = self.next;
        self.next += 1;
        self.by_tuple.insert(original, (number, 0));
        self.by_tuple.insert(reply, (number, 1));
        self.connections.insert(number, Connection { original, reply, finished: [false; 2], expires: now + OPENING });
        Some(number)
    }

    /// Rewrites a packet of a known connection and moves its timeout.
    fn follow(&mut self, now: Instant, number: u64, direction: usize, segment: &Segment, bytes: &mut [u8]) -> Verdict {
        let Some(connection) = self.connections.get_mut(&number) else { return Verdict::Drop };
        if segment.finishes {
            connection.finished[direction] = true;
        }
        let timeout = if segment.resets {
            connection.finished = [true; 2];
            RESET
        } else if connection.finished != [false; 2] {
            CLOSING
        } else if segment.opens {
            OPENING
        } else {
            ESTABLISHED
        };
        connection.expires = now + timeout;
        // Out goes the mirror image of what the other direction expects.
        let (from, to) =
            if direction == 0 { (connection.reply.1, connection.reply.0) } else { (connection.original.1, connection.original.0) };
        readdress(bytes, from, to);
        Verdict::Pass
    }

    /// Takes out one connection.
    fn forget(&mut self, number: u64) {
        if let Some(connection) = self.connections.remove(&number) {
            self.by_tuple.remove(&connection.original);
            self.by_tuple.remove(&connection.reply);
        }
    }

    /// Takes out all that timed out.
    fn forget_expired(&mut self, now: Instant) {
        let expired: Vec<_> = self.connections.iter().filter(|(_, c)| c.expires <= now).map(|(number, _)| *number).collect();
        expired.into_iter().for_each(|number| self.forget(number));
    }
}
