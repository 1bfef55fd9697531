//! The addresses of a pool: reading `spec.address`, and counting in both families without overflow.
//!
//! A pool is a list of ranges in the order that the user wrote. It knows neither who uses an address (see [`crate::allocation`]) nor
//! which object it came from.
//!
//! Forms, as PorterLB had them: one address, a CIDR (its host bits are ignored), `first-last`; and, ours, comma lists of these.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::object::Family;
use crate::text;

/// More ranges in one pool than this are a mistake, and every allocation would walk them.
const RANGES_MAX: usize = 256;

/// From an IPv4 network this wide on, its first and last address are the network's and broadcast's to many stacks (porterlb-compat #425).
const WIDE_V4_PREFIX: u8 = 24;

/// Inclusive bounds of one family, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressRange {
    first: u128,
    last: u128,
}

impl AddressRange {
    /// The lowest address, as a number.
    pub const fn first(self) -> u128 {
        self.first
    }

    /// The highest address, as a number.
    pub const fn last(self) -> u128 {
        self.last
    }

    const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// The addresses of one pool: disjoint ranges of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressPool {
    family: Family,
    ranges: Vec<AddressRange>,
    /// Lie in a range, and are never handed out by choice: a network's first and last address.
    kept_back: Vec<u128>,
}

/// Why a text is no pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPool {
    /// Nothing there.
    #[error("the address is empty: give an address, a CIDR, a range `first-last`, or a comma list of them")]
    Empty,
    /// One part is of no known form.
    #[error("`{0}` is not an address, a CIDR or a range `first-last`")]
    Syntax(String),
    /// The bounds are the wrong way round.
    #[error("the range `{0}` is reversed: its first address is above its last")]
    Reversed(String),
    /// The bounds, or the parts, are of two families.
    #[error("`{0}` mixes IPv4 and IPv6: make one Eip of each")]
    MixedFamilies(String),
    /// Two parts share an address.
    #[error("`{0}` overlaps another part of the same pool")]
    Overlap(String),
    /// Holds addresses that no Service can have.
    #[error("`{0}` holds {1}, which no Service can have")]
    Unusable(String, &'static str),
    /// Too many parts.
    #[error("more than {RANGES_MAX} ranges")]
    TooManyRanges,
}

impl AddressPool {
    /// Reads `spec.address`. With `use_known`, a network's first and last address are handed out like any other (`spec.usingKnownIPs`).
    pub fn parse(text: &str, use_known: bool) -> Result<Self, InvalidPool> {
        if text.trim().is_empty() {
            return Err(InvalidPool::Empty);
        }
        let mut pool: Option<Self> = None;
        for part in text.split(',').map(str::trim) {
            let (family, range, kept_back) = parse_part(part)?;
            let pool = pool.get_or_insert(Self { family, ranges: Vec::new(), kept_back: Vec::new() });
            if family != pool.family {
                return Err(InvalidPool::MixedFamilies(text::quoted(text).into_owned()));
            }
            if pool.ranges.iter().any(|other| other.overlaps(range)) {
                return Err(InvalidPool::Overlap(text::quoted(part).into_owned()));
            }
            if pool.ranges.len() == RANGES_MAX {
                return Err(InvalidPool::TooManyRanges);
            }
            pool.ranges.push(range);
            if !use_known {
                pool.kept_back.extend(kept_back);
            }
        }
        pool.ok_or(InvalidPool::Empty)
    }

    /// The family of all its addresses.
    pub const fn family(&self) -> Family {
        self.family
    }

    /// Its ranges in the order written.
    pub fn ranges(&self) -> &[AddressRange] {
        &self.ranges
    }

    /// Addresses that are never handed out by choice, as numbers.
    pub fn kept_back(&self) -> &[u128] {
        &self.kept_back
    }

    /// Whether the pool may give this address to somebody who asks for it by name.
    pub fn contains(&self, address: IpAddr) -> bool {
        let number = number_of(address);
        Family::of(address) == self.family
            && self.ranges.iter().any(|range| range.first <= number && number <= range.last)
            && !self.kept_back.contains(&number)
    }

    /// How many addresses can be handed out; saturates at [`u64::MAX`].
    pub fn size(&self) -> u64 {
        let total = self.ranges.iter().fold(0u128, |sum, range| sum.saturating_add((range.last - range.first).saturating_add(1)));
        u64::try_from(total.saturating_sub(self.kept_back.len() as u128)).unwrap_or(u64::MAX)
    }

    /// The first address as written: `status.firstIP`.
    pub fn first(&self) -> IpAddr {
        self.address(self.ranges[0].first)
    }

    /// The last address as written: `status.lastIP`.
    pub fn last(&self) -> IpAddr {
        self.address(self.ranges[self.ranges.len() - 1].last)
    }

    /// The address of this number in the pool's family.
    pub fn address(&self, number: u128) -> IpAddr {
        match self.family {
            Family::V4 => Ipv4Addr::from_bits(number as u32).into(),
            Family::V6 => Ipv6Addr::from_bits(number).into(),
        }
    }

    /// Whether the two pools share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.family == other.family && self.ranges.iter().any(|ours| other.ranges.iter().any(|theirs| ours.overlaps(*theirs)))
    }
}

impl fmt::Display for AddressPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, range) in self.ranges.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            write!(f, "{}", self.address(range.first))?;
            if range.last > range.first {
                write!(f, "-{}", self.address(range.last))?;
            }
        }
        Ok(())
    }
}

/// An address as a number within its family.
pub const fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits() as u128,
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn parse_part(part: &str) -> Result<(Family, AddressRange, Vec<u128>), InvalidPool> {
    let quoted = || text::quoted(part).into_owned();
    let syntax = || InvalidPool::Syntax(quoted());
    let (family, range, kept_back) = if let Some((first, last)) = part.split_once('-') {
        let first: IpAddr = first.trim().parse().map_err(|_| syntax())?;
        let last: IpAddr = last.trim().parse().map_err(|_| syntax())?;
        if Family::of(first) != Family::of(last) {
            return Err(InvalidPool::MixedFamilies(quoted()));
        }
        if first > last {
            return Err(InvalidPool::Reversed(quoted()));
        }
        (Family::of(first), AddressRange { first: number_of(first), last: number_of(last) }, Vec::new())
    } else if part.contains('/') {
        let network: IpNet = part.parse().map_err(|_| syntax())?;
        let range = AddressRange { first: number_of(network.network()), last: number_of(network.broadcast()) };
        (Family::of(network.addr()), range, kept_back_of(network, range))
    } else {
        let address: IpAddr = part.parse().map_err(|_| syntax())?;
        (Family::of(address), AddressRange { first: number_of(address), last: number_of(address) }, Vec::new())
    };
    match unusable(family).iter().find(|(unusable, _)| unusable.overlaps(range)) {
        Some((_, what)) => Err(InvalidPool::Unusable(quoted(), what)),
        None => Ok((family, range, kept_back)),
    }
}

/// The first and last address of a wide IPv4 network; the subnet-router anycast address of an IPv6 prefix (RFC 4291 §2.6.1).
fn kept_back_of(network: IpNet, range: AddressRange) -> Vec<u128> {
    match network {
        IpNet::V4(network) if network.prefix_len() <= WIDE_V4_PREFIX => vec![range.first, range.last],
        IpNet::V6(network) if network.prefix_len() < 128 => vec![range.first],
        _ => Vec::new(),
    }
}

/// What can be no Service's: RFC 1122 §3.2.1.3 and RFC 5735 for IPv4, RFC 4291 §2.4 for IPv6.
fn unusable(family: Family) -> [(AddressRange, &'static str); 3] {
    let v4 = |first: [u8; 4], last: [u8; 4]| AddressRange {
        first: u128::from(u32::from_be_bytes(first)),
        last: u128::from(u32::from_be_bytes(last)),
    };
    match family {
        Family::V4 => [
            (v4([0, 0, 0, 0], [0, 255, 255, 255]), "addresses of \"this network\" (0.0.0.0/8)"),
            (v4([127, 0, 0, 0], [127, 255, 255, 255]), "loopback addresses (127.0.0.0/8)"),
            (v4([224, 0, 0, 0], [255, 255, 255, 255]), "multicast or reserved addresses (224.0.0.0/3)"),
        ],
        Family::V6 => [
            (AddressRange { first: 0, last: 1 }, "the unspecified or the loopback address (::, ::1)"),
            (AddressRange { first: 0xff << 120, last: u128::MAX }, "multicast addresses (ff00::/8)"),
            (AddressRange { first: 0xfe80 << 112, last: (0xfec0 << 112) - 1 }, "link-local addresses (fe80::/10)"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pool(text: &str) -> AddressPool {
        AddressPool::parse(text, false).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn the_tutorials_range_has_ten_addresses() {
        let pool = pool("192.168.0.91-192.168.0.100");
        assert_eq!(pool.size(), 10);
        assert_eq!(pool.first(), IpAddr::from([192, 168, 0, 91]));
        assert_eq!(pool.last(), IpAddr::from([192, 168, 0, 100]));
    }

    #[test]
    fn a_single_address_is_a_pool_of_one() {
        assert_eq!(pool("192.0.2.7").size(), 1);
        assert_eq!(pool("2001:db8::7").size(), 1);
    }

    #[test]
    fn a_cidr_counts_from_its_network_address() {
        assert_eq!(pool("192.0.2.77/28").first(), IpAddr::from([192, 0, 2, 64]));
        assert_eq!(pool("192.0.2.77/28").size(), 16);
    }

    #[test]
    fn a_wide_network_keeps_its_first_and_last_address_back_unless_told() {
        assert_eq!(pool("192.0.2.0/24").size(), 254);
        assert!(!pool("192.0.2.0/24").contains([192, 0, 2, 255].into()));
        assert_eq!(AddressPool::parse("192.0.2.0/24", true).map(|pool| pool.size()), Ok(256));
        assert_eq!(pool("192.0.2.0-192.0.2.255").size(), 256, "a range hands out exactly what it says");
    }

    #[test]
    fn a_list_keeps_the_order_written() {
        let pool = pool("192.0.2.40, 192.0.2.8/30 ,192.0.2.1-192.0.2.3");
        assert_eq!(pool.size(), 8);
        assert_eq!(pool.to_string(), "192.0.2.40,192.0.2.8-192.0.2.11,192.0.2.1-192.0.2.3");
    }

    #[test]
    fn the_size_of_a_huge_prefix_saturates() {
        assert_eq!(pool("2001:db8::/32").size(), u64::MAX);
        assert_eq!(pool("2001:db8::/64").size(), u64::MAX);
        assert_eq!(pool("2001:db8::/66").size(), (1 << 62) - 1);
    }

    #[test]
    fn what_is_no_pool_says_what_is_wrong() {
        let why = |text| AddressPool::parse(text, false).expect_err(text);
        assert_eq!(why(" "), InvalidPool::Empty);
        assert!(matches!(why("192.168.0.91-"), InvalidPool::Syntax(_)));
        assert!(matches!(why("192.168.0.0/33"), InvalidPool::Syntax(_)));
        assert!(matches!(why("a-b-c"), InvalidPool::Syntax(_)));
        assert!(matches!(why("192.168.0.100-192.168.0.91"), InvalidPool::Reversed(_)));
        assert!(matches!(why("192.168.0.1-2001:db8::1"), InvalidPool::MixedFamilies(_)));
        assert!(matches!(why("192.168.0.1,2001:db8::1"), InvalidPool::MixedFamilies(_)));
        assert!(matches!(why("192.168.0.1,192.168.0.0/30"), InvalidPool::Overlap(_)));
        assert!(matches!(why("::/0"), InvalidPool::Unusable(..)));
        assert!(matches!(why("0.0.0.0/0"), InvalidPool::Unusable(..)));
        assert!(matches!(why("224.0.0.1"), InvalidPool::Unusable(..)));
    }

    #[test]
    fn overlap_is_seen_across_forms_and_not_across_families() {
        assert!(pool("192.0.2.0/24").overlaps(&pool("192.0.2.255-192.0.3.4")));
        assert!(!pool("192.0.2.0/25").overlaps(&pool("192.0.2.128/25")));
        assert!(!pool("192.0.2.1").overlaps(&pool("2001:db8::1")));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9a-f:./, -]{0,60}") {
            let _ = AddressPool::parse(&text, false);
        }

        #[test]
        fn every_range_holds_its_ends_and_prints_as_it_reads(first: u32, length in 0u32..5000) {
            let last = first.saturating_add(length);
            let text = format!("{}-{}", Ipv4Addr::from(first), Ipv4Addr::from(last));
            if let Ok(pool) = AddressPool::parse(&text, false) {
                prop_assert_eq!(pool.size(), u64::from(last - first) + 1);
                prop_assert!(pool.contains(Ipv4Addr::from(first).into()) && pool.contains(Ipv4Addr::from(last).into()));
                prop_assert_eq!(AddressPool::parse(&pool.to_string(), false), Ok(pool));
            }
        }
    }
}
