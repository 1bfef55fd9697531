//! Hardware addresses of Ethernet.
//!
//! Six bytes with an order, a text form and nothing else: who holds an address is known elsewhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smoltcp::wire::EthernetAddress;

/// A MAC address (EUI-48), as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff, every station.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// 00:00:00:00:00:00, which no station has.
    pub const ZERO: Self = Self([0; 6]);

    /// Whether one station can have it: neither a group address (IEEE 802 bit 0 of the first byte) nor all zero.
    pub const fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && !matches!(self, Self::ZERO)
    }
}

impl fmt::Display for MacAddr {
    /// `52:54:22:a3:9a:d9`, as Linux prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What is wrong with a text that should be a MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address: expected six pairs of hexadecimal digits, as in 52:54:22:a3:9a:d9")]
pub struct InvalidMac(pub String);

impl FromStr for MacAddr {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let pair = parts.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|c| c.is_ascii_hexdigit()));
            *byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(|| InvalidMac(text.to_owned()))?;
        }
        if parts.next().is_some() {
            return Err(InvalidMac(text.to_owned()));
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for MacAddr {
    type Error = InvalidMac;

    fn try_from(text: String) -> Result<Self, InvalidMac> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

impl From<EthernetAddress> for MacAddr {
    fn from(address: EthernetAddress) -> Self {
        Self(address.0)
    }
}

impl From<MacAddr> for EthernetAddress {
    fn from(mac: MacAddr) -> Self {
        Self(mac.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_reads_back_as_it_was_printed() {
        let mac = MacAddr([0x52, 0x54, 0x22, 0xa3, 0x9a, 0xd9]);
        assert_eq!(mac.to_string(), "52:54:22:a3:9a:d9");
        assert_eq!("52:54:22:A3:9a:d9".parse(), Ok(mac));
    }

    #[test]
    fn what_is_no_mac_is_refused() {
        for text in ["", "52:54:22:a3:9a", "52:54:22:a3:9a:d9:00", "52-54-22-a3-9a-d9", "+2:54:22:a3:9a:d9", "525:4:22:a3:9a:d9"] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn group_addresses_and_zero_are_not_unicast() {
        assert!(!MacAddr::BROADCAST.is_unicast());
        assert!(!MacAddr::ZERO.is_unicast());
        assert!(MacAddr([0x52, 0, 0, 0, 0, 1]).is_unicast());
    }
}
