//! Two segments with a router between them, and a third that it does not know.

use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, Ipv4Packet};

use super::*;

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 9);
const AWAY: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 5);

/// A server on one segment, a client on the other, a router with a NIC on each.
struct Routed {
    fabric: Fabric,
    server: MachineId,
    client: MachineId,
    router: MachineId,
    events: Rc<RefCell<Vec<Event>>>,
}

impl Routed {
    fn new() -> Self {
        let mut fabric = Fabric::new(1);
        let segments = [fabric.add_switch(), fabric.add_switch()];
        let default = Ipv4Addr::UNSPECIFIED;
        let router =
            MachineConfig::new("router").nic("eth0", mac(1), lan_ip(1), 24).nic("eth1", mac(0x11), Ipv4Addr::new(172, 16, 0, 1), 24);
        let router = fabric.add_machine(router.forwarding());
        let server = fabric.add_machine(MachineConfig::new("server").nic("eth0", mac(9), SERVER, 24).route(default, 0, lan_ip(1)));
        let away = MachineConfig::new("client").nic("eth0", mac(5), AWAY, 24).route(default, 0, Ipv4Addr::new(172, 16, 0, 1));
        let client = fabric.add_machine(away);
        for (machine, nic, segment) in [(router, "eth0", 0), (router, "eth1", 1), (server, "eth0", 0), (client, "eth0", 1)] {
            let nic = fabric.nic(machine, nic).expect("it has one of this name");
            fabric.connect(nic, segments[segment], Latency::default());
        }
        let events = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&events);
        fabric.set_sink(Box::new(move |_, event| kept.borrow_mut().push(event.clone())));
        Self { fabric, server, client, router, events }
    }

    fn ping(&mut self, to: Ipv4Addr) -> String {
        let ping = self.fabric.ping(self.client, PingOptions { count: Some(3), ..PingOptions::to(to) });
        self.fabric.run_until(self.fabric.now() + Duration::from_secs(20));
        self.fabric.ping_text(ping).to_owned()
    }
}

#[test]
fn a_client_behind_a_router_reaches_an_address_on_the_other_segment_one_hop_later() {
    let mut routed = Routed::new();
    let text = routed.ping(SERVER);
    assert!(text.contains("icmp_seq=3 ttl=63") && text.contains("3 received"), "{text}");
    // Each asked on its own segment, for whom it hands packets to.
    assert!(routed.fabric.ip_neigh(routed.client).starts_with("172.16.0.1 dev eth0 lladdr 52:54:22:00:00:11 "));
    assert!(routed.fabric.ip_neigh(routed.server).starts_with("192.168.0.1 dev eth0 lladdr 52:54:22:00:00:01 "));
    let router = routed.fabric.ip_neigh(routed.router);
    assert!(router.contains("192.168.0.9 dev eth0 lladdr 52:54:22:00:00:09 "), "{router}");
    assert!(router.contains("172.16.0.5 dev eth1 lladdr 52:54:22:00:00:05 "), "{router}");
}

#[test]
fn clients_behind_a_router_depend_on_the_routers_entry_and_not_on_their_own() {
    let mut routed = Routed::new();
    routed.fabric.claim_address(routed.server, VIP);
    assert!(routed.ping(VIP).contains("3 received"));
    let entry = |routed: &Routed, address| {
        let found = routed.fabric.neighbors(routed.router).into_iter().find(|neighbor| neighbor.address == address);
        found.and_then(|neighbor| neighbor.mac)
    };
    assert_eq!(entry(&routed, VIP), Some(mac(9)));
    // The address moves without a word: the router goes on sending to where it was.
    routed.fabric.release_address(routed.server, VIP);
    assert!(!routed.ping(VIP).contains("64 bytes"));
    // A gratuitous request on the router's segment, and only there, turns everybody behind it.
    routed.fabric.claim_address(routed.server, VIP);
    routed.fabric.set_mac(routed.fabric.nic(routed.server, "eth0").expect("it has an eth0"), mac(0x99));
    routed.fabric.spoof(routed.server, VIP, Duration::from_secs(3600));
    assert!(routed.ping(VIP).contains("3 received"));
    assert_eq!(entry(&routed, VIP), Some(mac(0x99)));
}

#[test]
fn a_router_says_what_it_cannot_deliver() {
    let mut routed = Routed::new();
    let text = routed.ping(lan_ip(77));
    assert!(text.contains("From 172.16.0.1 icmp_seq=1 Destination Host Unreachable"), "nobody there: {text}");
    let text = routed.ping(Ipv4Addr::new(8, 8, 8, 8));
    assert!(text.contains("From 172.16.0.1 icmp_seq=1 Destination Net Unreachable"), "no route there: {text}");
}

#[test]
fn a_packet_without_a_hop_left_goes_no_further_and_its_sender_is_told() {
    let mut routed = Routed::new();
    routed.ping(SERVER);
    routed.events.borrow_mut().clear();
    let mut bytes = packet::echo_request(AWAY, SERVER, 7, 1);
    frame::write_header(&mut bytes, mac(5), mac(0x11), smoltcp::wire::EthernetProtocol::Ipv4);
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes[14..]);
    packet.set_hop_limit(1);
    packet.fill_checksum();
    let eth1 = routed.fabric.nic(routed.router, "eth1").expect("it has an eth1");
    routed.fabric.inject(eth1, &bytes);
    routed.fabric.run_until(routed.fabric.now() + Duration::from_millis(1));
    let sent: Vec<_> = routed.events.borrow().iter().filter_map(sent_packet).collect();
    assert_eq!(sent.len(), 1, "nothing went on to the server");
    let packet = Ipv4Packet::new_checked(&sent[0][14..]).expect("a packet");
    assert_eq!((packet.src_addr(), packet.dst_addr()), (Ipv4Addr::new(172, 16, 0, 1), AWAY));
    let icmp = Icmpv4Packet::new_checked(packet.payload()).expect("ICMP");
    assert_eq!((icmp.msg_type(), icmp.msg_code()), (Icmpv4Message::TimeExceeded, 0));
}

fn sent_packet(event: &Event) -> Option<Frame> {
    match event {
        Event::Sent { frame, .. } if frame.ethertype() == 0x0800 => Some(frame.clone()),
        _ => None,
    }
}
