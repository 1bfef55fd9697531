//! A raw packet socket: what `packet(7)` offers, behind functions that cannot be misused.
//!
//! The order is what matters here: opened with protocol 0 the socket hears nothing; filter and options are set, the filter is locked,
//! and only [`PacketSocket::bind`] lets frames in. So there is no moment at which a frame of another interface, or one that the filter
//! would drop, slips in. Errors are the system's own; [`crate::nic`] gives them meaning. Promiscuous mode is never switched on.

use std::ffi::{CStr, CString, c_int, c_void};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::filter;

/// Room for frames that wait for us, in bytes: thousands of small frames, each of which is charged with its whole buffer. The kernel's
/// default holds a few hundred; a LAN that asks all at once after a power failure sends more. It grants at most `net.core.rmem_max`.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// Asks for an interface's flags (netdevice(7)). musl declares `ioctl` with an `int`, glibc with an `unsigned long`, and `libc` has the number as the latter.
const SIOCGIFFLAGS: libc::Ioctl = 0x8913;

/// An AF_PACKET socket of type SOCK_RAW, nonblocking, with our filter locked onto it.
pub(crate) struct PacketSocket(Socket);

impl PacketSocket {
    /// Opens a socket that hears nothing yet. Needs CAP_NET_RAW, else EPERM.
    pub(crate) fn open() -> io::Result<Self> {
        let unbound = Protocol::from(0);
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(unbound))?;
        let program: Vec<SockFilter> = filter::program().iter().map(|step| SockFilter::new(step.code, step.jt, step.jf, step.k)).collect();
        socket.attach_filter(&program)?;
        let this = Self(socket);
        this.set_option(libc::SOL_SOCKET, libc::SO_LOCK_FILTER, 1)?;
        // The filter drops our own frames as well; this spares even running it on them. Kernels before 4.20 have no such option.
        match this.set_option(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1) {
            Err(error) if error.raw_os_error() != Some(libc::ENOPROTOOPT) => return Err(error),
            _ => {}
        }
        this.0.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        Ok(this)
    }

    /// Lets frames of one EtherType (`libc::ETH_P_*`) of one interface in. EtherTypes that nobody asked for then cost the machine nothing.
    pub(crate) fn bind(&self, interface_index: u32, protocol: c_int) -> io::Result<()> {
        // SAFETY: sockaddr_ll is a plain C structure for which all zeroes is a value.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (protocol as u16).to_be();
        address.sll_ifindex = interface_index.cast_signed();
        let length = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the pointer is to a live sockaddr_ll, and the length is its own.
        check(unsafe { libc::bind(self.as_raw_fd(), (&raw const address).cast(), length) }).map(drop)
    }

    /// Takes the next frame and returns its true length, which is larger than `buffer` when the frame was cut. WouldBlock when there is none.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the kernel writes at most `buffer.len()` bytes to a buffer that we hold exclusively; MSG_TRUNC changes only what it returns.
        let length = unsafe { libc::recv(self.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_TRUNC) };
        usize::try_from(length).map_err(|_| io::Error::last_os_error())
    }

    /// Sends one whole frame.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.0.send(frame).map(drop)
    }

    /// How many frames found the queue full since the last call: the kernel sets its count to zero when it is read (`packet(7)`, PACKET_STATISTICS).
    pub(crate) fn take_queue_drops(&self) -> io::Result<u64> {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = size_of_val(&statistics) as libc::socklen_t;
        let value = (&raw mut statistics).cast::<c_void>();
        // SAFETY: both pointers are to live values, and `length` says how much room `statistics` has.
        check(unsafe { libc::getsockopt(self.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, value, &raw mut length) })?;
        Ok(u64::from(statistics.tp_drops))
    }

    /// Whether the interface is set up. `None` when no interface has that name any more.
    pub(crate) fn is_set_up(&self, interface: &str) -> Option<bool> {
        // SAFETY: ifreq is a plain C structure (with unions of plain values) for which all zeroes is a value.
        let mut request: libc::ifreq = unsafe { mem::zeroed() };
        let name = interface.as_bytes();
        // The last byte stays zero: IFNAMSIZ counts it.
        if name.len() >= request.ifr_name.len() {
            return None;
        }
        for (to, &from) in request.ifr_name.iter_mut().zip(name) {
            *to = from as libc::c_char;
        }
        // SAFETY: SIOCGIFFLAGS reads the name from and writes the flags to the one ifreq that it is given (netdevice(7)).
        check(unsafe { libc::ioctl(self.as_raw_fd(), SIOCGIFFLAGS, &raw mut request) }).ok()?;
        // SAFETY: the call above succeeded, so the kernel has written the member `ifru_flags`.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        Some(c_int::from(flags) & libc::IFF_UP != 0)
    }

    fn set_option(&self, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
        let length = size_of_val(&value) as libc::socklen_t;
        // SAFETY: the pointer is to a live integer, and the length is its own.
        check(unsafe { libc::setsockopt(self.as_raw_fd(), level, option, (&raw const value).cast(), length) }).map(drop)
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl IntoRawFd for PacketSocket {
    fn into_raw_fd(self) -> RawFd {
        self.0.into_raw_fd()
    }
}

/// The index of the interface of that name, in the network namespace of the calling thread.
pub(crate) fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a C string that lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => None,
        index => Some(index),
    }
}

/// The name of the interface of that index, in the network namespace of the calling thread. `None` also when it is not UTF-8.
pub(crate) fn interface_name(index: u32) -> Option<String> {
    let mut name = [0_u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the IF_NAMESIZE bytes that if_indextoname may write, the closing zero among them.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    CStr::from_bytes_until_nul(&name).ok()?.to_str().ok().map(str::to_owned)
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_and_a_name_find_each_other() {
        let index = interface_index("lo").expect("every namespace has a loopback");
        assert_eq!(interface_name(index).as_deref(), Some("lo"));
    }

    #[test]
    fn what_cannot_be_an_interface_is_none() {
        for name in ["", "no such nic", "a-name-longer-than-linux-allows", "lo\0"] {
            assert_eq!(interface_index(name), None, "{name:?}");
        }
        assert_eq!(interface_name(u32::MAX), None);
    }
}
