//! The blocks of a pcapng file (draft-ietf-opsawg-pcapng), as far as a capture needs them. It knows no frames' meaning.
//!
//! `pcap-file` 2.0.0 builds a value for every block and copies each frame twice; six block layouts are less than using it.

use std::io::{self, Write};
use std::net::Ipv4Addr;

use bellhop_core::mac::MacAddr;

/// The link type Ethernet (LINKTYPE_ETHERNET).
const ETHERNET: u16 = 1;
/// Where an option list ends.
const END_OF_OPTIONS: u16 = 0;
/// opt_comment, in any block.
const COMMENT: u16 = 1;

/// Which way a frame went through the interface that it was seen on (epb_flags, bits 0 and 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Not known, or in the middle of a switch.
    Unknown = 0,
    /// It came in.
    Inbound = 1,
    /// It went out.
    Outbound = 2,
}

/// Writes blocks.
pub(super) struct Blocks<W> {
    out: W,
    /// The body of the block under way.
    body: Vec<u8>,
}

impl<W: Write> Blocks<W> {
    /// Begins the one section of a file: who wrote it, and a remark.
    pub(super) fn begin(out: W, program: &str, comment: &str) -> io::Result<Self> {
        let mut blocks = Self { out, body: Vec::new() };
        blocks.body.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
        blocks.body.extend_from_slice(&[1, 0, 0, 0]);
        // The section's length is not known.
        blocks.body.extend_from_slice(&u64::MAX.to_le_bytes());
        blocks.option(COMMENT, comment.as_bytes());
        blocks.option(4, program.as_bytes());
        blocks.end_of_options();
        blocks.write(0x0a0d_0d0a)?;
        Ok(blocks)
    }

    /// Declares an interface; their numbers count from 0. Times of frames are in nanoseconds.
    pub(super) fn interface(&mut self, name: &str, description: &str, mac: Option<MacAddr>) -> io::Result<()> {
        self.body.extend_from_slice(&ETHERNET.to_le_bytes());
        // No snap length: frames are whole.
        self.body.extend_from_slice(&[0; 6]);
        self.option(2, name.as_bytes());
        self.option(3, description.as_bytes());
        if let Some(mac) = mac {
            self.option(6, &mac.0);
        }
        self.option(9, &[9]);
        self.end_of_options();
        self.write(1)
    }

    /// Names addresses.
    pub(super) fn names(&mut self, names: &[(Ipv4Addr, String)]) -> io::Result<()> {
        for (address, name) in names {
            let mut value = address.octets().to_vec();
            value.extend_from_slice(name.as_bytes());
            value.push(0);
            self.option(1, &value);
        }
        self.end_of_options();
        self.write(4)
    }

    /// A frame, at nanoseconds since 1970.
    pub(super) fn frame(
        &mut self,
        interface: u32,
        nanos: u64,
        direction: Direction,
        frame: &[u8],
        comment: Option<&str>,
    ) -> io::Result<()> {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes();
        self.body.extend_from_slice(&interface.to_le_bytes());
        // The high and the low half, each in the file's own byte order.
        let [low, high] = [nanos & 0xffff_ffff, nanos >> 32].map(|half| u32::try_from(half).unwrap_or(u32::MAX));
        self.body.extend_from_slice(&high.to_le_bytes());
        self.body.extend_from_slice(&low.to_le_bytes());
        self.body.extend_from_slice(&length);
        self.body.extend_from_slice(&length);
        self.body.extend_from_slice(frame);
        self.pad();
        if direction != Direction::Unknown {
            self.option(2, &(direction as u32).to_le_bytes());
        }
        if let Some(comment) = comment {
            self.option(COMMENT, comment.as_bytes());
        }
        if comment.is_some() || direction != Direction::Unknown {
            self.end_of_options();
        }
        self.write(6)
    }

    /// Everything is out.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        // A text that is too long for its length field is cut; ours are lines.
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.body.extend_from_slice(&code.to_le_bytes());
        self.body.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.body.extend_from_slice(value);
        self.pad();
    }

    fn end_of_options(&mut self) {
        self.body.extend_from_slice(&END_OF_OPTIONS.to_le_bytes());
        self.body.extend_from_slice(&[0; 2]);
    }

    /// Everything begins at a multiple of four bytes.
    fn pad(&mut self) {
        self.body.resize(self.body.len().next_multiple_of(4), 0);
    }

    fn write(&mut self, kind: u32) -> io::Result<()> {
        let length = u32::try_from(self.body.len() + 12).unwrap_or(u32::MAX).to_le_bytes();
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&length)?;
        self.out.write_all(&self.body)?;
        self.body.clear();
        self.out.write_all(&length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_says_its_length_at_both_ends_and_all_are_aligned() {
        let mut file = Vec::new();
        let mut blocks = Blocks::begin(&mut file, "test", "odd").expect("a Vec takes every write");
        blocks.interface("a/eth0", "lan0", Some(MacAddr::ZERO)).expect("a Vec takes every write");
        blocks.names(&[(Ipv4Addr::LOCALHOST, "a".to_owned())]).expect("a Vec takes every write");
        blocks.frame(0, 5_000_000_001, Direction::Outbound, &[1; 61], Some("why")).expect("a Vec takes every write");
        let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
        let (mut at, mut kinds) = (0, Vec::new());
        while at < file.len() {
            let length = number(at + 4) as usize;
            assert_eq!((length % 4, number(at + length - 4) as usize), (0, length));
            kinds.push(number(at));
            at += length;
        }
        assert_eq!(kinds, [0x0a0d_0d0a, 1, 4, 6]);
    }
}
