//! Which NIC of this machine serves a pool (design: "Who answers").
//!
//! The pool's own word first (`interface`, by name or by what can be reached through it), then the annotation on Bellhop's own node,
//! then the NIC whose subnet holds the pool. The choice is a pure function of what the machine has at the moment; it knows
//! nothing of how interfaces are found out or opened.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::link::Interface;
use crate::name::InterfaceName;
use crate::pool::AddressPool;

/// `IFNAMSIZ` of Linux, less the terminating zero.
const NAME_LENGTH_MAX: usize = 15;

/// `Eip.spec.interface`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InterfaceSelector {
    /// By name.
    Name(InterfaceName),
    /// `can_reach:<ip>`: the one that the routing table sends to this address by.
    CanReach(IpAddr),
}

/// What is wrong with a text that should select an interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no interface: give a name such as eth0 (at most {NAME_LENGTH_MAX} characters), or can_reach:<address>")]
pub struct InvalidSelector(pub String);

impl FromStr for InterfaceSelector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        let invalid = || InvalidSelector(crate::text::quoted(text).into_owned());
        let trimmed = text.trim();
        if let Some(address) = trimmed.strip_prefix("can_reach:") {
            return address.trim().parse().map(Self::CanReach).map_err(|_| invalid());
        }
        // What Linux takes as a name: dev_valid_name() in net/core/dev.c.
        let valid = !trimmed.is_empty()
            && trimmed.len() <= NAME_LENGTH_MAX
            && trimmed != "."
            && trimmed != ".."
            && !trimmed.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
        valid.then(|| Self::Name(trimmed.into())).ok_or_else(invalid)
    }
}

impl fmt::Display for InterfaceSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::CanReach(address) => write!(f, "can_reach:{address}"),
        }
    }
}

/// What this machine has at the moment.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Its interfaces, by name.
    pub interfaces: BTreeMap<InterfaceName, Interface>,
    /// Which interface leads to each address that a pool wants reached.
    pub routes: BTreeMap<IpAddr, Option<InterfaceName>>,
    /// The layer 2 address that the annotation on Bellhop's own node gives, if any.
    pub own_address: Option<IpAddr>,
}

/// Why no interface serves a pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoInterface {
    /// None of that name.
    #[error("no interface {0} on this machine")]
    Unknown(InterfaceName),
    /// No route, or the address is the machine's own.
    #[error("no interface leads to {0}: can_reach must name an address of the LAN that is not this machine's own")]
    Unreachable(IpAddr),
    /// No interface has an address on the pool's subnet.
    #[error("no interface has an address on the subnet of {0}: set spec.interface")]
    NoSubnet(IpAddr),
}

/// The interface that serves `pool`.
pub fn choose(selector: Option<&InterfaceSelector>, pool: &AddressPool, machine: &Machine) -> Result<InterfaceName, NoInterface> {
    match selector {
        Some(InterfaceSelector::Name(name)) if machine.interfaces.contains_key(name) => Ok(name.clone()),
        Some(InterfaceSelector::Name(name)) => Err(NoInterface::Unknown(name.clone())),
        Some(InterfaceSelector::CanReach(address)) => {
            machine.routes.get(address).cloned().flatten().ok_or(NoInterface::Unreachable(*address))
        }
        None => machine
            .own_address
            .and_then(|own| interface_with(machine, |address| address.address == own))
            .or_else(|| interface_with(machine, |address| address.contains(pool.first()) && address.contains(pool.last())))
            .ok_or_else(|| NoInterface::NoSubnet(pool.first())),
    }
}

fn interface_with(machine: &Machine, matches: impl Fn(&crate::link::InterfaceAddress) -> bool) -> Option<InterfaceName> {
    machine.interfaces.values().find(|interface| interface.addresses.iter().any(&matches)).map(|interface| interface.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::InterfaceAddress;
    use crate::mac::MacAddr;

    /// The tutorial's master1: eth0 192.168.0.2, eth1 192.168.1.2.
    fn master1() -> Machine {
        let interface = |name: &str, address: [u8; 4]| Interface {
            name: name.into(),
            mac: MacAddr([0x52, 0x54, 0x22, 0xa3, 0x9a, address[2]]),
            up: true,
            addresses: vec![InterfaceAddress { address: address.into(), prefix_length: 24 }],
        };
        let interfaces = [interface("eth0", [192, 168, 0, 2]), interface("eth1", [192, 168, 1, 2])];
        Machine { interfaces: interfaces.into_iter().map(|each| (each.name.clone(), each)).collect(), ..Machine::default() }
    }

    fn chosen(selector: Option<&str>, pool: &str, machine: &Machine) -> Result<InterfaceName, NoInterface> {
        let selector = selector.map(|text| text.parse().expect("a selector"));
        choose(selector.as_ref(), &AddressPool::parse(pool, false).expect("a pool"), machine)
    }

    #[test]
    fn a_named_interface_is_taken_if_it_is_there() {
        assert_eq!(chosen(Some("eth1"), "192.168.0.91", &master1()), Ok("eth1".into()));
        assert_eq!(chosen(Some("eth7"), "192.168.0.91", &master1()), Err(NoInterface::Unknown("eth7".into())));
    }

    #[test]
    fn can_reach_asks_the_routing_table() {
        let mut machine = master1();
        let gateway = IpAddr::from([192, 168, 1, 1]);
        machine.routes.insert(gateway, Some("eth1".into()));
        assert_eq!(chosen(Some("can_reach:192.168.1.1"), "192.168.0.91", &machine), Ok("eth1".into()));
        machine.routes.insert(gateway, None);
        assert_eq!(chosen(Some("can_reach:192.168.1.1"), "192.168.0.91", &machine), Err(NoInterface::Unreachable(gateway)));
    }

    #[test]
    fn the_annotation_on_our_own_node_outranks_the_subnet() {
        let mut machine = master1();
        assert_eq!(chosen(None, "192.168.0.91", &machine), Ok("eth0".into()));
        machine.own_address = Some([192, 168, 1, 2].into());
        assert_eq!(chosen(None, "192.168.0.91", &machine), Ok("eth1".into()));
    }

    #[test]
    fn a_pool_on_no_subnet_of_ours_says_so() {
        assert_eq!(chosen(None, "203.0.113.7", &master1()), Err(NoInterface::NoSubnet([203, 0, 113, 7].into())));
    }

    #[test]
    fn what_no_interface_can_be_called_is_refused() {
        for text in ["", "eth0/1", "a:b", "can_reach:", "can_reach:eth0", "sixteen-letters-", "..", "a b"] {
            assert!(text.parse::<InterfaceSelector>().is_err(), "{text:?}");
        }
        assert_eq!("eth0".parse(), Ok(InterfaceSelector::Name("eth0".into())));
    }
}
