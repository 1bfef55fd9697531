//! Questions to the kernel's routing netlink (`rtnetlink(7)`), asked and answered on the spot, and the bytes of its messages.
//!
//! The kernel puts the answer into the socket's queue before `send` returns, so asking does not wait, and no task has to drive it.
//! Of a message only the attributes that we use are read: an attribute that this program has never heard of cannot cost us a network card.
//! What the answers mean is for [`crate::interfaces`].

use std::cell::Cell;
use std::io;
use std::time::Duration;

use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload, NlasIterator};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use socket2::SockRef;

/// Message types (include/uapi/linux/netlink.h and rtnetlink.h).
pub(crate) mod kind {
    /// The answer is an error, or an acknowledgement.
    pub(crate) const ERROR: u16 = 2;
    /// The dump is at its end.
    pub(crate) const DONE: u16 = 3;
    /// A link is new or has changed.
    pub(crate) const NEW_LINK: u16 = 16;
    /// A link is gone.
    pub(crate) const DELETE_LINK: u16 = 17;
    /// An address is new or has changed.
    pub(crate) const NEW_ADDRESS: u16 = 20;
    /// An address is gone.
    pub(crate) const DELETE_ADDRESS: u16 = 21;
    /// A route is new or has changed; also the answer to RTM_GETROUTE.
    pub(crate) const NEW_ROUTE: u16 = 24;
    /// A route is gone.
    pub(crate) const DELETE_ROUTE: u16 = 25;
}

/// Room for one datagram: the kernel fills those of a dump to 32 KiB at most (`netlink_dump`); a link with many virtual functions has more.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 1 << 16;
/// A kernel that leaves an answer out must not hang us.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a dump that a change interrupted is asked for again before it is taken as it is; the change's notification brings another.
const DUMP_ATTEMPTS: usize = 5;

/// Netlink header and payload of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// What it is, see [`kind`].
    pub(crate) kind: u16,
    /// `NLM_F_*`.
    pub(crate) flags: u16,
    /// The question that it answers; 0 for a notification.
    pub(crate) sequence: u32,
    /// What follows the header.
    pub(crate) payload: &'a [u8],
}

/// The messages of one datagram. Ends at the first that is cut or claims to be shorter than its header.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = read_u32(datagram, 0)? as usize;
        let message = Message {
            kind: read_u16(datagram, 4)?,
            flags: read_u16(datagram, 6)?,
            sequence: read_u32(datagram, 8)?,
            payload: datagram.get(16..length)?,
        };
        // The last message need not be padded to NLMSG_ALIGNTO.
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    })
}

/// The attributes of a payload behind its fixed header, each with its type and value. Ends at the first that is cut.
pub(crate) fn attributes(payload: &[u8], header_length: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let bytes = payload.get(header_length..).unwrap_or(&[]);
    NlasIterator::new(bytes).map_while(|attribute| {
        let attribute = attribute.ok()?;
        let (kind, length) = (attribute.kind(), attribute.length() as usize);
        Some((kind, attribute.into_inner().get(4..length)?))
    })
}

/// An unsigned 32-bit number in the machine's byte order.
pub(crate) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

/// A socket to ask on.
pub(crate) struct Query {
    socket: Socket,
    /// The number of the last question.
    sequence: Cell<u32>,
}

impl Query {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        SockRef::from(&socket).set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { socket, sequence: Cell::new(0) })
    }

    /// All that the kernel has of what `question` names: the payloads of the answers.
    pub(crate) fn dump(&self, question: &RouteNetlinkMessage) -> io::Result<Vec<Vec<u8>>> {
        for _ in 1..DUMP_ATTEMPTS {
            let (answers, interrupted) = self.ask(question, NLM_F_DUMP)?;
            if !interrupted {
                return Ok(answers);
            }
        }
        self.ask(question, NLM_F_DUMP).map(|(answers, _)| answers)
    }

    /// The payload of the one answer.
    pub(crate) fn one(&self, question: &RouteNetlinkMessage) -> io::Result<Vec<u8>> {
        let (answers, _) = self.ask(question, 0)?;
        answers.into_iter().next().ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }

    fn ask(&self, question: &RouteNetlinkMessage, flags: u16) -> io::Result<(Vec<Vec<u8>>, bool)> {
        self.sequence.set(self.sequence.get().wrapping_add(1));
        let mut request = NetlinkMessage::from(question.clone());
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence.get();
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        let kernel = SocketAddr::new(0, 0);
        self.socket.send_to(&bytes, &kernel, 0)?;
        debug_assert!(matches!(request.payload, NetlinkPayload::InnerMessage(_)));
        self.collect(flags & NLM_F_DUMP == NLM_F_DUMP)
    }

    /// The answers to the last question, and whether a change came between them.
    fn collect(&self, until_done: bool) -> io::Result<(Vec<Vec<u8>>, bool)> {
        let (mut answers, mut interrupted) = (Vec::new(), false);
        let mut datagram = Vec::with_capacity(DATAGRAM_BYTES_MAX);
        loop {
            datagram.clear();
            receive_datagram(&self.socket, &mut datagram, 0)?;
            // An answer to an earlier question that timed out may still be queued.
            for message in messages(&datagram).filter(|message| message.sequence == self.sequence.get()) {
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    kind::DONE => return Ok((answers, interrupted)),
                    kind::ERROR => return Err(error(message.payload)),
                    _ => answers.push(message.payload.to_vec()),
                }
                if !until_done {
                    return Ok((answers, interrupted));
                }
            }
        }
    }
}

/// Takes one datagram of the kernel; what other processes may have sent us is left out.
pub(crate) fn receive_datagram(socket: &Socket, datagram: &mut Vec<u8>, flags: libc::c_int) -> io::Result<()> {
    let (length, sender) = socket.recv_from(datagram, flags | libc::MSG_TRUNC)?;
    if length > datagram.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a netlink datagram of {length} bytes")));
    }
    if sender.port_number() != 0 {
        datagram.clear();
    }
    Ok(())
}

/// What an NLMSG_ERROR says: its first word is an errno, negated.
fn error(payload: &[u8]) -> io::Error {
    let code = read_u32(payload, 0).unwrap_or_default().cast_signed();
    io::Error::from_raw_os_error(code.saturating_neg())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let length = 16 + payload.len() as u32;
        let mut bytes = [length.to_ne_bytes().as_slice(), &kind.to_ne_bytes(), &[0; 10], payload].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn messages_of_one_datagram_come_one_by_one() {
        let datagram = [message(kind::NEW_LINK, &[1, 2, 3]), message(kind::DONE, &[])].concat();
        let found: Vec<_> = messages(&datagram).map(|message| (message.kind, message.payload)).collect();
        assert_eq!(found, [(kind::NEW_LINK, [1, 2, 3].as_slice()), (kind::DONE, &[])]);
    }

    #[test]
    fn a_message_that_claims_no_length_ends_the_datagram() {
        let mut datagram = message(kind::NEW_LINK, &[]);
        datagram[..4].copy_from_slice(&0_u32.to_ne_bytes());
        assert_eq!(messages(&datagram).count(), 0);
    }

    #[test]
    fn attributes_behind_a_header_come_with_their_values() {
        let payload = [[9; 4].as_slice(), &6_u16.to_ne_bytes(), &3_u16.to_ne_bytes(), &[7, 8, 0, 0]].concat();
        assert_eq!(attributes(&payload, 4).collect::<Vec<_>>(), [(3, [7, 8].as_slice())]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic_or_go_on_for_ever(bytes in prop::collection::vec(any::<u8>(), 0..256), header in 0..32_usize) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
            prop_assert!(attributes(&bytes, header).count() <= bytes.len());
        }

        #[test]
        fn small_lengths_neither(bytes in prop::collection::vec(0..24_u8, 0..256)) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
            prop_assert!(attributes(&bytes, 0).count() <= bytes.len());
        }
    }
}
