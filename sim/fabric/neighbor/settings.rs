//! What a neighbor table is told: the kernel's settings, and the few things in which other systems differ from it.
//!
//! Data only. Values with a name under /proc/sys/net/ipv4/neigh say it; the defaults were read from a running Linux 6.18 and are those of
//! arp_tbl (net/ipv4/arp.c) and nd_tbl (net/ipv6/ndisc.c).

use std::time::Duration;

/// The settings of one NIC and one family, `/proc/sys/net/{ipv4,ipv6}/neigh/<nic>/*` and `conf/<nic>/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighborSettings {
    /// base_reachable_time: an entry stays REACHABLE for half to one and a half of it, redrawn every five minutes.
    pub base_reachable: Duration,
    /// delay_first_probe_time: how long a STALE entry that is used waits for a sign of life before it is probed.
    pub delay_first_probe: Duration,
    /// retrans_time: between two solicitations.
    pub retransmit: Duration,
    /// ucast_solicit: unicast probes before an entry is given up.
    pub unicast_probes: u32,
    /// mcast_solicit: broadcasts before a resolution is given up.
    pub broadcast_probes: u32,
    /// mcast_resolicit: broadcasts after the unicast probes of a known entry.
    pub broadcast_reprobes: u32,
    /// locktime: how long a change is kept against a frame that is not gratuitous. ARP only.
    pub lock: Duration,
    /// gc_stale_time: unused for so long, an entry may be collected.
    pub stale_collected: Duration,
    /// gc_thresh1: below so many entries nothing is collected.
    pub collect_from: usize,
    /// gc_thresh2: a forced collection goes down to so many.
    pub collect_to: usize,
    /// gc_thresh3: never more entries than this. The kernel counts all NICs together, we each.
    pub entries_max: usize,
    /// unres_qlen_bytes: packets that wait for one address, each counted with what it costs the kernel. unres_qlen, which is 101, is only an
    /// older way to say the same of full frames.
    pub queue_bytes: usize,
    /// arp_accept: whether a gratuitous frame creates an entry.
    pub accept_gratuitous: bool,
    /// drop_gratuitous_arp.
    pub drop_gratuitous: bool,
    /// Whether a frame that nobody asked for changes an entry that is in use. Linux: yes, by its rules; false is no setting of Linux.
    pub believe_unsolicited: bool,
    /// What happens to an entry that has grown old. Linux probes.
    pub ageing: Ageing,
}

/// What happens to an entry when its reachable time has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ageing {
    /// It is STALE, and probed when it is used again (RFC 4861 §7.3.2).
    Probed,
    /// It is forgotten, exactly base_reachable after the last frame that told it; the next packet asks everybody. No state but REACHABLE.
    Forgotten,
}

impl Default for NeighborSettings {
    /// The kernel's defaults for ARP (arp_tbl).
    fn default() -> Self {
        Self {
            base_reachable: Duration::from_secs(30),
            delay_first_probe: Duration::from_secs(5),
            retransmit: Duration::from_secs(1),
            unicast_probes: 3,
            broadcast_probes: 3,
            broadcast_reprobes: 0,
            lock: Duration::from_secs(1),
            stale_collected: Duration::from_secs(60),
            collect_from: 128,
            collect_to: 512,
            entries_max: 1024,
            queue_bytes: 212_992,
            accept_gratuitous: false,
            drop_gratuitous: false,
            believe_unsolicited: true,
            ageing: Ageing::Probed,
        }
    }
}

impl NeighborSettings {
    /// The kernel's defaults for neighbor discovery (nd_tbl): the same but for the lock, which it has not.
    pub fn ipv6() -> Self {
        Self { lock: Duration::ZERO, ..Self::default() }
    }
}
