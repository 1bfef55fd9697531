//! IPv6 hosts on one switch: they find each other, answer who asks for them, and say when nobody is there.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bellhop_core::mac::MacAddr;

use super::*;
use crate::packet6::Icmp6;
use crate::*;

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

fn ip(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
}

/// Two hosts, ::1 and ::2.
fn pair() -> (Fabric, [MachineId; 2], Rc<RefCell<Vec<Event>>>) {
    let mut fabric = Fabric::new(1);
    let switch = fabric.add_switch();
    let hosts = [1, 2].map(|last| {
        let host = fabric.add_machine(MachineConfig::new(&format!("host{last}")).nic("eth0", mac(last), ip(last.into()), 64));
        let nic = fabric.nic(host, "eth0").expect("it has an eth0");
        fabric.connect(nic, switch, Latency::default());
        host
    });
    let events = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&events);
    fabric.set_sink(Box::new(move |_, event| kept.borrow_mut().push(event.clone())));
    (fabric, hosts, events)
}

#[test]
fn two_hosts_find_each_other_and_the_table_prints_both() {
    let (mut fabric, [one, two], _) = pair();
    let ping = fabric.ping(one, PingOptions { count: Some(3), ..PingOptions::to(ip(2)) });
    fabric.run_until(Instant::from_millis(5000));
    assert!(fabric.ping_is_done(ping));
    let text = fabric.ping_text(ping);
    assert!(text.starts_with("PING 2001:db8::2 (2001:db8::2) 56 data bytes\n64 bytes from 2001:db8::2: icmp_seq=1 ttl=64 time="), "{text}");
    assert!(text.contains("3 packets transmitted, 3 received, 0% packet loss"), "{text}");
    assert_eq!(fabric.ip_neigh(one), "2001:db8::2 dev eth0 lladdr 02:00:00:00:00:02 REACHABLE\n");
    // Whoever was asked knows the asker, has answered it, and waits for a sign of life.
    assert_eq!(fabric.neighbors(two).first().map(|neighbor| neighbor.state), Some(NeighborState::Delay));
}

#[test]
fn a_host_that_nobody_has_is_unreachable_after_three_seconds() {
    let (mut fabric, [one, _], events) = pair();
    let ping = fabric.ping(one, PingOptions { count: Some(1), ..PingOptions::to(ip(9)) });
    fabric.run_until(Instant::from_millis(3100));
    assert!(fabric.ping_text(ping).contains("From 2001:db8::1 icmp_seq=1 Destination unreachable: Address unreachable\n"));
    let outcome = events.borrow().iter().find_map(|event| if let Event::Echo { echo, .. } = event { Some(echo.outcome) } else { None });
    assert_eq!(outcome, Some(EchoOutcome::Unreachable { from: IpAddr::V6(ip(1)), code: 3 }));
}

#[test]
fn hostile_bytes_are_heard_by_nobody() {
    let (mut fabric, [one, _], events) = pair();
    let nic = fabric.nic(one, "eth0").expect("it has an eth0");
    let mut frame = packet6::solicitation(ip(7), packet6::solicited_node(ip(1)), ip(1), Some(mac(7)));
    frame::write_header(&mut frame, mac(7), packet6::group_mac(packet6::solicited_node(ip(1))), smoltcp::wire::EthernetProtocol::Ipv6);
    let sent = |events: &Rc<RefCell<Vec<Event>>>| events.borrow().iter().filter(|event| matches!(event, Event::Sent { .. })).count();
    for length in 0..frame.len() {
        fabric.inject(nic, &frame[..length]);
        let mut damaged = frame.clone();
        damaged[length] ^= 0x80;
        // The Ethernet addresses, the traffic class, the flow label and the hop limit are under no checksum; the rest is.
        if length >= 18 && length != 21 {
            fabric.inject(nic, &damaged);
        }
    }
    fabric.run_until(Instant::from_millis(1));
    let answered_flow_labels = sent(&events);
    assert!(answered_flow_labels <= 3, "{answered_flow_labels} answers to damaged questions");
    fabric.inject(nic, &frame);
    fabric.run_until(fabric.now() + Duration::from_millis(1));
    assert_eq!(sent(&events), answered_flow_labels + 1, "the whole question is answered");
    let answers = events
        .borrow()
        .iter()
        .filter(|event| matches!(event, Event::Sent { frame, .. } if matches!(packet6::icmp(frame), Some(Icmp6::Advertisement(_)))))
        .count();
    assert_eq!(answers, answered_flow_labels + 1);
}

/// The Service's address, which no machine has on a NIC.
const VIP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x91);

fn pod(node: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 10, 233, node, 0, 0, 0, 1)
}

/// Two nodes (::3, ::4) with a pod each, ::2 whose port answers for the VIP with node 3's MAC, and a client (::5).
struct Cluster {
    fabric: Fabric,
    client: MachineId,
    port: PortId,
    served: Rc<RefCell<Vec<(String, IpAddr)>>>,
}

impl Cluster {
    fn new(mode: ProxyMode, policy: TrafficPolicy) -> Self {
        let mut fabric = Fabric::new(1);
        let switch = fabric.add_switch();
        let mut machines = [2_u8, 3, 4, 5].map(|last| {
            let mut config = MachineConfig::new(&format!("m{last}")).nic("eth0", mac(last), ip(last.into()), 64);
            config.forwarding = last != 5;
            for other in [3, 4].into_iter().filter(|other| *other != u16::from(last) && last != 5) {
                config = config.route(pod(other), 64, ip(other));
            }
            let machine = fabric.add_machine(config);
            let nic = fabric.nic(machine, "eth0").expect("it has an eth0");
            fabric.connect(nic, switch, Latency::default());
            (u16::from(last), machine)
        });
        for (node, machine) in machines.iter_mut().filter(|(node, _)| *node != 5) {
            let endpoint =
                |of: u16| Endpoint { target: SocketAddr::new(pod(of).into(), 8080), local: *node == of, ready: true, serving: true };
            // One of the other family beside: a connection stays in its own.
            let other = Endpoint { target: SocketAddr::from(([10, 233, 1, 1], 8080)), local: true, ready: true, serving: true };
            let ports = vec![PortRules { port: 80, node_port: None, endpoints: vec![other, endpoint(3), endpoint(4)] }];
            let service =
                ServiceRules { name: "default/web".to_owned(), cluster_ips: Vec::new(), external_ips: vec![VIP.into()], policy, ports };
            fabric.apply_rules(*machine, ProxyRules { mode, services: vec![service] });
            if *node != 2 {
                fabric.start_pod(*machine, PodConfig { name: format!("pod-{node}"), address: pod(*node).into(), port: 8080 });
            }
        }
        let served = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&served);
        fabric.set_sink(Box::new(move |_, event| {
            if let Event::Served { pod, client, .. } = event {
                kept.borrow_mut().push((pod.clone(), *client));
            }
        }));
        let nic = fabric.nic(machines[0].1, "eth0").expect("it has an eth0");
        let port = fabric.open_port(nic);
        Self { fabric, client: machines[3].1, port, served }
    }

    /// Lets time pass while the port answers.
    fn answer_until(&mut self, millis: u64) {
        let until = Instant::from_millis(millis);
        while self.fabric.next_event().is_some_and(|at| at <= until) {
            self.fabric.step();
            self.fabric.take_ready_ports();
            while let Ok(Some(frame)) = self.fabric.port_receive(self.port) {
                let Some(asks) = frame.ndp().filter(|asks| asks.target == VIP && !asks.advertises) else { continue };
                let detects = asks.source.is_unspecified();
                let says = neighbor::Advertisement { target: VIP, mac: Some(mac(3)), solicited: !detects, overrides: true };
                let (to, to_mac) =
                    if detects { (packet6::ALL_NODES, packet6::group_mac(packet6::ALL_NODES)) } else { (asks.source, frame.source()) };
                let mut answer = packet6::advertisement(ip(2), to, &says);
                frame::write_header(&mut answer, mac(2), to_mac, smoltcp::wire::EthernetProtocol::Ipv6);
                self.fabric.port_send(self.port, &answer).expect("the NIC is up");
            }
        }
        self.fabric.run_until(until);
    }

    /// What a curl of the VIP got.
    fn curl(&mut self) -> Result<String, CurlError> {
        let options = CurlOptions { max_time: Some(Duration::from_secs(5)), ..CurlOptions::to(VIP) };
        let curl = self.fabric.curl(self.client, options);
        let end = self.fabric.now().as_nanos() / 1_000_000 + 6000;
        self.answer_until(end);
        self.fabric.take_curl(curl).expect("it ended by its timeout").result.map(|answer| answer.body)
    }
}

#[test]
fn a_service_is_reached_over_ipv6_in_either_mode_by_the_mac_that_was_said() {
    for mode in [ProxyMode::Ipvs { strict_arp: true }, ProxyMode::Iptables] {
        let mut cluster = Cluster::new(mode, TrafficPolicy::Cluster);
        cluster.fabric.port_join(cluster.port, packet6::solicited_node(VIP));
        assert!(cluster.curl().is_ok_and(|body| body.starts_with("You've hit pod-")), "{mode:?}");
        let entry = cluster.fabric.ip_neigh(cluster.client);
        assert!(entry.contains("2001:db8::91 dev eth0 lladdr 02:00:00:00:00:03"), "{entry}");
        assert!(cluster.served.borrow().iter().all(|(_, client)| *client == ip(3)), "Cluster hides the client behind the node");
    }
}

#[test]
fn local_keeps_the_clients_ipv6_address_and_reaches_only_the_nodes_own_pod() {
    let mut cluster = Cluster::new(ProxyMode::Ipvs { strict_arp: true }, TrafficPolicy::Local);
    cluster.fabric.port_join(cluster.port, packet6::solicited_node(VIP));
    for _ in 0..3 {
        assert_eq!(cluster.curl(), Ok("You've hit pod-3\n".to_owned()));
    }
    assert!(cluster.served.borrow().iter().all(|(_, client)| *client == ip(5)), "{:?}", cluster.served.borrow());
}

#[test]
fn ping_of_the_service_is_answered_in_ipvs_mode_and_not_in_iptables_mode() {
    for (mode, received) in [(ProxyMode::Ipvs { strict_arp: true }, "2 received"), (ProxyMode::Iptables, "0 received")] {
        let mut cluster = Cluster::new(mode, TrafficPolicy::Cluster);
        cluster.fabric.port_join(cluster.port, packet6::solicited_node(VIP));
        let ping = cluster.fabric.ping(cluster.client, PingOptions { count: Some(2), ..PingOptions::to(VIP) });
        cluster.answer_until(15_000);
        assert!(cluster.fabric.ping_text(ping).contains(received), "{mode:?}: {}", cluster.fabric.ping_text(ping));
    }
}

#[test]
fn a_port_hears_a_group_while_it_has_joined_it() {
    let mut cluster = Cluster::new(ProxyMode::Iptables, TrafficPolicy::Cluster);
    assert_eq!(cluster.curl(), Err(CurlError::NoRoute), "nobody hears the question");
    cluster.fabric.port_join(cluster.port, packet6::solicited_node(VIP));
    assert!(cluster.curl().is_ok());
    cluster.fabric.port_leave(cluster.port, packet6::solicited_node(VIP));
    let asks = cluster.fabric.ping(cluster.client, PingOptions { count: Some(1), ..PingOptions::to(ip(0x91)) });
    cluster.fabric.remove_ping(asks);
    assert_eq!(cluster.fabric.port_receive(cluster.port), Ok(None));
}

#[test]
fn an_ipv6_address_is_taken_only_if_nobody_else_has_it() {
    let mut cluster = Cluster::new(ProxyMode::Iptables, TrafficPolicy::Cluster);
    cluster.fabric.port_join(cluster.port, packet6::solicited_node(VIP));
    let has = |cluster: &Cluster, address: Ipv6Addr| {
        cluster.fabric.interfaces(cluster.client)[0].addresses.iter().any(|own| own.address == address)
    };
    assert!(cluster.fabric.claim_address(cluster.client, VIP));
    assert!(cluster.fabric.claim_address(cluster.client, ip(0x77)));
    assert!(!has(&cluster, ip(0x77)), "it is looked for first");
    cluster.answer_until(1500);
    assert!(!has(&cluster, VIP), "somebody said that it is taken");
    assert_eq!(cluster.curl(), Err(CurlError::NoRoute), "and as on Linux, it believes nobody's word on an address that failed");
    assert!(has(&cluster, ip(0x77)));
    assert!(cluster.fabric.release_address(cluster.client, ip(0x77)) && !has(&cluster, ip(0x77)));
}

#[test]
fn a_machine_with_ipv6_lists_the_link_local_address_that_it_made() {
    let (fabric, [one, _], _) = pair();
    let addresses: Vec<IpAddr> = fabric.interfaces(one)[0].addresses.iter().map(|own| own.address).collect();
    assert_eq!(addresses, [IpAddr::V6(ip(1)), "fe80::ff:fe00:1".parse().expect("an address")]);
}
