//! One network card: frames in and out over packet sockets that the kernel filters for us.
//!
//! Decides what a system's error means for a link (gone, down, not permitted, busy) and counts what it drops. It does not know what
//! frames say. The hot path is a hand-driven `AsyncFd`: wait with [`Nic::poll_readable`], then [`Nic::receive`] until it has none.
//!
//! One socket is bound to ARP and one to IPv6, none to all EtherTypes: a busy node pays nothing for its other traffic, and for IPv6 the few steps of a filter
//! that keeps only neighbor discovery. They are heard in turn, so that a storm of the one does not keep the other waiting. On a card that is a port of a bridge the bridge takes the frames first: open the bridge.
//! A card that goes down and up again needs no new socket; one that is removed does, even if another comes under its name.

use std::cell::Cell;
use std::io;
use std::net::Ipv6Addr;
use std::task::{Context, Poll};

use bellhop_core::link::{LinkError, LinkLayer};
use bellhop_core::name::InterfaceName;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::memberships::Memberships;
use crate::socket::{self, PacketSocket};

/// An open network card. Dropping it closes its sockets, and leaves its groups.
pub struct Nic {
    /// As it was when the card was opened.
    name: InterfaceName,
    /// The kernel's number for it, never given twice: tells this card from a later one of the same name.
    index: u32,
    /// For ARP and for IPv6, known to tokio.
    sockets: [AsyncFd<PacketSocket>; 2],
    /// Which of them is asked first the next time.
    turn: usize,
    groups: Memberships,
    /// Frames that were longer than the buffer they were received into.
    too_long: u64,
    /// Frames that found the socket's queue full. A cell, since the kernel forgets its own count when asked.
    queue_full: Cell<u64>,
}

impl Nic {
    /// Opens the card with filter in place. A card that is down opens as well: its state is for [`crate::Interfaces`] to tell.
    ///
    /// Errors: [`LinkError::Gone`] when there is none of that name, [`LinkError::NotPermitted`] without CAP_NET_RAW.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn open(name: &InterfaceName) -> Result<Self, LinkError> {
        let index = socket::interface_index(name.as_str()).ok_or_else(|| LinkError::Gone(name.clone()))?;
        // ETH_P_ARP and ETH_P_IPV6 rather than ETH_P_ALL: see the module.
        let sockets = [hear(name, index, libc::ETH_P_ARP)?, hear(name, index, libc::ETH_P_IPV6)?];
        Ok(Self { name: name.clone(), index, sockets, turn: 0, groups: Memberships::new(index), too_long: 0, queue_full: Cell::new(0) })
    }

    /// The card's name.
    pub fn name(&self) -> &InterfaceName {
        &self.name
    }

    /// Ready when [`LinkLayer::receive`] may have a frame. Not woken by a card that goes down or away:
    /// [`crate::Interfaces::changed`] is, and the next call of `receive` or `send` says so.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ready = |socket: &AsyncFd<PacketSocket>| match socket.poll_read_ready(cx) {
            // An error is the end of the runtime; `receive` will tell.
            Poll::Ready(readiness) => {
                if let Ok(mut guard) = readiness {
                    // `receive` clears it, by `try_io`, once there is no more.
                    guard.retain_ready();
                }
                true
            }
            Poll::Pending => false,
        };
        // Both are asked, so that both wake.
        let [arp, ipv6] = &self.sockets;
        if ready(arp) | ready(ipv6) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Frames that were dropped here since the card was opened, by reason. What the filter drops, the kernel does not count.
    pub fn ignored(&self) -> Vec<(&'static str, u64)> {
        for drops in self.sockets.iter().filter_map(|socket| socket.get_ref().take_queue_drops().ok()) {
            self.queue_full.set(self.queue_full.get() + drops);
        }
        vec![("queue_full", self.queue_full.get()), ("too_long", self.too_long)]
    }

    /// What ENETDOWN means now: it is set on the socket when the card goes down and read later, when the card may be up again (`None`).
    fn not_running(&self) -> Option<LinkError> {
        if socket::interface_index(self.name.as_str()) != Some(self.index) {
            return Some(LinkError::Gone(self.name.clone()));
        }
        match self.sockets[0].get_ref().is_set_up(self.name.as_str()) {
            Some(true) => None,
            Some(false) => Some(LinkError::Down(self.name.clone())),
            None => Some(LinkError::Gone(self.name.clone())),
        }
    }
}

impl Nic {
    /// The next frame of one socket.
    fn receive_from(&mut self, which: usize, buffer: &mut [u8]) -> Result<Option<usize>, LinkError> {
        loop {
            match self.sockets[which].try_io(Interest::READABLE, |socket| socket.receive(buffer)) {
                Ok(length) if length > buffer.len() => self.too_long += 1,
                Ok(length) => return Ok(Some(length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Reading the error has taken it off the socket, so going on ends.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {
                    if let Some(error) = self.not_running() {
                        return Err(error);
                    }
                }
                Err(error) => return Err(link_error(&self.name, &error)),
            }
        }
    }
}

impl LinkLayer for Nic {
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, LinkError> {
        for _ in 0..self.sockets.len() {
            let which = self.turn;
            self.turn = (which + 1) % self.sockets.len();
            if let Some(length) = self.receive_from(which, buffer)? {
                return Ok(Some(length));
            }
        }
        Ok(None)
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), LinkError> {
        // Either will do: a raw frame brings its own EtherType.
        self.sockets[0].get_ref().send(frame).map_err(|error| match error.raw_os_error() {
            // Up again since: the frame is lost all the same.
            Some(libc::ENETDOWN) => self.not_running().unwrap_or_else(|| LinkError::Down(self.name.clone())),
            _ => link_error(&self.name, &error),
        })
    }

    fn join(&mut self, group: Ipv6Addr) -> Result<(), LinkError> {
        self.groups.join(group).map_err(|error| link_error(&self.name, &error))
    }

    fn leave(&mut self, group: Ipv6Addr) {
        self.groups.leave(group);
    }
}

/// A socket that hears one EtherType of a card. tokio knows it before the first frame can arrive.
fn hear(name: &InterfaceName, index: u32, protocol: libc::c_int) -> Result<AsyncFd<PacketSocket>, LinkError> {
    let socket = PacketSocket::open().map_err(|error| link_error(name, &error))?;
    // SAFETY: PacketSocket owns its descriptor, never gives it up by reference and always names the same one.
    let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }
        .map_err(|error| link_error(name, &io::Error::from(error)))?;
    socket.get_ref().bind(index, protocol).map_err(|error| link_error(name, &error))?;
    Ok(socket)
}

/// The meaning of a system's error on a packet socket (net/packet/af_packet.c).
pub(crate) fn link_error(interface: &InterfaceName, error: &io::Error) -> LinkError {
    let name = interface.clone();
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => LinkError::NotPermitted(name),
        Some(libc::ENODEV | libc::ENXIO) => LinkError::Gone(name),
        Some(libc::ENETDOWN) => LinkError::Down(name),
        Some(libc::EAGAIN | libc::ENOBUFS) => LinkError::Busy(name),
        _ => LinkError::Other { interface: name, message: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_card_has_is_gone() {
        for name in ["nosuchnic0", "", "a-name-longer-than-linux-allows", "nul\0"] {
            let name = InterfaceName::from(name);
            assert_eq!(Nic::open(&name).err(), Some(LinkError::Gone(name)));
        }
    }

    #[test]
    fn a_refused_socket_names_interface_and_capability() {
        let error = link_error(&"eth0".into(), &io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(error.to_string(), "opening a raw socket on interface eth0 needs the capability NET_RAW (CAP_NET_RAW)");
    }
}
