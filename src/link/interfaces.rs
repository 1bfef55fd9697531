//! The machine's Ethernet interfaces with their addresses, and which of them the kernel would send through.
//!
//! Decides which interfaces are listed (those that could speak ARP) and when something has changed. It does not choose one: that is
//! the core's business. The kernel is asked afresh whenever it has told that a link, an address or a route is different; nothing is
//! kept up to date by hand, so a notification that was lost (a full queue says so) costs a question and never a wrong answer.
//!
//! This stands on the netlink socket and message types of `rtnetlink` and not on its `Handle`: that one's answers come through a
//! connection that a task must drive, while [`Interfaces::snapshot`] and [`Interfaces::route_to`] are asked between two frames and
//! must be true at that moment.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bellhop_core::link::{Interface, InterfaceAddress};
use bellhop_core::mac::MacAddr;
use bellhop_core::name::InterfaceName;
use rtnetlink::packet_route::address::{AddressHeader, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::{LinkFlags, LinkHeader, LinkLayerType, LinkMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::{Socket, protocols::NETLINK_ROUTE};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::warn;

use crate::netlink::{self, Query, kind};
use crate::socket;

/// Multicast groups to hear of links, addresses and routes (`enum rtnetlink_groups` in include/uapi/linux/rtnetlink.h).
const GROUPS: [u32; 5] = [
    1,  // RTNLGRP_LINK
    5,  // RTNLGRP_IPV4_IFADDR
    7,  // RTNLGRP_IPV4_ROUTE
    9,  // RTNLGRP_IPV6_IFADDR
    11, // RTNLGRP_IPV6_ROUTE
];
/// How long to wait before a question that the kernel did not answer is put again.
const RETRY: Duration = Duration::from_secs(1);

/// A view of the interfaces that is kept current, of the network namespace in which it was opened.
pub struct Interfaces {
    /// Where the kernel tells of changes.
    notifications: AsyncFd<Socket>,
    /// Where the kernel is asked.
    query: Query,
    /// What was found when the kernel was last asked.
    current: RefCell<Vec<Interface>>,
    /// What the last [`Interfaces::snapshot`] told.
    told: RefCell<Vec<Interface>>,
    /// A link or an address is different since `current` was asked for.
    links_stale: Cell<bool>,
    /// A route is different since the last snapshot.
    routes_changed: Cell<bool>,
}

impl Interfaces {
    /// Starts to listen for changes, and asks once for what there is. Needs no capability.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn watch() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        // SAFETY: the netlink socket owns its descriptor and always names the same one.
        let notifications = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        let query = Query::open()?;
        // Listening began before: what changes from here on is told.
        let current = interfaces(&query)?;
        Ok(Self {
            notifications,
            query,
            told: RefCell::new(current.clone()),
            current: RefCell::new(current),
            links_stale: Cell::new(false),
            routes_changed: Cell::new(false),
        })
    }

    /// The interfaces as of now, by name: those of Ethernet with a MAC that take part in ARP. So not the loopback, no tunnel, and no
    /// dummy such as kube-proxy's `kube-ipvs0`, whose addresses are the Services' and not the machine's. Costs one system call when nothing has changed.
    pub fn snapshot(&self) -> Vec<Interface> {
        self.take_notifications();
        if let Err(error) = self.refresh() {
            warn!(%error, "failed to read the interfaces; going on with what is known of them");
        }
        self.routes_changed.set(false);
        self.told.replace(self.current.borrow().clone());
        self.current.borrow().clone()
    }

    /// Ends when [`Interfaces::snapshot`] would differ from its last answer, or a route has changed since. May be dropped and called again.
    pub async fn changed(&self) {
        loop {
            if let Err(error) = self.refresh() {
                warn!(%error, "failed to read the interfaces; trying again");
                tokio::time::sleep(RETRY).await;
                continue;
            }
            if self.routes_changed.get() || *self.current.borrow() != *self.told.borrow() {
                return;
            }
            match self.notifications.readable().await {
                Ok(mut guard) => {
                    self.take_notifications();
                    guard.clear_ready();
                }
                // The runtime is going away.
                Err(_) => return std::future::pending().await,
            }
        }
    }

    /// The interface through which the kernel would send to `destination` at this moment, rules and metrics and all (RTM_GETROUTE).
    /// `None` when there is no route, or the destination is an address of this machine. The interface need not be one of [`Interfaces::snapshot`].
    pub fn route_to(&self, destination: IpAddr) -> Option<InterfaceName> {
        let mut question = RouteMessage::default();
        (question.header.address_family, question.header.destination_prefix_length) = match destination {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        question.attributes.push(RouteAttribute::Destination(destination.into()));
        // Without a route the answer is an error (ENETUNREACH).
        let answer = self.query.one(&RouteNetlinkMessage::GetRoute(question)).ok()?;
        route_interface(&answer).and_then(socket::interface_name).map(InterfaceName::from)
    }

    /// The gateways of the default routes of both families. None when the kernel does not say.
    pub fn gateways(&self) -> BTreeSet<IpAddr> {
        let routes = self.query.dump(&RouteNetlinkMessage::GetRoute(RouteMessage::default())).unwrap_or_default();
        routes.iter().filter_map(|route| default_gateway(route)).collect()
    }

    /// Asks the kernel if it has told that something is different.
    fn refresh(&self) -> io::Result<()> {
        if self.links_stale.get() {
            self.current.replace(interfaces(&self.query)?);
            self.links_stale.set(false);
        }
        Ok(())
    }

    /// Takes all notifications off the queue and notes what they make stale.
    fn take_notifications(&self) {
        let mut datagram = Vec::with_capacity(netlink::DATAGRAM_BYTES_MAX);
        loop {
            datagram.clear();
            match netlink::receive_datagram(self.notifications.get_ref(), &mut datagram, 0) {
                Ok(()) => netlink::messages(&datagram).for_each(|message| self.note(message.kind)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // ENOBUFS: the queue was full and notifications are lost. Whatever else it is, ask afresh.
                Err(error) => {
                    self.links_stale.set(true);
                    self.routes_changed.set(true);
                    if error.raw_os_error() != Some(libc::ENOBUFS) {
                        return;
                    }
                }
            }
        }
    }

    fn note(&self, kind: u16) {
        match kind {
            kind::NEW_LINK | kind::DELETE_LINK | kind::NEW_ADDRESS | kind::DELETE_ADDRESS => self.links_stale.set(true),
            kind::NEW_ROUTE | kind::DELETE_ROUTE => self.routes_changed.set(true),
            _ => {}
        }
    }
}

/// Asks for all interfaces that could speak ARP, with their addresses.
pub(crate) fn interfaces(query: &Query) -> io::Result<Vec<Interface>> {
    let links = query.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let addresses = query.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    Ok(assembled(links.iter().map(Vec::as_slice), addresses.iter().map(Vec::as_slice)))
}

/// The interfaces that these answers tell of, by name.
fn assembled<'a>(links: impl Iterator<Item = &'a [u8]>, addresses: impl Iterator<Item = &'a [u8]>) -> Vec<Interface> {
    let mut found: BTreeMap<u32, Interface> = links.filter_map(parse_link).collect();
    for (index, address) in addresses.filter_map(parse_address) {
        if let Some(interface) = found.get_mut(&index) {
            interface.addresses.push(address);
        }
    }
    let mut interfaces: Vec<Interface> = found.into_values().collect();
    interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    interfaces
}

/// What one datagram of netlink, of any bytes, tells: the interfaces, and where routes lead. The readers above without their socket, for `fuzz/`.
#[doc(hidden)]
pub fn read_datagram(datagram: &[u8]) -> (Vec<Interface>, Vec<u32>) {
    let of = |kind| netlink::messages(datagram).filter(move |message| message.kind == kind).map(|message| message.payload);
    (assembled(of(kind::NEW_LINK), of(kind::NEW_ADDRESS)), of(kind::NEW_ROUTE).filter_map(route_interface).collect())
}

/// Index and description of a link. `None` if it could not speak ARP, or has a name that is not UTF-8 and so cannot be asked for.
fn parse_link(payload: &[u8]) -> Option<(u32, Interface)> {
    // struct ifinfomsg, and IFLA_* of include/uapi/linux/if_link.h.
    const HEADER_LENGTH: usize = 16;
    const ADDRESS: u16 = 1;
    const NAME: u16 = 3;
    let header = LinkHeader::parse(payload).ok()?;
    let no_neighbors = LinkFlags::Loopback | LinkFlags::Noarp;
    if header.link_layer_type != LinkLayerType::Ether || header.flags.intersects(no_neighbors) {
        return None;
    }
    let attribute = |kind| netlink::attributes(payload, HEADER_LENGTH).find(|&(found, _)| found == kind).map(|(_, value)| value);
    let name = str::from_utf8(attribute(NAME)?).ok()?.trim_end_matches('\0');
    let mac = MacAddr(attribute(ADDRESS)?.try_into().ok()?);
    // IFF_LOWER_UP is the carrier; IFF_UP what the administrator wants.
    let up = header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    mac.is_unicast().then(|| (header.index, Interface { name: name.into(), mac, up, addresses: Vec::new() }))
}

/// An address and the index of the link that has it.
fn parse_address(payload: &[u8]) -> Option<(u32, InterfaceAddress)> {
    // struct ifaddrmsg, and IFA_* of include/uapi/linux/if_addr.h.
    const HEADER_LENGTH: usize = 8;
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    let header = AddressHeader::parse(payload).ok()?;
    // Not this machine's yet, or never: duplicates are being looked for, or were found (RFC 4862 §5.4). The end of that is a change like any other.
    if header.flags.intersects(AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed) {
        return None;
    }
    let attribute = |kind| netlink::attributes(payload, HEADER_LENGTH).find(|&(found, _)| found == kind).map(|(_, value)| value);
    // On a point-to-point link IFA_ADDRESS is the other end; IFA_LOCAL, where there is one, is always ours.
    let value = attribute(LOCAL).or_else(|| attribute(ADDRESS))?;
    let address = match header.family {
        AddressFamily::Inet => IpAddr::from(<[u8; 4]>::try_from(value).ok()?),
        AddressFamily::Inet6 => IpAddr::from(<[u8; 16]>::try_from(value).ok()?),
        _ => return None,
    };
    let prefix_length_max = if address.is_ipv4() { 32 } else { 128 };
    let prefix_length = header.prefix_len;
    (prefix_length <= prefix_length_max).then_some((header.index, InterfaceAddress { address, prefix_length }))
}

/// The index of the interface that a route leads through, if it leads out of this machine.
fn route_interface(payload: &[u8]) -> Option<u32> {
    // struct rtmsg, and RTA_OIF of include/uapi/linux/rtnetlink.h.
    const HEADER_LENGTH: usize = 12;
    const OUTPUT_INTERFACE: u16 = 4;
    let header = RouteHeader::parse(payload).ok()?;
    let index = netlink::attributes(payload, HEADER_LENGTH).find(|&(kind, _)| kind == OUTPUT_INTERFACE)?.1;
    (header.kind == RouteType::Unicast).then_some(())?;
    netlink::read_u32(index, 0)
}

/// Where a default route leads.
fn default_gateway(payload: &[u8]) -> Option<IpAddr> {
    // struct rtmsg, and RTA_GATEWAY of include/uapi/linux/rtnetlink.h.
    const HEADER_LENGTH: usize = 12;
    const GATEWAY: u16 = 5;
    let header = RouteHeader::parse(payload).ok()?;
    if header.destination_prefix_length != 0 || header.kind != RouteType::Unicast {
        return None;
    }
    let gateway = netlink::attributes(payload, HEADER_LENGTH).find(|&(kind, _)| kind == GATEWAY)?.1;
    match header.address_family {
        AddressFamily::Inet => Some(<[u8; 4]>::try_from(gateway).ok()?.into()),
        AddressFamily::Inet6 => Some(<[u8; 16]>::try_from(gateway).ok()?.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = 4 + value.len() as u16;
        let mut bytes = [length.to_ne_bytes().as_slice(), &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// A link of type Ethernet with index 7.
    fn link(flags: LinkFlags, name: &[u8], mac: &[u8]) -> Vec<u8> {
        let header = [[0, 0].as_slice(), &1_u16.to_ne_bytes(), &7_u32.to_ne_bytes(), &flags.bits().to_ne_bytes(), &[0; 4]].concat();
        [header, attribute(3, name), attribute(1, mac)].concat()
    }

    const MAC: [u8; 6] = [0x52, 0x54, 0x22, 0xa3, 0x9a, 0xd9];

    #[test]
    fn a_link_is_up_when_set_up_and_with_carrier() {
        for (flags, expected) in
            [(LinkFlags::Up | LinkFlags::LowerUp, true), (LinkFlags::Up, false), (LinkFlags::LowerUp, false), (LinkFlags::empty(), false)]
        {
            let (index, interface) = parse_link(&link(flags, b"eth0\0", &MAC)).expect("an Ethernet link");
            assert_eq!((index, interface.name.as_str(), interface.mac, interface.up), (7, "eth0", MacAddr(MAC), expected));
        }
    }

    #[test]
    fn what_cannot_speak_arp_is_not_listed() {
        for payload in [
            link(LinkFlags::Loopback, b"lo\0", &[0; 6]),
            link(LinkFlags::Noarp, b"kube-ipvs0\0", &MAC),
            link(LinkFlags::Up, b"zero0\0", &[0; 6]),
            link(LinkFlags::Up, b"ib0\0", &[1; 20]),
            link(LinkFlags::Up, b"odd\xff\0", &MAC),
        ] {
            assert_eq!(parse_link(&payload), None);
        }
    }

    #[test]
    fn on_a_point_to_point_link_the_local_address_is_ours() {
        let header = [[2, 30, 0, 0].as_slice(), &7_u32.to_ne_bytes()].concat();
        let payload = [header, attribute(1, &[192, 0, 2, 1]), attribute(2, &[192, 0, 2, 2])].concat();
        let address = InterfaceAddress { address: [192, 0, 2, 2].into(), prefix_length: 30 };
        assert_eq!(parse_address(&payload), Some((7, address)));
    }

    #[test]
    fn a_prefix_longer_than_the_family_allows_is_no_address() {
        let header = [[2, 33, 0, 0].as_slice(), &7_u32.to_ne_bytes()].concat();
        assert_eq!(parse_address(&[header, attribute(1, &[192, 0, 2, 1])].concat()), None);
    }

    #[test]
    fn a_datagram_tells_of_a_link_with_its_address_and_of_a_route() {
        let message = |kind: u16, payload: &[u8]| {
            let length = 16 + payload.len() as u32;
            [length.to_ne_bytes().as_slice(), &kind.to_ne_bytes(), &[0; 10], payload].concat()
        };
        let address = [[2, 24, 0, 0].as_slice(), &7_u32.to_ne_bytes(), &attribute(1, &[192, 0, 2, 1])].concat();
        // AF_INET and eleven more of struct rtmsg, of which the eighth is RTN_UNICAST.
        let route = [[2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0].as_slice(), &attribute(4, &7_u32.to_ne_bytes())].concat();
        let link = link(LinkFlags::Up, b"eth0\0", &MAC);
        let datagram = [message(kind::NEW_LINK, &link), message(kind::NEW_ADDRESS, &address), message(kind::NEW_ROUTE, &route)].concat();
        let (interfaces, routes) = read_datagram(&datagram);
        assert_eq!((interfaces[0].addresses[0].prefix_length, routes), (24, vec![7]));
    }

    #[test]
    fn the_gateway_is_that_of_the_default_route() {
        // Destination length second, type eighth: struct rtmsg.
        let route = |family: u8, length: u8, gateway: &[u8]| {
            [[family, length, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0].as_slice(), &attribute(5, gateway)].concat()
        };
        assert_eq!(default_gateway(&route(2, 0, &[192, 168, 0, 1])), Some([192, 168, 0, 1].into()));
        assert_eq!(default_gateway(&route(10, 0, &[0xfd; 16])), Some([0xfd; 16].into()));
        assert_eq!(default_gateway(&route(2, 24, &[192, 168, 0, 1])), None);
        assert_eq!(default_gateway(&route(2, 0, &[1])), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_parsing_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = (parse_link(&bytes), parse_address(&bytes), route_interface(&bytes), default_gateway(&bytes), read_datagram(&bytes));
        }
    }
}
