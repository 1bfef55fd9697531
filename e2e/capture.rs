//! Captures a segment with tcpdump into a file that stays, and reads ARP frames from that file while it grows.
//!
//! A bridge that is promiscuous sees each frame that enters it once. Plain pcap: 24 bytes of header, 16 before each record, in the
//! byte order of this machine (<https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/>). What is not ARP for IPv4 is passed over.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use bellhop_scenario::Seen;
use bellhop_scenario::observation::{ArpFrame, ArpOperation};

use crate::clock::Reporter;
use crate::process::mortal;

/// From look to look at the file.
const EVERY: Duration = Duration::from_millis(100);
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
/// Frames are cut here: more than any header that we look at.
const SNAPLEN: usize = 256;

/// tcpdump on an interface of the namespace that it is started in. It stays root: giving that up would undo `pdeathsig`.
pub(crate) fn tcpdump(interface: &str, file: &Path) -> Command {
    let mut command = mortal("tcpdump");
    command.args(["-i", interface, "-Z", "root", "-n", "-U", "--immediate-mode", "-s", &SNAPLEN.to_string(), "-w"]).arg(file);
    command
}

/// Reports the ARP frames of a file that grows, in a thread of its own, to the end of the process.
pub(crate) fn follow(segment: &str, file: &Path, report: Reporter) -> Result<()> {
    let mut file = File::open(file)?;
    let segment = segment.to_owned();
    let look = format!("the frames of {segment}");
    report.looks.opens(&look);
    std::thread::spawn(move || {
        let mut unread = Vec::new();
        let mut begun = false;
        loop {
            if let Err(error) = file.read_to_end(&mut unread) {
                return report.looks.fails(&look, error);
            }
            if !begun && unread.len() >= FILE_HEADER {
                unread.drain(..FILE_HEADER);
                begun = true;
                report.looks.sees(&look);
            }
            while let (true, Some((at, frame))) = (begun, record(&mut unread)) {
                if let Some(frame) = arp(&segment, &frame) {
                    report.at(report.clock.at(at), Seen::Frame(frame));
                }
            }
            std::thread::sleep(EVERY);
        }
    });
    Ok(())
}

/// All ARP frames that a file holds by now, with the time since 1970.
pub(crate) fn read(segment: &str, file: &Path) -> Result<Vec<(Duration, ArpFrame)>> {
    let mut unread = std::fs::read(file)?;
    unread.drain(..FILE_HEADER.min(unread.len()));
    let mut frames = Vec::new();
    while let Some((at, frame)) = record(&mut unread) {
        frames.extend(arp(segment, &frame).map(|frame| (at, frame)));
    }
    Ok(frames)
}

/// Takes the first record off, if it is complete: when it was captured, and the frame.
fn record(unread: &mut Vec<u8>) -> Option<(Duration, Vec<u8>)> {
    let word = |index: usize| Some(u32::from_ne_bytes(unread.get(4 * index..4 * index + 4)?.try_into().ok()?));
    let (seconds, microseconds, length) = (word(0)?, word(1)?, usize::try_from(word(2)?).ok()?);
    let end = RECORD_HEADER.checked_add(length)?;
    let frame = unread.get(RECORD_HEADER..end)?.to_vec();
    unread.drain(..end);
    Some((Duration::from_secs(seconds.into()) + Duration::from_micros(microseconds.into()), frame))
}

/// An ARP frame for IPv4 over Ethernet (RFC 826).
fn arp(segment: &str, frame: &[u8]) -> Option<ArpFrame> {
    // EtherType 0x0806; hardware type 1, protocol 0x0800, lengths 6 and 4.
    if frame.get(12..20)? != [8, 6, 0, 1, 8, 0, 6, 4] {
        return None;
    }
    let operation = match frame.get(20..22)? {
        [0, 1] => ArpOperation::Request,
        [0, 2] => ArpOperation::Reply,
        _ => return None,
    };
    let mac = |at: usize| {
        let bytes: Vec<String> = frame.get(at..at + 6)?.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(bytes.join(":"))
    };
    let ip = |at: usize| <[u8; 4]>::try_from(frame.get(at..at + 4)?).ok().map(Into::into);
    Some(ArpFrame {
        segment: segment.to_owned(),
        ethernet_destination: mac(0)?.parse().ok()?,
        ethernet_source: mac(6)?.parse().ok()?,
        operation,
        sender_mac: mac(22)?.parse().ok()?,
        sender_ip: ip(28)?,
        target_mac: mac(32)?.parse().ok()?,
        target_ip: ip(38)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `52:54:22:a3:9a:d9 > 52:54:22:fa:b9:3b, ARP, Reply 192.168.0.91 is-at 52:54:22:3a:e6:6e`.
    const REPLY: [u8; 42] = [
        0x52, 0x54, 0x22, 0xfa, 0xb9, 0x3b, 0x52, 0x54, 0x22, 0xa3, 0x9a, 0xd9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 0x52, 0x54, 0x22, 0x3a, 0xe6,
        0x6e, 192, 168, 0, 91, 0x52, 0x54, 0x22, 0xfa, 0xb9, 0x3b, 192, 168, 0, 5,
    ];

    #[test]
    fn a_reply_for_another_machine_has_two_hardware_addresses() {
        let frame = arp("lan0", &REPLY).expect("ARP");
        assert_eq!((frame.sender_mac.to_string().as_str(), frame.sender_ip), ("52:54:22:3a:e6:6e", [192, 168, 0, 91].into()));
        assert_eq!(frame.ethernet_source.to_string(), "52:54:22:a3:9a:d9");
        assert_eq!(frame.operation, ArpOperation::Reply);
        assert!((0..REPLY.len()).all(|length| arp("lan0", &REPLY[..length]).is_none()), "short frames are no frames");
    }

    #[test]
    fn a_record_is_taken_when_it_is_complete() {
        let header: Vec<u8> = [7, 500_000, 42, 42_u32].into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut unread = [header.as_slice(), &REPLY[..41]].concat();
        assert_eq!(record(&mut unread), None);
        unread.push(REPLY[41]);
        assert_eq!(record(&mut unread), Some((Duration::from_millis(7500), REPLY.to_vec())));
        assert!(unread.is_empty());
    }
}
