//! Any bytes as a datagram of netlink, into the link's readers: no interface comes out that the core must not be told of. What reads frames in the link is
//! the kernel's filter, a program without input of its own; its property tests stand beside it.
#![no_main]

use bellhop_link::read_datagram;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (interfaces, _) = read_datagram(bytes);
    assert!(interfaces.is_sorted_by(|a, b| a.name <= b.name));
    for interface in interfaces {
        assert!(interface.mac.is_unicast(), "{interface:?}");
        let fits =
            |address: &bellhop_core::link::InterfaceAddress| address.prefix_length <= if address.address.is_ipv4() { 32 } else { 128 };
        assert!(interface.addresses.iter().all(fits), "{interface:?}");
    }
});
