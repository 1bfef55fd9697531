//! TCP for one address: smoltcp's Interface on `Medium::Ip`, with its two ends as queues of packets.
//!
//! It knows nothing of Ethernet, neighbors or routes: packets for its address go in, packets of it come out. smoltcp counts in
//! microseconds, so a deadline is rounded up.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use bellhop_core::time::Instant;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{HardwareAddress, IpCidr, IpEndpoint};

use crate::packet::HEADROOM;

/// Bytes of each of a socket's two buffers: an HTTP request or answer of ours fits.
const BUFFER: usize = 1024;

/// One address's TCP.
pub(crate) struct TcpStack {
    /// smoltcp's machine.
    interface: Interface,
    /// Its sockets.
    sockets: SocketSet<'static>,
    /// Sockets that nobody uses any more and that still have to say goodbye.
    retired: Vec<SocketHandle>,
    /// Packets in and out.
    wire: Wire,
}

/// Retired sockets that are kept; the oldest is forgotten beyond, so that peers that died cost nothing.
const RETIRED_MAX: usize = 64;

impl TcpStack {
    /// A stack that has `address`; initial sequence numbers come from `seed`.
    pub(crate) fn new(now: Instant, address: IpAddr, seed: u64) -> Self {
        let mut wire = Wire::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wire, smol(now));
        interface.update_ip_addrs(|addresses| {
            // The list is empty and holds at least one (smoltcp's IFACE_MAX_ADDR_COUNT).
            let _full = addresses.push(IpCidr::new(address.into(), if address.is_ipv4() { 32 } else { 128 }));
        });
        // Any gateway will do on a medium without link-layer addresses: it only says that everything is reachable.
        let _full = match address {
            IpAddr::V4(v4) => interface.routes_mut().add_default_ipv4_route(v4),
            IpAddr::V6(v6) => interface.routes_mut().add_default_ipv6_route(v6),
        };
        Self { interface, sockets: SocketSet::new(Vec::new()), retired: Vec::new(), wire }
    }

    /// Takes in a packet, behind its headroom. What comes of it is there after [`TcpStack::poll`].
    pub(crate) fn receive(&mut self, packet: Vec<u8>) {
        self.wire.inbound.push_back(packet);
    }

    /// Lets smoltcp work off what came in and what is due.
    pub(crate) fn poll(&mut self, now: Instant) {
        self.interface.poll(smol(now), &mut self.wire, &mut self.sockets);
        let sockets = &mut self.sockets;
        self.retired.retain(|handle| {
            let over = matches!(sockets.get::<Socket<'_>>(*handle).state(), State::Closed | State::TimeWait);
            if over {
                sockets.remove(*handle);
            }
            !over
        });
    }

    /// Takes the next packet to send, behind its headroom.
    pub(crate) fn take_packet(&mut self) -> Option<Vec<u8>> {
        self.wire.outbound.pop_front()
    }

    /// When it wants to be polled next, later than `now`.
    pub(crate) fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(smol(now), &self.sockets)?;
        let nanos = u64::try_from(at.total_micros()).unwrap_or(0).saturating_mul(1000);
        Some(Instant::from_nanos(nanos.max(now.as_nanos() + 1000)))
    }

    /// A new socket, closed.
    pub(crate) fn open(&mut self) -> SocketHandle {
        self.sockets.add(Socket::new(SocketBuffer::new(vec![0; BUFFER]), SocketBuffer::new(vec![0; BUFFER])))
    }

    /// Starts to connect. `false` if smoltcp will not (a port or address of zero).
    pub(crate) fn connect(&mut self, handle: SocketHandle, local: SocketAddr, remote: SocketAddr) -> bool {
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        socket.connect(self.interface.context(), IpEndpoint::from(remote), IpEndpoint::from(local)).is_ok()
    }

    /// A socket.
    pub(crate) fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Forgets a socket once its connection is closed on both sides.
    pub(crate) fn retire(&mut self, handle: SocketHandle) {
        if self.retired.len() >= RETIRED_MAX {
            self.sockets.remove(self.retired.remove(0));
        }
        self.retired.push(handle);
    }

    /// Forgets a socket.
    pub(crate) fn remove(&mut self, handle: SocketHandle) {
        self.sockets.remove(handle);
    }
}

/// smoltcp's form of a moment.
fn smol(now: Instant) -> SmolInstant {
    SmolInstant::from_micros(i64::try_from(now.as_nanos() / 1000).unwrap_or(i64::MAX))
}

/// The device that smoltcp sees.
#[derive(Default)]
struct Wire {
    /// To be read by smoltcp.
    inbound: VecDeque<Vec<u8>>,
    /// Written by smoltcp.
    outbound: VecDeque<Vec<u8>>,
}

/// A packet being read.
struct Inbound(Vec<u8>);

/// A packet being written.
struct Outbound<'a>(&'a mut VecDeque<Vec<u8>>);

impl Device for Wire {
    type RxToken<'a> = Inbound;
    type TxToken<'a> = Outbound<'a>;

    fn receive(&mut self, _: SmolInstant) -> Option<(Inbound, Outbound<'_>)> {
        let packet = self.inbound.pop_front()?;
        Some((Inbound(packet), Outbound(&mut self.outbound)))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<Outbound<'_>> {
        Some(Outbound(&mut self.outbound))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1500;
        capabilities
    }
}

impl RxToken for Inbound {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0.get(HEADROOM..).unwrap_or_default())
    }
}

impl TxToken for Outbound<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut packet = vec![0; HEADROOM + length];
        let result = f(&mut packet[HEADROOM..]);
        self.0.push_back(packet);
        result
    }
}
