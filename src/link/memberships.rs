//! The IPv6 multicast groups that a card listens to, joined as any program joins one: by IPV6_JOIN_GROUP on an ordinary UDP socket (RFC 3493 §5.2).
//!
//! That needs no capability, NET_ADMIN least of all, and the kernel then does all of it: it lets the group's frames through the card's filter, reports the group by MLD so that snooping
//! switches forward it, answers their queries, reports again when the card comes up, and leaves when the socket closes (net/ipv6/mcast.c). The packet
//! socket's own way, PACKET_ADD_MEMBERSHIP, sets the filter and reports nothing. Nobody sends to these sockets: they have no port. Which groups are wanted is not
//! decided here.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv6Addr;

use socket2::{Domain, Socket, Type};

/// Groups on one socket. Each is charged to the socket's option memory, of which a kernel's default (net.core.optmem_max, 20 KiB on older ones) has room
/// for some three hundred.
const GROUPS_PER_SOCKET: usize = 128;

/// The groups of one card.
pub(crate) struct Memberships {
    index: u32,
    /// By number, each with how many groups it holds.
    sockets: BTreeMap<u32, (Socket, usize)>,
    /// Which socket holds each group.
    joined: BTreeMap<Ipv6Addr, u32>,
}

impl Memberships {
    /// Of the card with this index, in none yet.
    pub(crate) fn new(index: u32) -> Self {
        Self { index, sockets: BTreeMap::new(), joined: BTreeMap::new() }
    }

    /// Joins a group that is not joined yet.
    pub(crate) fn join(&mut self, group: Ipv6Addr) -> io::Result<()> {
        if self.joined.contains_key(&group) {
            return Ok(());
        }
        let with_room = self.sockets.iter().find(|(_, (_, groups))| *groups < GROUPS_PER_SOCKET).map(|(number, _)| *number);
        let number = match with_room {
            Some(number) => number,
            None => {
                let number = self.sockets.last_key_value().map_or(0, |(last, _)| last + 1);
                self.sockets.insert(number, (Socket::new(Domain::IPV6, Type::DGRAM, None)?, 0));
                number
            }
        };
        if let Some((socket, groups)) = self.sockets.get_mut(&number) {
            socket.join_multicast_v6(&group, self.index)?;
            *groups += 1;
            self.joined.insert(group, number);
        }
        Ok(())
    }

    /// Leaves a group.
    pub(crate) fn leave(&mut self, group: Ipv6Addr) {
        let Some(number) = self.joined.remove(&group) else { return };
        let Some((socket, groups)) = self.sockets.get_mut(&number) else { return };
        // It fails only where the card is gone, and the group with it.
        let _gone = socket.leave_multicast_v6(&group, self.index);
        *groups -= 1;
        if *groups == 0 {
            self.sockets.remove(&number);
        }
    }
}
