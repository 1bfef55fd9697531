//! Machines and cables: everything named exists, everybody is on their segment, nobody has somebody else's address.
//!
//! Everything is counted before it is built, so that no file makes a world that no machine could hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use ipnet::{IpNet, Ipv6Net};

use super::check::known;
use super::refusal::{Finding, at, nowhere};
use super::spanned::Spanned;
use super::topology as file;
use super::values::OneOrMany;
use crate::scenario::{Client, Nic, Node, Router, Segment, Switch, Topology, Uplink};

/// What a laptop can hold as network namespaces, and more than any situation needs.
const MOST_MACHINES: usize = 64;
/// The same of switches, and of segments.
const MOST_SWITCHES: usize = 32;
/// More than a server has.
const MOST_NICS: usize = 8;
/// Two cables for each switch.
const MOST_UPLINKS: usize = 2 * MOST_SWITCHES;
/// More than a scenario tells nodes apart by.
const MOST_LABELS: usize = 16;
/// IEEE 802.1Q §8.8.3: the recommended ageing time.
const MAC_AGEING: Duration = Duration::from_secs(300);
/// One hello time of a rapid spanning tree (IEEE 802.1D-2004 §17.14).
const CONVERGE: Duration = Duration::from_secs(2);
/// A classic spanning tree takes up to 50 s (IEEE 802.1D-1998 §8.10); nobody waits longer than this.
const LONGEST_CONVERGENCE: Duration = Duration::from_secs(120);
/// More than any switch's table.
const LARGEST_TABLE: u32 = 1_000_000;
/// A gigabit of the shortest frames is 1,488,095 a second.
const HIGHEST_STORM_LIMIT: u32 = 2_000_000;
/// `IFNAMSIZ` less its terminating zero.
const LONGEST_INTERFACE_NAME: usize = 15;

/// Adds machines and cables to those that are there.
pub(super) fn add(into: &mut Topology, from: file::Topology) -> Result<(), Finding> {
    for (name, segment) in from.segments {
        name_fits(&name, &segment)?;
        room(into.segments.len(), MOST_SWITCHES, "segments", &segment)?;
        let file::Segment { ipv4, ipv6, latency } = segment.value;
        into.segments.insert(name, Segment { ipv4, ipv6, latency });
    }
    for (name, switch) in from.switches {
        name_fits(&name, &switch)?;
        room(into.switches.len(), MOST_SWITCHES, "switches", &switch)?;
        known(&into.segments, &switch.value.segment, "segment")?;
        let switch = checked_switch(switch.value)?;
        into.switches.insert(name, switch);
    }
    for uplink in from.uplinks {
        room(into.named_uplinks.len(), MOST_UPLINKS, "uplinks", &uplink)?;
        let between = ends(into, &uplink.value.between)?;
        into.named_uplinks.push(Uplink { between, latency: uplink.value.latency });
    }
    for (name, router) in from.routers {
        machine_fits(into, &name, &router)?;
        let file::Router { nics, stack, gateway } = router.value;
        let nics = checked_nics(into, nics)?;
        let gateway = checked_gateway(&nics.values().collect::<Vec<_>>(), gateway)?;
        into.routers.insert(name, Router { nics, stack, gateway });
    }
    for (name, node) in from.nodes {
        machine_fits(into, &name, &node)?;
        let node = checked_node(into, node)?;
        into.nodes.insert(name, node);
    }
    for (name, client) in from.clients {
        machine_fits(into, &name, &client)?;
        let client = checked_client(into, client.value)?;
        into.clients.insert(name, client);
    }
    Ok(())
}

/// Room for one more.
fn room<T>(there: usize, most: usize, what: &str, place: &Spanned<T>) -> Result<(), Finding> {
    if there < most { Ok(()) } else { Err(at(place, format!("too many {what}: expected at most {most}"))) }
}

/// A switch whose numbers are all right.
fn checked_switch(switch: file::Switch) -> Result<Switch, Finding> {
    let within = |number: &Option<Spanned<u32>>, most: u32| match number {
        Some(number) if !(1..=most).contains(&number.value) => Err(at(number, format!("expected a number from 1 to {most}"))),
        number => Ok(number.as_ref().map(|number| number.value)),
    };
    if let Some(converge) = switch.converge.as_ref().filter(|converge| converge.value.0 > LONGEST_CONVERGENCE) {
        return Err(at(converge, format!("expected at most {}", crate::duration::words(LONGEST_CONVERGENCE))));
    }
    Ok(Switch {
        segment: switch.segment.value,
        mac_ageing: switch.mac_ageing.map_or(MAC_AGEING, |text| text.0),
        table_size: within(&switch.table_size, LARGEST_TABLE)?,
        storm_limit: within(&switch.storm_limit, HIGHEST_STORM_LIMIT)?,
        inspect_arp: switch.inspect_arp,
        converge: switch.converge.map_or(CONVERGE, |text| text.value.0),
    })
}

/// Two different switches of one segment.
pub(super) fn ends(topology: &Topology, between: &Spanned<Vec<Spanned<String>>>) -> Result<[String; 2], Finding> {
    let [one, other] = between.value.as_slice() else { return Err(at(between, "expected two switches, as in [sw0, sw1]")) };
    let mut segments = Vec::new();
    for end in [one, other] {
        known(&topology.switches, end, "switch")?;
        segments.extend(topology.switches.get(&end.value).map(|switch| &switch.segment));
    }
    if one.value == other.value {
        return Err(at(other, "a cable from a switch to itself: expected another switch"));
    }
    if segments.first() != segments.last() {
        return Err(at(other, "a switch of another segment: expected one of the same (between segments stands a router)"));
    }
    Ok([one.value.clone(), other.value.clone()])
}

/// Where a file has its topology and its switches.
pub(super) struct Places {
    whole: Option<Spanned<()>>,
    switches: BTreeMap<String, Spanned<()>>,
}

impl Places {
    pub(super) fn of(topology: Option<&Spanned<file::Topology>>) -> Self {
        let switches = topology.into_iter().flat_map(|topology| &topology.value.switches);
        Self {
            whole: topology.map(|topology| topology.with(())),
            switches: switches.map(|(name, switch)| (name.clone(), switch.with(()))).collect(),
        }
    }

    /// A finding at a place, or at the topology, or, where a file has none, at no line.
    pub(super) fn at(&self, place: Option<&Spanned<()>>, message: String) -> Finding {
        match place.or(self.whole.as_ref()) {
            Some(place) => at(place, message),
            None => nowhere(message),
        }
    }
}

/// That every switch of a segment can be reached from every other. When all files have been read.
pub(super) fn whole(topology: &Topology, places: &Places) -> Result<(), Finding> {
    let uplinks = topology.uplinks();
    for segment in topology.segments.keys() {
        let all: BTreeSet<&String> =
            topology.switches.iter().filter(|(_, switch)| switch.segment == *segment).map(|(name, _)| name).collect();
        let mut reached: BTreeSet<&String> = all.first().copied().into_iter().collect();
        // Each round reaches one more switch or is the last.
        loop {
            let before = reached.len();
            for [one, other] in uplinks.iter().map(|uplink| &uplink.between) {
                if reached.contains(one) || reached.contains(other) {
                    reached.extend([one, other]);
                }
            }
            reached.retain(|name| all.contains(name));
            if reached.len() == before {
                break;
            }
        }
        if let Some(alone) = all.difference(&reached).next() {
            // A switch of the file that is extended was connected there: this file's own belong beside it.
            let own = places.switches.get(*alone).or_else(|| all.iter().find_map(|name| places.switches.get(*name)));
            return Err(places.at(own, format!("no uplink leads to the switch `{alone}`: expected all switches of {segment} connected")));
        }
    }
    Ok(())
}

/// A node whose NICs are all right, beside those machines that are there.
fn checked_node(topology: &Topology, node: Spanned<file::Node>) -> Result<Node, Finding> {
    if let Some(role) = node.value.roles.iter().find(|role| role.value != "control-plane") {
        return Err(at(role, format!("unknown role `{}`: expected control-plane, or no role for a worker", role.value)));
    }
    if node.value.labels.len() > MOST_LABELS {
        return Err(at(&node, format!("too many labels: expected at most {MOST_LABELS}")));
    }
    for (key, value) in &node.value.labels {
        let inner = |c: u8| c.is_ascii_alphanumeric() || b"-_./".contains(&c);
        if key.is_empty() || key.len() > 253 || value.value.len() > 63 || !key.bytes().chain(value.value.bytes()).all(inner) {
            return Err(at(value, format!("`{}` cannot be a label: expected letters, digits, - _ and .", key.escape_debug())));
        }
    }
    let file::Node { roles, nics, gateway, labels } = node.value;
    let nics = checked_nics(topology, nics)?;
    let gateway = checked_gateway(&nics.values().collect::<Vec<_>>(), gateway)?;
    let labels = labels.into_iter().map(|(key, value)| (key, value.value)).collect();
    Ok(Node { roles: roles.into_iter().map(|role| role.value).collect(), nics, gateway, labels })
}

/// A client whose NIC is all right.
fn checked_client(topology: &Topology, client: file::Client) -> Result<Client, Finding> {
    let nic = file::Nic { switch: Some(client.switch.clone()), ip: client.ip, mac: client.mac };
    let nic = checked_nic(topology, &stations(topology), nic)?;
    let gateway = checked_gateway(&[&nic], client.gateway)?;
    let Nic { ip, ipv6, mac, .. } = nic;
    Ok(Client { switch: client.switch.value, ip, ipv6, mac, stack: client.stack, gateway })
}

/// The NICs of a machine.
fn checked_nics(topology: &Topology, nics: Spanned<BTreeMap<String, Spanned<file::Nic>>>) -> Result<BTreeMap<String, Nic>, Finding> {
    if nics.value.is_empty() {
        return Err(at(&nics, "expected at least one NIC"));
    }
    if nics.value.len() > MOST_NICS {
        return Err(at(&nics, format!("too many NICs: expected at most {MOST_NICS}")));
    }
    let mut taken = stations(topology);
    let mut checked = BTreeMap::new();
    for (name, nic) in nics.value {
        let fits = name.len() <= LONGEST_INTERFACE_NAME && !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric());
        if !fits {
            return Err(at(&nic, format!("`{}` is not an interface's name: expected 1 to 15 letters and digits", name.escape_debug())));
        }
        let nic = checked_nic(topology, &taken, nic.value)?;
        taken.extend(addresses(&nic).map(|ip| (ip, nic.mac)));
        checked.insert(name, nic);
    }
    Ok(checked)
}

/// A NIC whose cable, addresses and MAC are all right.
fn checked_nic(topology: &Topology, taken: &[(IpNet, Option<MacAddr>)], nic: file::Nic) -> Result<Nic, Finding> {
    if let Some(switch) = &nic.switch {
        known(&topology.switches, switch, "switch")?;
    }
    let switch = nic.switch.as_ref().and_then(|switch| topology.switches.get(&switch.value));
    let segment = switch.and_then(|switch| topology.segments.get(&switch.segment));
    let (ip, ipv6) = pair(&nic.ip)?;
    for address in [Some(ip), ipv6.map(IpNet::V6)].into_iter().flatten() {
        on_segment(segment, &nic.ip, address)?;
        if taken.iter().any(|(other, _)| other.addr() == address.addr()) {
            return Err(at(&nic.ip, format!("{} is another machine's already", address.addr())));
        }
    }
    if let Some(mac) = &nic.mac {
        if !mac.value.is_unicast() {
            return Err(at(mac, format!("{} is a group address: no machine can have it", mac.value)));
        }
        if taken.iter().any(|(_, other)| *other == Some(mac.value)) {
            return Err(at(mac, format!("{} is another machine's already", mac.value)));
        }
    }
    Ok(Nic { switch: nic.switch.map(|switch| switch.value), ip, ipv6, mac: nic.mac.map(|mac| mac.value) })
}

/// One address, or one of each family.
fn pair(ips: &Spanned<OneOrMany<IpNet>>) -> Result<(IpNet, Option<Ipv6Net>), Finding> {
    match *ips.value.0.as_slice() {
        [ip] => Ok((ip, None)),
        [ip @ IpNet::V4(_), IpNet::V6(ipv6)] => Ok((ip, Some(ipv6))),
        _ => Err(at(ips, "expected one address, or one of IPv4 and one of IPv6, in this order")),
    }
}

/// An address that is its segment's, where that has a prefix of its family.
fn on_segment<T>(segment: Option<&Segment>, place: &Spanned<T>, address: IpNet) -> Result<(), Finding> {
    let Some(segment) = segment else { return Ok(()) };
    let prefix = match address {
        IpNet::V4(_) => Some(IpNet::V4(segment.ipv4)),
        IpNet::V6(_) => segment.ipv6.map(IpNet::V6),
    };
    let Some(prefix) = prefix else { return Err(at(place, format!("{address}: its segment has no IPv6: expected `ipv6` there"))) };
    if prefix.contains(&address.addr()) && prefix.prefix_len() == address.prefix_len() {
        return Ok(());
    }
    Err(at(place, format!("{address} is not on its segment: expected an address of {prefix}")))
}

/// A gateway that can be reached.
fn checked_gateway(nics: &[&Nic], gateway: Option<Spanned<IpAddr>>) -> Result<Option<IpAddr>, Finding> {
    let Some(gateway) = gateway else { return Ok(None) };
    let own = || nics.iter().flat_map(|nic| addresses(nic));
    if own().any(|net| net.addr() == gateway.value) {
        return Err(at(&gateway, format!("{} is the machine's own address: expected a router's", gateway.value)));
    }
    if !own().any(|net| net.contains(&gateway.value)) {
        return Err(at(&gateway, format!("{} is on none of the machine's segments", gateway.value)));
    }
    Ok(Some(gateway.value))
}

/// The addresses of a NIC.
fn addresses(nic: &Nic) -> impl Iterator<Item = IpNet> + use<> {
    [Some(nic.ip), nic.ipv6.map(IpNet::V6)].into_iter().flatten()
}

/// The addresses that are taken.
fn stations(topology: &Topology) -> Vec<(IpNet, Option<MacAddr>)> {
    let of_nodes = topology.nodes.values().flat_map(|node| node.nics.values());
    let nics = of_nodes.chain(topology.routers.values().flat_map(|router| router.nics.values()));
    let of_nics = nics.flat_map(|nic| addresses(nic).map(|ip| (ip, nic.mac)));
    let clients = topology.clients.values();
    let of_clients =
        clients.flat_map(|client| [Some(client.ip), client.ipv6.map(IpNet::V6)].into_iter().flatten().map(|ip| (ip, client.mac)));
    of_nics.chain(of_clients).collect()
}

/// A name that Kubernetes and a network namespace both take (RFC 1123's label).
fn name_fits<T>(name: &str, place: &Spanned<T>) -> Result<(), Finding> {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let fits = (1..=63).contains(&name.len()) && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-');
    if !fits {
        return Err(at(
            place,
            format!("`{}` cannot be a name here: expected small letters, digits and -, at most 63", name.escape_debug()),
        ));
    }
    if name == "leader" {
        return Err(at(place, "no machine can be called `leader`: that is whoever leads"));
    }
    Ok(())
}

/// A name that no other machine has, and room for one more.
fn machine_fits<T>(topology: &Topology, name: &str, place: &Spanned<T>) -> Result<(), Finding> {
    name_fits(name, place)?;
    if topology.machines().any(|machine| machine == name) {
        return Err(at(place, format!("a machine called `{name}` exists already")));
    }
    room(topology.machines().count(), MOST_MACHINES, "machines", place)
}
