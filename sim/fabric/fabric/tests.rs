//! The fabric end to end: a client, three nodes, one switch, as in the tutorial.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bellhop_core::link::LinkError;
use bellhop_core::mac::MacAddr;
use proptest::prelude::*;

use super::*;
use crate::*;

mod machines;
mod profiles;
mod router;
mod switches;
mod wires;

const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 91);
const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 5);

fn mac(last: u8) -> MacAddr {
    MacAddr([0x52, 0x54, 0x22, 0, 0, last])
}

fn lan_ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 0, last)
}

fn pod_ip(node: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 233, node, last)
}

/// The tutorial's LAN: master (.2), two workers (.3, .4), a client (.5); a pod on each worker.
struct Lan {
    fabric: Fabric,
    nodes: [MachineId; 3],
    client: MachineId,
    events: Rc<RefCell<Vec<Event>>>,
}

impl Lan {
    fn new(seed: u64) -> Self {
        Self::with(seed, SwitchConfig::default())
    }

    /// With a switch that inspects ARP.
    fn inspected(seed: u64) -> Self {
        Self::with(seed, SwitchConfig { inspect: true, ..SwitchConfig::default() })
    }

    fn with(seed: u64, config: SwitchConfig) -> Self {
        let mut fabric = Fabric::new(seed);
        let switch = fabric.add_switch_with(config);
        let nodes = [2_u8, 3, 4].map(|last| {
            let mut config = MachineConfig::new(&format!("node{last}")).nic("eth0", mac(last), lan_ip(last), 24).forwarding();
            for other in [2, 3, 4].into_iter().filter(|other| *other != last) {
                config = config.route(pod_ip(other, 0), 24, lan_ip(other));
            }
            fabric.add_machine(config)
        });
        let client = fabric.add_machine(MachineConfig::new("client").nic("eth0", mac(5), CLIENT_IP, 24));
        for machine in nodes.into_iter().chain([client]) {
            let nic = fabric.nic(machine, "eth0").expect("every machine has an eth0");
            fabric.connect(nic, switch, Latency::default());
        }
        for (machine, node) in [(nodes[1], 3), (nodes[2], 4)] {
            fabric.start_pod(machine, PodConfig { name: format!("pod-{node}"), address: pod_ip(node, 1).into(), port: 8080 });
        }
        let events = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&events);
        fabric.set_sink(Box::new(move |_, event| kept.borrow_mut().push(event.clone())));
        Self { fabric, nodes, client, events }
    }

    fn rules(mut self, mode: ProxyMode, policy: TrafficPolicy) -> Self {
        for (machine, node) in self.nodes.into_iter().zip([2_u8, 3, 4]) {
            let endpoint =
                |of: u8| Endpoint { target: SocketAddr::new(pod_ip(of, 1).into(), 8080), local: node == of, ready: true, serving: true };
            let ports = vec![PortRules { port: 80, node_port: Some(30_080), endpoints: vec![endpoint(3), endpoint(4)] }];
            let cluster_ips = vec![IpAddr::from([10, 96, 0, 10])];
            let service = ServiceRules { name: "default/web".to_owned(), cluster_ips, external_ips: vec![VIP.into()], policy, ports };
            self.fabric.apply_rules(machine, ProxyRules { mode, services: vec![service] });
        }
        self
    }

    /// Lets a port on node 2 answer for the VIP with this node's MAC, until the given time.
    fn answer_until(&mut self, port: PortId, node: u8, until: Instant) {
        while self.fabric.next_event().is_some_and(|at| at <= until) {
            self.fabric.step();
            if self.fabric.take_ready_ports().contains(&port) {
                while let Ok(Some(frame)) = self.fabric.port_receive(port) {
                    let Some(asked) = frame.arp().filter(|arp| arp.operation == Operation::Request && arp.target_ip == VIP) else {
                        continue;
                    };
                    let reply = Arp {
                        operation: Operation::Reply,
                        sender_mac: mac(node),
                        sender_ip: VIP,
                        target_mac: asked.sender_mac,
                        target_ip: asked.sender_ip,
                    };
                    self.fabric.port_send(port, &reply.frame(mac(2), asked.sender_mac)).expect("the NIC is up");
                }
            }
        }
        self.fabric.run_until(until);
    }

    fn port(&mut self) -> PortId {
        let nic = self.eth0(self.nodes[0]);
        self.fabric.open_port(nic)
    }

    fn eth0(&self, machine: MachineId) -> NicId {
        self.fabric.nic(machine, "eth0").expect("every machine has an eth0")
    }

    /// What some curls of the VIP said, with node 3 carrying it.
    fn curls(&mut self, count: u32) -> Vec<Result<Answer, CurlError>> {
        let port = self.port();
        let results = (0..count).map(|_| {
            let options = CurlOptions { max_time: Some(Duration::from_secs(5)), ..CurlOptions::to(VIP) };
            let curl = self.fabric.curl(self.client, options);
            let until = self.fabric.now() + Duration::from_secs(6);
            self.answer_until(port, 3, until);
            self.fabric.take_curl(curl).expect("it ended by its timeout").result
        });
        results.collect()
    }

    fn served(&self) -> Vec<(String, IpAddr)> {
        let served = |event: &Event| match event {
            Event::Served { pod, client, .. } => Some((pod.clone(), *client)),
            _ => None,
        };
        self.events.borrow().iter().filter_map(served).collect()
    }

    /// What three pings of the VIP print, with node 3 carrying it.
    fn three_pings(&mut self, to: Ipv4Addr) -> String {
        let port = self.port();
        let ping = self.fabric.ping(self.client, PingOptions { count: Some(3), ..PingOptions::to(to) });
        let until = self.fabric.now() + Duration::from_secs(20);
        self.answer_until(port, 3, until);
        self.fabric.ping_text(ping).to_owned()
    }
}

const IPVS: ProxyMode = ProxyMode::Ipvs { strict_arp: true };

fn hit(pod: &str) -> Result<Answer, CurlError> {
    Ok(Answer { status: 200, body: format!("You've hit {pod}\n") })
}

#[test]
fn a_client_pings_a_node_and_knows_its_mac() {
    let mut lan = Lan::new(1);
    let text = lan.three_pings(lan_ip(4));
    assert!(text.contains("64 bytes from 192.168.0.4: icmp_seq=3 ttl=64 time="), "{text}");
    assert!(text.contains("3 packets transmitted, 3 received, 0% packet loss, time 2000ms"), "{text}");
    assert_eq!(lan.fabric.ip_neigh(lan.client), "192.168.0.4 dev eth0 lladdr 52:54:22:00:00:04 REACHABLE\n");
}

#[test]
fn an_address_that_nobody_has_is_unreachable_after_three_seconds() {
    let mut lan = Lan::new(1);
    let text = lan.three_pings(lan_ip(77));
    assert!(text.contains("From 192.168.0.5 icmp_seq=1 Destination Host Unreachable"), "{text}");
    assert!(text.contains("+3 errors, 100% packet loss"), "{text}");
    assert_eq!(lan.fabric.ip_neigh(lan.client), "192.168.0.77 dev eth0 FAILED\n");
}

#[test]
fn under_cluster_both_pods_answer_and_see_the_nodes_address() {
    for mode in [IPVS, ProxyMode::Iptables] {
        let mut lan = Lan::new(1).rules(mode, TrafficPolicy::Cluster);
        let results = lan.curls(12);
        assert!(results.contains(&hit("pod-3")) && results.contains(&hit("pod-4")), "{mode:?}: {results:?}");
        assert!(results.iter().all(Result::is_ok), "{mode:?}: {results:?}");
        assert!(lan.served().iter().all(|(_, client)| *client == lan_ip(3)), "{mode:?}: {:?}", lan.served());
    }
}

#[test]
fn under_local_only_the_nodes_own_pod_answers_and_sees_the_client() {
    for mode in [IPVS, ProxyMode::Iptables] {
        let mut lan = Lan::new(1).rules(mode, TrafficPolicy::Local);
        assert_eq!(lan.curls(4), vec![hit("pod-3"); 4], "{mode:?}");
        assert!(lan.served().iter().all(|(_, client)| *client == CLIENT_IP));
    }
}

#[test]
fn under_local_a_node_without_a_pod_drops() {
    let mut lan = Lan::new(1).rules(ProxyMode::Iptables, TrafficPolicy::Local);
    let port = lan.port();
    let curl = lan.fabric.curl(lan.client, CurlOptions { max_time: Some(Duration::from_secs(2)), ..CurlOptions::to(VIP) });
    lan.answer_until(port, 2, Instant::from_millis(5000));
    let report = lan.fabric.take_curl(curl).expect("it timed out");
    assert_eq!(report.to_string(), "curl: (28) Connection timed out after 2000 milliseconds\n");
}

#[test]
fn a_service_without_endpoints_refuses() {
    let mut lan = Lan::new(1);
    let ports = vec![PortRules { port: 80, node_port: None, endpoints: Vec::new() }];
    let service = ServiceRules {
        name: "a/b".to_owned(),
        cluster_ips: Vec::new(),
        external_ips: vec![VIP.into()],
        policy: TrafficPolicy::Cluster,
        ports,
    };
    lan.fabric.apply_rules(lan.nodes[1], ProxyRules { mode: IPVS, services: vec![service] });
    assert_eq!(lan.curls(1), [Err(CurlError::Refused)]);
}

#[test]
fn ipvs_answers_a_ping_of_the_address_and_iptables_does_not() {
    let mut ipvs = Lan::new(1).rules(IPVS, TrafficPolicy::Cluster);
    assert!(ipvs.three_pings(VIP).contains("3 received"));
    // The node asked who the client is before it replied, so the client knows it too.
    let table = "192.168.0.3 dev eth0 lladdr 52:54:22:00:00:03 STALE\n192.168.0.91 dev eth0 lladdr 52:54:22:00:00:03 REACHABLE\n";
    assert_eq!(ipvs.fabric.ip_neigh(ipvs.client), table);
    let mut iptables = Lan::new(1).rules(ProxyMode::Iptables, TrafficPolicy::Cluster);
    assert!(iptables.three_pings(VIP).contains("3 packets transmitted, 0 received, 100% packet loss"));
}

/// How many different MACs answered the client's questions for the VIP.
fn answerers(strict_arp: bool) -> BTreeSet<MacAddr> {
    let mut lan = Lan::new(1).rules(ProxyMode::Ipvs { strict_arp }, TrafficPolicy::Cluster);
    lan.three_pings(VIP);
    let answer = |event: &Event| match event {
        Event::Received { frame, .. } => {
            frame.arp().filter(|arp| arp.operation == Operation::Reply && arp.sender_ip == VIP).map(|arp| arp.sender_mac)
        }
        _ => None,
    };
    lan.events.borrow().iter().filter_map(answer).collect()
}

#[test]
fn without_strict_arp_every_node_answers_for_the_address() {
    assert_eq!(answerers(true), BTreeSet::from([mac(3)]));
    assert_eq!(answerers(false), BTreeSet::from([mac(2), mac(3), mac(4)]));
}

#[test]
fn a_node_that_loses_power_forgets_everything_and_its_port_is_down() {
    let mut lan = Lan::new(1).rules(IPVS, TrafficPolicy::Cluster);
    assert!(lan.three_pings(VIP).contains("3 received"));
    let node = lan.nodes[1];
    let port = lan.fabric.open_port(lan.eth0(node));
    lan.fabric.power_off(node);
    assert_eq!(lan.fabric.port_receive(port).expect_err("no power, no light"), LinkError::Down("eth0".into()));
    assert!(lan.three_pings(VIP).contains("0 received"));
    lan.fabric.power_on(node);
    assert_eq!(lan.fabric.ip_neigh(node), "");
    assert!(lan.three_pings(lan_ip(3)).contains("3 received"), "the kernel answers for itself again");
    assert!(lan.three_pings(VIP).contains("0 received"), "kube-proxy has not run yet");
}

#[test]
fn an_open_connection_is_reset_by_another_node_that_knows_nothing_of_it() {
    let mut lan = Lan::new(1).rules(IPVS, TrafficPolicy::Cluster);
    let port = lan.port();
    let curl = lan.fabric.curl(lan.client, CurlOptions::to(VIP));
    let node = lan.eth0(lan.nodes[1]);
    let syn_arrived = |event: &Event| matches!(event, Event::Received { nic, frame } if *nic == node && frame.ethertype() == 0x0800);
    while !lan.events.borrow().iter().any(syn_arrived) {
        lan.answer_until(port, 3, lan.fabric.next_event().expect("the curl goes on"));
    }
    // The SYN is at node 3; what follows it will go to node 4.
    let (operation, sender_mac) = (Operation::Request, mac(4));
    let moved = Arp { operation, sender_mac, sender_ip: VIP, target_mac: MacAddr::ZERO, target_ip: VIP };
    lan.fabric.inject(lan.eth0(lan.client), &moved.frame(mac(2), MacAddr::BROADCAST));
    lan.answer_until(port, 4, Instant::from_millis(10_000));
    let report = lan.fabric.take_curl(curl).expect("it ended without waiting for a timeout");
    assert_eq!(report.result, Err(CurlError::Reset));
}

#[test]
fn a_port_hears_questions_for_all_and_neither_other_hosts_frames_nor_its_own() {
    let mut lan = Lan::new(1);
    let port = lan.port();
    lan.fabric.ping(lan.client, PingOptions { count: Some(1), ..PingOptions::to(lan_ip(4)) });
    lan.fabric.run_until(Instant::from_millis(500));
    assert_eq!(lan.fabric.take_ready_ports(), [port]);
    let heard = lan.fabric.port_receive(port).expect("the NIC is up").expect("the client's question");
    assert_eq!(heard.arp().map(|arp| arp.target_ip), Some(lan_ip(4)));
    assert_eq!(lan.fabric.port_receive(port), Ok(None), "the answer went to the client alone");
}

#[test]
fn machines_on_different_segments_do_not_hear_each_other() {
    let mut lan = Lan::new(1);
    let elsewhere = lan.fabric.add_switch();
    let nic = lan.eth0(lan.nodes[2]);
    lan.fabric.connect(nic, elsewhere, Latency::default());
    assert!(lan.three_pings(lan_ip(4)).contains("+3 errors"));
}

#[test]
fn a_connected_switch_passes_frames_on() {
    let mut lan = Lan::new(1);
    let elsewhere = lan.fabric.add_switch();
    lan.fabric.connect_switches(SwitchId(0), elsewhere, Latency::default());
    lan.fabric.connect(lan.eth0(lan.nodes[2]), elsewhere, Latency::default());
    assert!(lan.three_pings(lan_ip(4)).contains("3 received"));
}

#[test]
fn a_nic_that_goes_down_tells_the_driver_and_loses_its_route() {
    let mut lan = Lan::new(1);
    lan.fabric.take_changed();
    lan.fabric.nic_down(lan.eth0(lan.client));
    assert_eq!(lan.fabric.take_changed(), [lan.client]);
    assert!(!lan.fabric.interfaces(lan.client)[0].up);
    assert_eq!(lan.fabric.route_to(lan.client, VIP), None);
    lan.fabric.nic_up(lan.eth0(lan.client));
    assert_eq!(lan.fabric.route_to(lan.client, VIP), Some("eth0".into()));
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let hash = |seed| {
        let mut lan = Lan::new(seed).rules(ProxyMode::Iptables, TrafficPolicy::Cluster);
        lan.curls(3);
        lan.fabric.trace_hash()
    };
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_on_any_nic_never_panic(
        head in prop::sample::select(vec![&[0x08, 0x06][..], &[0x08, 0x00], &[0x08, 0x00, 0x45, 0, 0, 40], &[0x81, 0x00], &[]]),
        tail in prop::collection::vec(any::<u8>(), 0..120),
        machine in 0..4_u8,
    ) {
        let mut lan = Lan::new(1).rules(IPVS, TrafficPolicy::Cluster);
        let id = MachineId(usize::from(machine));
        let mut bytes = [mac(machine + 2).0, mac(77).0].concat();
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(&tail);
        lan.fabric.inject(lan.eth0(id), &bytes);
        lan.fabric.inject(lan.eth0(id), &tail);
        lan.fabric.run_until(Instant::from_millis(2000));
    }

    #[test]
    fn a_broken_segment_for_a_service_never_panics(
        tcp in prop::collection::vec(any::<u8>(), 0..60),
        length in 0..80_u16,
    ) {
        let mut lan = Lan::new(1).rules(ProxyMode::Iptables, TrafficPolicy::Cluster);
        let mut bytes = [mac(3).0, mac(5).0].concat();
        bytes.extend_from_slice(&[0x08, 0x00, 0x45, 0]);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 0, 64, 6, 0, 0]);
        bytes.extend_from_slice(&CLIENT_IP.octets());
        bytes.extend_from_slice(&VIP.octets());
        bytes.extend_from_slice(&tcp);
        smoltcp::wire::Ipv4Packet::new_unchecked(&mut bytes[14..]).fill_checksum();
        lan.fabric.inject(lan.eth0(lan.nodes[1]), &bytes);
        lan.fabric.run_until(Instant::from_millis(2000));
    }
}
