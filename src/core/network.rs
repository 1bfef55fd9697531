//! This machine's side of the LAN: which NIC serves which pool, which are open, and where each node is behind each.
//!
//! One port per NIC in use: its announcer, and the MACs of the nodes on its LAN. It knows pools and nodes only as far as that; who carries what is
//! decided in [`crate::controller`], and [`Network::reach`] tells whether, and by which MAC, a node can be reached for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::announcer::{Announcer, Counters, Voice};
use crate::arp::{ArpMessage, Operation};
use crate::frame::{DropReason, Message};
use crate::groups::{GroupChange, Groups};
use crate::interface::{self, InterfaceSelector, Machine};
use crate::link::{Interface, InterfaceAddress, LinkError};
use crate::mac::MacAddr;
use crate::name::{InterfaceName, NodeName, PoolName};
use crate::ndp::{self, NdpMessage};
use crate::node_macs::{Claim, Learned, NodeMacs, Question};
use crate::object::{Family, Node, Pool, Protocol};
use crate::status::reason;
use crate::time::Instant;

/// How long a NIC that could not be opened is left alone, unless it changes before.
const OPEN_RETRY: Duration = Duration::from_secs(5);

/// Replies that wait to be sent at the most: who asks faster than the NIC sends asks again.
const REPLIES_MAX: usize = 1024;

/// What to do with a NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkCommand {
    /// Open it and say how that ended ([`crate::replica::Replica::handle_link`]).
    Open(InterfaceName),
    /// Close it, if it is open.
    Close(InterfaceName),
    /// Listen to an IPv6 group there ([`crate::link::LinkLayer::join`]); only a refusal is told ([`crate::replica::Replica::handle_join_refused`]).
    Join(InterfaceName, Ipv6Addr),
    /// Listen to it no more.
    Leave(InterfaceName, Ipv6Addr),
}

/// Why an address is not announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnnounced {
    /// From [`crate::status::reason`].
    pub reason: &'static str,
    /// For a person.
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Link {
    /// To be opened, not before this.
    Closed(Instant),
    Opening,
    Open,
}

#[derive(Debug)]
struct Port {
    link: Link,
    trouble: Option<LinkError>,
    announcer: Announcer,
    macs: NodeMacs,
    groups: Groups,
}

/// The NICs in use and what is known behind them.
#[derive(Debug)]
pub struct Network {
    own_node: NodeName,
    machine: Machine,
    voice: Voice,
    ports: BTreeMap<InterfaceName, Port>,
    /// Which NIC serves each layer 2 pool, or why none does.
    serving: BTreeMap<PoolName, Result<InterfaceName, String>>,
    commands: VecDeque<LinkCommand>,
    replies: VecDeque<(InterfaceName, Vec<u8>)>,
}

impl Network {
    /// A machine whose interfaces are not known yet. `own_node` is the Kubernetes node that it is.
    pub fn new(own_node: NodeName) -> Self {
        Self {
            own_node,
            machine: Machine::default(),
            voice: Voice::Silent,
            ports: BTreeMap::new(),
            serving: BTreeMap::new(),
            commands: VecDeque::new(),
            replies: VecDeque::new(),
        }
    }

    /// The machine's interfaces and the routes that were asked for, as of now.
    pub fn handle_interfaces(&mut self, now: Instant, interfaces: Vec<Interface>, routes: BTreeMap<IpAddr, Option<InterfaceName>>) {
        let before = std::mem::take(&mut self.machine.interfaces);
        self.machine.interfaces = interfaces.into_iter().map(|interface| (interface.name.clone(), interface)).collect();
        self.machine.routes = routes;
        for (name, port) in &mut self.ports {
            let Some(interface) = self.machine.interfaces.get(name) else { continue };
            port.announcer.handle_nic(interface.mac, interface.ipv6());
            let was_up = before.get(name).is_some_and(|before| before.up);
            if interface.up && !was_up {
                port.announcer.handle_link_up(now);
            }
            if port.trouble.is_some() && before.get(name) != Some(interface) {
                port.link = Link::Closed(now);
            }
        }
    }

    /// Chooses anew which NIC serves which pool and where the nodes are.
    pub fn handle_objects(&mut self, now: Instant, pools: &BTreeMap<PoolName, Pool>, nodes: &BTreeMap<NodeName, Node>) {
        self.machine.own_address = nodes.get(&self.own_node).and_then(|node| node.layer2_address);
        self.serving = pools.values().filter_map(|pool| Some((pool.name.clone(), self.serve(pool)?))).collect();
        // What each NIC in use has pools of: nodes are asked for by these families alone.
        let mut wanted: BTreeMap<InterfaceName, BTreeSet<Family>> = BTreeMap::new();
        for (pool, name) in self.serving.iter().filter_map(|(pool, name)| Some((pool, name.as_ref().ok()?))) {
            let family = pools.get(pool).and_then(|pool| pool.addresses.as_ref().ok()).map(|addresses| addresses.family());
            wanted.entry(name.clone()).or_default().extend(family);
        }
        let closed: Vec<InterfaceName> = self.ports.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in closed {
            self.ports.remove(&name);
            self.commands.push_back(LinkCommand::Close(name));
        }
        for (name, families) in wanted {
            let interface = self.machine.interfaces.get(&name);
            let voice = self.voice;
            let port = self.ports.entry(name).or_insert_with(|| {
                let mut announcer = Announcer::new(interface.map_or(MacAddr::ZERO, |interface| interface.mac));
                announcer.handle_voice(now, voice);
                Port { link: Link::Closed(now), trouble: None, announcer, macs: NodeMacs::default(), groups: Groups::default() }
            });
            let Some(interface) = interface else {
                port.macs.handle_addresses(now, std::iter::empty());
                continue;
            };
            port.announcer.handle_nic(interface.mac, interface.ipv6());
            let ours = |address: &IpAddr| interface.addresses.iter().any(|own| own.address == *address);
            let of_nodes = nodes.values().flat_map(|node| families.iter().filter_map(|family| node_address(interface, node, *family)));
            let addresses: BTreeSet<IpAddr> = of_nodes.filter(|address| !ours(address)).collect();
            port.macs.handle_addresses(now, addresses.into_iter());
        }
    }

    /// How opening a NIC ended, or what befell it later.
    pub fn handle_link(&mut self, now: Instant, name: &InterfaceName, result: Result<(), LinkError>) {
        let Some(port) = self.ports.get_mut(name) else { return };
        match result {
            Ok(()) => {
                port.link = Link::Open;
                port.trouble = None;
                port.groups.handle_opened();
                port.announcer.handle_link_up(now);
            }
            // The frame is lost, and the NIC is fine: what is down tells its carrier's state by itself. As an answer to opening it is a failure like any other.
            Err(LinkError::Busy(_) | LinkError::Down(_)) if port.link != Link::Opening => {}
            Err(error) => {
                if port.link == Link::Open {
                    self.commands.push_back(LinkCommand::Close(name.clone()));
                }
                port.link = Link::Closed(now + OPEN_RETRY);
                port.trouble = Some(error);
            }
        }
    }

    /// A group of [`LinkCommand::Join`] was not joined. Whether that is news.
    pub fn handle_join_refused(&mut self, now: Instant, name: &InterfaceName, group: Ipv6Addr) -> bool {
        self.ports.get_mut(name).is_some_and(|port| port.groups.handle_refused(now, group))
    }

    /// One received frame: answers it if it asks for one of ours. Returns a node's MAC that it told.
    pub fn handle_frame(&mut self, now: Instant, name: &InterfaceName, frame: &[u8]) -> Option<Learned> {
        let port = self.ports.get_mut(name)?;
        let message = match Message::parse(frame) {
            Ok(message) => message,
            Err(reason) => {
                port.announcer.handle_ignored(reason);
                return None;
            }
        };
        let mut reply = Vec::new();
        if port.announcer.handle_message(&message, &mut reply).is_ok() && self.replies.len() < REPLIES_MAX {
            self.replies.push_back((name.clone(), reply));
        }
        port.macs.handle_claim(now, &Claim::of(&message))
    }

    /// All announcers may do this from now on.
    pub fn handle_voice(&mut self, now: Instant, voice: Voice) {
        self.voice = voice;
        if voice == Voice::Silent {
            // A replica that stood still wakes to questions of long ago, and may learn in the same breath that another leads.
            self.replies.clear();
        }
        for port in self.ports.values_mut() {
            port.announcer.handle_voice(now, voice);
        }
    }

    /// `address` is carried by `carrier` on this NIC from now on.
    pub fn handle_carrier(&mut self, now: Instant, name: &InterfaceName, address: IpAddr, carrier: Option<MacAddr>) {
        let Some(port) = self.ports.get_mut(name) else { return };
        let was_carried = port.announcer.carrier(address).is_some();
        port.announcer.handle_carrier(now, address, carrier);
        if let IpAddr::V6(address) = address {
            match (was_carried, carrier.is_some()) {
                (false, true) => port.groups.handle_address(address),
                (true, false) => port.groups.handle_address_gone(address),
                _ => {}
            }
        }
    }

    /// The next command for a NIC.
    pub fn poll_link(&mut self, now: Instant) -> Option<LinkCommand> {
        if let Some(command) = self.commands.pop_front() {
            return Some(command);
        }
        for (name, port) in self.ports.iter_mut().filter(|(_, port)| port.link == Link::Open) {
            match port.groups.poll(now) {
                Some(GroupChange::Join(group)) => return Some(LinkCommand::Join(name.clone(), group)),
                Some(GroupChange::Leave(group)) => return Some(LinkCommand::Leave(name.clone(), group)),
                None => {}
            }
        }
        let due = |port: &Port| matches!(port.link, Link::Closed(retry) if retry <= now);
        let (name, port) = self.ports.iter_mut().find(|(_, port)| due(port))?;
        port.link = Link::Opening;
        Some(LinkCommand::Open(name.clone()))
    }

    /// The next frame to send: replies first, somebody waits for them.
    pub fn poll_transmit(&mut self, now: Instant, frame: &mut Vec<u8>) -> Option<InterfaceName> {
        if let Some((name, reply)) = self.replies.pop_front() {
            *frame = reply;
            return Some(name);
        }
        for (name, port) in self.ports.iter_mut().filter(|(_, port)| port.link == Link::Open) {
            if port.announcer.poll_announcement(now, frame) {
                return Some(name.clone());
            }
            if let Some(interface) = self.machine.interfaces.get(name)
                && let Some(question) = port.macs.poll_question(now)
                && ask(interface, question, frame)
            {
                return Some(name.clone());
            }
        }
        None
    }

    /// When to poll again if nothing is handled before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = |port: &Port| match port.link {
            Link::Open => [port.announcer.poll_timeout(), port.macs.poll_timeout(), port.groups.poll_timeout()].into_iter().flatten().min(),
            Link::Closed(retry) => Some(retry),
            Link::Opening => None,
        };
        self.ports.values().filter_map(due).min()
    }

    /// The NIC that serves a layer 2 pool, or why none does.
    pub fn interface_of(&self, pool: &PoolName) -> Option<&Result<InterfaceName, String>> {
        self.serving.get(pool)
    }

    /// Why an interface cannot be used at the moment.
    pub fn trouble(&self, name: &InterfaceName) -> Option<&LinkError> {
        self.ports.get(name)?.trouble.as_ref()
    }

    /// Addresses whose route decides which NIC serves a pool.
    pub fn destinations(pools: &BTreeMap<PoolName, Pool>) -> BTreeSet<IpAddr> {
        let selectors = pools.values().filter_map(|pool| pool.interface.as_ref()?.as_ref().ok());
        selectors.filter_map(|selector| if let InterfaceSelector::CanReach(address) = selector { Some(*address) } else { None }).collect()
    }

    /// Heard and said so far, by NIC.
    pub fn counters(&self) -> impl Iterator<Item = (&InterfaceName, &Counters)> {
        self.ports.iter().map(|(name, port)| (name, port.announcer.counters()))
    }

    /// The node that has this address, if it is one of `nodes`' on a LAN of ours.
    pub fn node_at<'a>(&self, name: &InterfaceName, address: IpAddr, nodes: &'a BTreeMap<NodeName, Node>) -> Option<&'a NodeName> {
        let interface = self.machine.interfaces.get(name)?;
        nodes.values().find(|node| node_address(interface, node, Family::of(address)) == Some(address)).map(|node| &node.name)
    }

    /// By which NIC and MAC traffic for an address of `pool` reaches `node`.
    pub fn reach(&self, pool: &PoolName, address: IpAddr, node: &Node) -> Result<(InterfaceName, MacAddr), NotAnnounced> {
        let not = |reason, message: String| NotAnnounced { reason, message };
        let name = match self.serving.get(pool) {
            Some(Ok(name)) => name,
            Some(Err(why)) => return Err(not(reason::INTERFACE_NOT_FOUND, why.clone())),
            None => return Err(not(reason::EIP_GONE, format!("Eip {pool} is gone or invalid: {address} is kept for when it is back"))),
        };
        let port = self.ports.get(name);
        if let Some(trouble) = port.and_then(|port| port.trouble.as_ref()) {
            return Err(not(reason::INTERFACE_NOT_USABLE, trouble.to_string()));
        }
        let gone = || not(reason::INTERFACE_NOT_FOUND, format!("no interface {name} on this machine"));
        let (Some(port), Some(interface)) = (port, self.machine.interfaces.get(name)) else { return Err(gone()) };
        let family = Family::of(address);
        let none = || not(reason::NO_NODE_ADDRESS, format!("node {} has no {family} address on the subnet of {name}", node.name));
        let node_address = node_address(interface, node, family).ok_or_else(none)?;
        let own = interface.addresses.iter().any(|own| own.address == node_address);
        let mac = if own { Some(interface.mac) } else { port.macs.mac(node_address) };
        let unknown = || {
            not(reason::NODE_MAC_UNKNOWN, format!("node {} ({node_address}) has not answered for its own address on {name} yet", node.name))
        };
        Ok((name.clone(), mac.ok_or_else(unknown)?))
    }

    fn serve(&self, pool: &Pool) -> Option<Result<InterfaceName, String>> {
        let addresses = pool.addresses.as_ref().ok().filter(|_| pool.protocol == Protocol::Layer2)?;
        let selector = match &pool.interface {
            Some(Ok(selector)) => Some(selector),
            Some(Err(_)) => return None,
            None => None,
        };
        Some(interface::choose(selector, addresses, &self.machine).map_err(|error| error.to_string()))
    }
}

/// The address of a family under which a node is asked for on this NIC's LAN: what its annotation says, else the first of its addresses that is on-link.
fn node_address(interface: &Interface, node: &Node, family: Family) -> Option<IpAddr> {
    let on_link = |address: &IpAddr| interface.addresses.iter().any(|own: &InterfaceAddress| own.contains(*address));
    let mut addresses = node.layer2_address.iter().chain(&node.addresses);
    addresses.find(|address| Family::of(**address) == family && on_link(address)).copied()
}

/// Writes the frame that asks where an address is, from the NIC's own. `false`: the NIC has none of that family any more.
fn ask(interface: &Interface, question: Question, frame: &mut Vec<u8>) -> bool {
    match question.address {
        IpAddr::V4(target_ip) => {
            let Some(sender_ip) = interface.ipv4() else { return false };
            let request = ArpMessage {
                destination: question.to.unwrap_or(MacAddr::BROADCAST),
                source: interface.mac,
                operation: Operation::Request,
                sender_mac: interface.mac,
                sender_ip,
                target_mac: MacAddr::ZERO,
                target_ip,
            };
            request.emit(frame);
        }
        IpAddr::V6(target) => {
            let Some(source_ip) = interface.ipv6() else { return false };
            let group = ndp::solicited_node(target);
            let solicitation = NdpMessage {
                destination: question.to.unwrap_or_else(|| ndp::group_mac(group)),
                source: interface.mac,
                source_ip,
                destination_ip: if question.to.is_some() { target } else { group },
                kind: ndp::Kind::Solicitation,
                target,
                link_address: Some(interface.mac),
            };
            solicitation.emit(frame);
        }
    }
    true
}

/// All reasons with how often each was the cause, for the metrics.
pub fn ignored(counters: &Counters) -> impl Iterator<Item = (&'static str, u64)> {
    DropReason::ALL.iter().map(|reason| (reason.label(), counters.ignored[*reason as usize]))
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
