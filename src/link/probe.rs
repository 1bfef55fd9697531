//! A small client that asks one ARP question and waits for the answer: for tests and the end-to-end suite, over pnet's datalink channel.
//!
//! It blocks its thread and never listens when it does not ask, so it is no part of the program that answers. pnet is given a socket of
//! ours, because alone it opens an unfiltered one, switches promiscuous mode on and binds late (design §7). From pnet only the channel
//! is taken: its list of interfaces is not (crate documentation), and the codec is smoltcp's, as everywhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::IntoRawFd;
use std::time::{Duration, Instant};

use bellhop_core::link::{FRAME_LENGTH_MAX, InterfaceAddress, LinkError};
use bellhop_core::mac::MacAddr;
use bellhop_core::name::InterfaceName;
use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender, NetworkInterface};
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr};

use crate::interfaces;
use crate::netlink::Query;
use crate::nic::link_error;
use crate::socket::{self, PacketSocket};

/// How long one wait for a frame lasts before the deadline is looked at again.
const READ_TIMEOUT: Duration = Duration::from_millis(20);
/// The shortest frame on an Ethernet, without its check sequence (IEEE 802.3).
const FRAME_LENGTH_MIN: usize = 60;

/// An answer to "who has".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpAnswer {
    /// Whose card sent the frame: its Ethernet source.
    pub ethernet_source: MacAddr,
    /// Who is said to have the address: the ARP sender's hardware address.
    pub sender_mac: MacAddr,
}

/// Asks on `interface` who has `target`, once, and returns the first answer within `timeout`; `None` if nobody answers.
///
/// Asks from the interface's address on the target's subnet, or as an ARP probe (sender 0.0.0.0, RFC 5227 §2.1.1) if it has none.
/// Errors as those of [`crate::Nic::open`].
pub fn arp_ask(interface: &InterfaceName, target: Ipv4Addr, timeout: Duration) -> Result<Option<ArpAnswer>, LinkError> {
    let failed = |error| link_error(interface, &error);
    let found = interfaces::interfaces(&Query::open().map_err(failed)?).map_err(failed)?;
    let found = found.into_iter().find(|candidate| candidate.name == *interface).ok_or_else(|| LinkError::Gone(interface.clone()))?;
    let (mut sender, mut receiver) = channel(interface, found.mac).map_err(failed)?;
    let request = request(found.mac, sender_address(&found.addresses, target), target);
    sender.send_to(&request, None).unwrap_or_else(|| Err(io::ErrorKind::OutOfMemory.into())).map_err(failed)?;

    let deadline = Instant::now() + timeout;
    while Instant::now() < deadline {
        match receiver.next() {
            Ok(frame) => {
                if let Some(answer) = parse_answer(frame, target) {
                    return Ok(Some(answer));
                }
            }
            // pnet hands poll(2)'s timeouts and interruptions up as errors.
            Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(None)
}

/// pnet's channel over a socket of ours. pnet binds it and closes it, also when it fails.
fn channel(name: &InterfaceName, mac: MacAddr) -> io::Result<(Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>)> {
    let index = socket::interface_index(name.as_str()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
    let interface =
        NetworkInterface { name: name.to_string(), description: String::new(), index, mac: Some(mac.0.into()), ips: Vec::new(), flags: 0 };
    let config = Config {
        socket_fd: Some(PacketSocket::open()?.into_raw_fd()),
        promiscuous: false,
        read_buffer_size: FRAME_LENGTH_MAX,
        read_timeout: Some(READ_TIMEOUT),
        ..Config::default()
    };
    match pnet_datalink::channel(&interface, config)? {
        Channel::Ethernet(sender, receiver) => Ok((sender, receiver)),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Our address on the target's subnet, or 0.0.0.0.
fn sender_address(addresses: &[InterfaceAddress], target: Ipv4Addr) -> Ipv4Addr {
    let on_link = addresses.iter().filter(|address| address.contains(target.into()));
    let v4 = on_link.filter_map(|address| match address.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    v4.into_iter().next().unwrap_or(Ipv4Addr::UNSPECIFIED)
}

fn request(mac: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let ethernet = EthernetRepr { src_addr: mac.into(), dst_addr: EthernetAddress::BROADCAST, ethertype: EthernetProtocol::Arp };
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: mac.into(),
        source_protocol_addr: sender,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    let mut bytes = vec![0; FRAME_LENGTH_MIN];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    ethernet.emit(&mut frame);
    arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    bytes
}

/// The answer that a frame gives for `target`, if it is one.
fn parse_answer(frame: &[u8], target: Ipv4Addr) -> Option<ArpAnswer> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    let arp = ArpRepr::parse(&ArpPacket::new_checked(frame.payload()).ok()?).ok()?;
    match arp {
        ArpRepr::EthernetIpv4 { operation: ArpOperation::Reply, source_hardware_addr, source_protocol_addr, .. }
            if source_protocol_addr == target =>
        {
            Some(ArpAnswer { ethernet_source: frame.src_addr().into(), sender_mac: source_hardware_addr.into() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: MacAddr = MacAddr([0x52, 0x54, 0x22, 0xa3, 0x9a, 0xd9]);
    const TARGET: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 91);

    #[test]
    fn an_answer_tells_the_card_from_the_sender() {
        let mut frame = request(MAC, TARGET, TARGET);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        frame[21] = 2;
        let answer = ArpAnswer { ethernet_source: MacAddr([2, 0, 0, 0, 0, 9]), sender_mac: MAC };
        assert_eq!(parse_answer(&frame, TARGET), Some(answer));
        assert_eq!(parse_answer(&frame, Ipv4Addr::new(192, 168, 0, 92)), None);
    }

    #[test]
    fn a_request_is_no_answer() {
        assert_eq!(parse_answer(&request(MAC, TARGET, TARGET), TARGET), None);
    }

    #[test]
    fn one_without_an_address_on_the_subnet_asks_as_a_probe() {
        let address = |text: &str| InterfaceAddress { address: text.parse().expect("a literal"), prefix_length: 24 };
        assert_eq!(sender_address(&[address("10.0.0.1"), address("192.168.0.2")], TARGET), Ipv4Addr::new(192, 168, 0, 2));
        assert_eq!(sender_address(&[address("10.0.0.1")], TARGET), Ipv4Addr::UNSPECIFIED);
    }

    proptest! {
        #[test]
        fn no_bytes_make_parsing_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse_answer(&bytes, TARGET);
        }
    }
}
