//! The links that are open.
//!
//! Opens, closes, reads and sends as told; what a frame means and which interface is needed is the core's business. An interface that fails is closed
//! and reported, and is opened again only when the core asks for it.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::task::{Context, Poll};

use bellhop_core::link::{FRAME_LENGTH_MAX, LinkError};
use bellhop_core::name::InterfaceName;

use crate::env::{Link, Links};

/// Frames taken from one link before the others have their turn.
const TURN: usize = 64;

/// Open links by interface.
#[derive(Default)]
pub(crate) struct Ports {
    open: BTreeMap<InterfaceName, Port>,
}

struct Port {
    link: Box<dyn Link>,
    /// Frames that could not be sent.
    send_errors: u64,
}

impl Ports {
    /// Opens an interface, or leaves it open.
    pub(crate) fn open(&mut self, links: &dyn Links, interface: &InterfaceName) -> Result<(), LinkError> {
        if !self.open.contains_key(interface) {
            let link = links.open(interface)?;
            self.open.insert(interface.clone(), Port { link, send_errors: 0 });
        }
        Ok(())
    }

    /// Closes an interface.
    pub(crate) fn close(&mut self, interface: &InterfaceName) {
        self.open.remove(interface);
    }

    /// Listens to an IPv6 group on an interface that is open.
    pub(crate) fn join(&mut self, interface: &InterfaceName, group: Ipv6Addr) -> Result<(), LinkError> {
        self.open.get_mut(interface).map_or(Ok(()), |port| port.link.join(group))
    }

    /// Listens to it no more.
    pub(crate) fn leave(&mut self, interface: &InterfaceName, group: Ipv6Addr) {
        if let Some(port) = self.open.get_mut(interface) {
            port.link.leave(group);
        }
    }

    /// Sends a frame. One that cannot be sent is lost and counted, as on any Ethernet; ARP repeats itself. An error means that the interface
    /// is of no use any more, and closed.
    pub(crate) fn send(&mut self, interface: &InterfaceName, frame: &[u8]) -> Result<(), LinkError> {
        let Some(port) = self.open.get_mut(interface) else { return Ok(()) };
        let Err(error) = port.link.send(frame) else { return Ok(()) };
        port.send_errors += 1;
        if is_passing(&error) {
            return Ok(());
        }
        self.open.remove(interface);
        Err(error)
    }

    /// Hands every frame that is there to `take`. Ready if there was one, or an interface failed and was closed: it then is in `failed`.
    pub(crate) fn poll_frames(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(&InterfaceName, &[u8]),
        failed: &mut Vec<(InterfaceName, LinkError)>,
    ) -> Poll<()> {
        let mut buffer = [0; FRAME_LENGTH_MAX];
        let mut any = false;
        for (interface, port) in &mut self.open {
            for _ in 0..TURN {
                if port.link.poll_readable(cx).is_pending() {
                    break;
                }
                match port.link.receive(&mut buffer) {
                    Ok(Some(length)) => take(interface, buffer.get(..length).unwrap_or_default()),
                    Ok(None) => continue,
                    Err(error) if is_passing(&error) => continue,
                    Err(error) => {
                        failed.push((interface.clone(), error));
                        break;
                    }
                }
                any = true;
            }
        }
        for (interface, _) in failed.iter() {
            self.open.remove(interface);
        }
        if any || !failed.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Each open interface with its frames that could not be sent and those that its link dropped, by reason.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&InterfaceName, u64, Vec<(&'static str, u64)>)> {
        self.open.iter().map(|(interface, port)| (interface, port.send_errors, port.link.ignored()))
    }
}

/// A full queue and a lost carrier pass; the interface is still what it was.
fn is_passing(error: &LinkError) -> bool {
    matches!(error, LinkError::Busy(_) | LinkError::Down(_))
}
