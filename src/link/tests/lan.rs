//! A LAN of two machines for one test: two network namespaces and a cable between them.
//!
//! The namespaces have no name. The test's thread and a file descriptor hold them, so they are gone with the test, also when it
//! panics or is killed. Nothing outside them is touched. Needs root; without it a test says so on the terminal and passes.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Duration;

use bellhop_core::link::LinkLayer;
use bellhop_core::name::InterfaceName;
use bellhop_link::Nic;

/// How long a test waits for what must come. Far above what it takes, below anybody's patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// MAC of `nic0`, the card under test.
pub(crate) const NIC_MAC: [u8; 6] = [0x52, 0x54, 0x22, 0, 0, 1];
/// MAC of `wire0`, the far end of its cable.
pub(crate) const WIRE_MAC: [u8; 6] = [0x52, 0x54, 0x22, 0, 0, 2];
/// Every station.
pub(crate) const BROADCAST: [u8; 6] = [0xff; 6];

/// The near namespace is the calling thread's; it has `nic0` with 192.0.2.1/24. The far one has `wire0` with 192.0.2.2/24.
pub(crate) struct Lan {
    far: File,
}

impl Lan {
    /// Runs a test on a thread of its own in a LAN of its own.
    pub(crate) fn run(test: impl AsyncFnOnce(Self) + Send + 'static) {
        // SAFETY: geteuid only returns a number.
        if unsafe { libc::geteuid() } != 0 {
            let name = std::thread::current().name().unwrap_or("a test").to_owned();
            // Not by eprintln: that is captured, and nobody would see it.
            writeln!(io::stderr(), "SKIPPED: needs root: {name}").expect("a terminal");
            return;
        }
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(test(Self::new()));
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }

    fn new() -> Self {
        enter_new_namespace();
        let far = own_namespace();
        enter_new_namespace();
        let this = Self { far };
        let far_path = format!("/proc/{}/fd/{}", std::process::id(), this.far.as_raw_fd());
        let (nic_mac, wire_mac) = (mac_text(NIC_MAC), mac_text(WIRE_MAC));
        ip(&format!("link add nic0 address {nic_mac} type veth peer name wire0 address {wire_mac} netns {far_path}"));
        // Else each kernel looks for duplicates of an address that it makes itself, in the midst of a test.
        ip("link set nic0 addrgenmode none");
        ip("address add 192.0.2.1/24 dev nic0");
        ip("link set lo up");
        ip("link set nic0 up");
        this.at_far_end(|| {
            ip("link set wire0 addrgenmode none");
            ip("address add 192.0.2.2/24 dev wire0");
            ip("link set wire0 up");
        });
        until_frames_pass("nic0");
        this.at_far_end(|| until_frames_pass("wire0"));
        this
    }

    /// Does something as the machine at the far end of the cable. A socket that it opens stays there.
    pub(crate) fn at_far_end<T>(&self, work: impl FnOnce() -> T) -> T {
        let near = own_namespace();
        enter(&self.far);
        let result = work();
        enter(&near);
        result
    }

    /// Opens both ends of the cable.
    pub(crate) fn open(&self) -> (Nic, Nic) {
        (open("nic0"), self.at_far_end(|| open("wire0")))
    }
}

/// Opens a card of the namespace that the thread is in.
pub(crate) fn open(name: &str) -> Nic {
    Nic::open(&InterfaceName::from(name)).expect("root may open a card")
}

/// Waits until the kernel has noticed the carrier: until then it has no queue for the card (`noop`), and drops what is sent without a word. It looks once a
/// second at the most (net/core/link_watch.c).
fn until_frames_pass(card: &str) {
    let start = std::time::Instant::now();
    loop {
        let shown = ip(&format!("link show {card}"));
        if shown.contains("state UP") && !shown.contains("qdisc noop ") {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "no carrier: {shown}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs `ip` in the namespace that the thread is in. What it printed.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits for the next frame that the card hands up.
pub(crate) async fn next_frame(nic: &mut Nic) -> Vec<u8> {
    let wait = async {
        let mut buffer = [0; 1514];
        loop {
            poll_fn(|cx| nic.poll_readable(cx)).await;
            if let Some(length) = nic.receive(&mut buffer).expect("the card is up") {
                return buffer[..length].to_vec();
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("a frame comes")
}

/// An ARP frame of 60 bytes for 198.51.100.`last`, which no kernel here has: so nobody but the test answers or asks.
pub(crate) fn arp(operation: u8, from: [u8; 6], to: [u8; 6], last: u8) -> Vec<u8> {
    let mut frame = [to.as_slice(), &from, &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]].concat();
    frame.extend([from.as_slice(), &[0, 0, 0, 0], &[0; 6], &[198, 51, 100, last]].concat());
    frame.resize(60, 0);
    frame
}

/// Neighbor discovery of this type about an address that no kernel here has. Its checksum is wrong: a card does not look.
pub(crate) fn discovery(kind: u8, from: [u8; 6], to: [u8; 6]) -> Vec<u8> {
    let mut frame = [to.as_slice(), &from, &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]].concat();
    frame.resize(54, 0);
    frame.extend([kind, 0]);
    frame.resize(86, 0);
    frame
}

fn mac_text(mac: [u8; 6]) -> String {
    bellhop_core::mac::MacAddr(mac).to_string()
}

fn own_namespace() -> File {
    File::open("/proc/thread-self/ns/net").expect("every thread is in a namespace")
}

fn enter_new_namespace() {
    // SAFETY: unshare with this flag changes only which network namespace the calling thread is in.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "failed to make a network namespace: {}", io::Error::last_os_error());
}

fn enter(namespace: &File) {
    // SAFETY: setns with this flag changes only which network namespace the calling thread is in.
    let result = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "failed to enter a network namespace: {}", io::Error::last_os_error());
}
