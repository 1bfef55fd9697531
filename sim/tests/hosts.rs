//! Machines of other kinds than Linux, and machines with IPv6, in a scenario: the names in its file reach the fabric.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use bellhop_scenario::observation::{ArpFrame, ArpOperation};
use bellhop_scenario::{Action, Look, Observation, PlayError, ProbeId, RunId, Scenario, Seen, World, command, parse_in, play};
use bellhop_sim::SimWorld;

const KINDS: [&str; 5] = ["linux", "windows", "slow-cache", "ignores-gratuitous", "defender"];
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 91);

/// Three nodes and a client of each kind on one switch; the clients and master1 have both families.
fn text() -> String {
    let clients: String = KINDS
        .iter()
        .zip(5..)
        .map(|(kind, n)| {
            format!(
                "    {kind}: {{ switch: sw0, ip: [192.168.0.{n}/24, \"2001:db8::{n}/64\"], mac: \"02:00:00:00:00:0{n}\", stack: {kind} }}\n"
            )
        })
        .collect();
    format!(
        "version: 1\nname: kinds\nabout: A test.\nseed: 42\nstop: 3m\n\
         topology:\n\
         \x20 segments: {{ lan0: {{ ipv4: 192.168.0.0/24, ipv6: \"2001:db8::/64\" }} }}\n\
         \x20 switches: {{ sw0: {{ segment: lan0 }} }}\n\
         \x20 nodes:\n\
         \x20   master1: {{ roles: [control-plane], nics: {{ eth0: {{ switch: sw0, ip: [192.168.0.2/24, \"2001:db8::2/64\"] }} }} }}\n\
         \x20   worker-p001: {{ nics: {{ eth0: {{ switch: sw0, ip: 192.168.0.3/24 }} }} }}\n\
         \x20   worker-p002: {{ nics: {{ eth0: {{ switch: sw0, ip: 192.168.0.4/24 }} }} }}\n\
         \x20 clients:\n{clients}\
         cluster:\n\
         \x20 kube-proxy: {{ mode: ipvs, strictARP: true }}\n\
         \x20 bellhop: [master1]\n\
         \x20 place: {{ porter-layer2: [worker-p001, worker-p002] }}\n\
         \x20 manifests: [../seed/porter-layer2-eip.yaml, ../seed/porter-layer2.yaml, ../seed/porter-layer2-svc.yaml]\n\
         timeline:\n  - {{ at: 0s, apply: all }}\n\
         expect: []\n"
    )
}

fn scenario(text: &str) -> Scenario {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/failover");
    parse_in(&folder, text).unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The cluster, running, and all that was seen of it.
struct Played {
    world: SimWorld,
    seen: Vec<Observation>,
    runs: usize,
}

impl Played {
    fn start() -> Self {
        let looks = [Look::Frames, Look::Objects { api_version: "v1".to_owned(), kind: "Service".to_owned() }];
        let mut world = SimWorld::new(None);
        world.start(&scenario(&text()), &looks).expect("it starts");
        Self { world, seen: Vec::new(), runs: 0 }
    }

    fn act(&mut self, action: &Action) {
        self.world.act(action).unwrap_or_else(|why| panic!("{action:?}: {why}"));
    }

    fn until(&mut self, at: u64) {
        self.world.run_until(seconds(at)).expect("the world goes on");
        self.seen.extend(self.world.observations());
    }

    /// Types a command. What it printed is seen later.
    fn run(&mut self, on: Option<&str>, line: &str) {
        let command = command::parse(line).expect("a command line");
        self.act(&Action::Run { run: RunId(self.runs), on: on.map(str::to_owned), command });
        self.runs += 1;
    }

    /// What the newest command printed.
    fn printed(&self) -> &str {
        let of = |seen: &Observation| matches!(&seen.what, Seen::Output { run, .. } if run.0 + 1 == self.runs);
        match self.seen.iter().find(|seen| of(seen)).map(|seen| &seen.what) {
            Some(Seen::Output { text, .. }) => text,
            _ => panic!("the command has not ended"),
        }
    }

    /// ARP requests within these seconds, with when each was sent.
    fn requests(&self, from: u64, to: u64) -> impl Iterator<Item = (Duration, &ArpFrame)> {
        self.seen.iter().filter(move |seen| (seconds(from)..seconds(to)).contains(&seen.at)).filter_map(|seen| match &seen.what {
            Seen::Frame(arp) if arp.operation == ArpOperation::Request => Some((seen.at, arp)),
            _ => None,
        })
    }

    /// What a kind's own machine asked for within these seconds: sender and target.
    fn asked(&self, kind: &str, from: u64, to: u64) -> Vec<(Ipv4Addr, Ipv4Addr)> {
        let mac = format!("02:00:00:00:00:0{}", number(kind));
        self.requests(from, to)
            .filter(|(_, arp)| arp.sender_mac.to_string() == mac)
            .map(|(_, arp)| (arp.sender_ip, arp.target_ip))
            .collect()
    }

    /// How long after `moment` the first of a kind's pings that was answered was sent.
    fn answered_after(&self, kind: &str, moment: Duration) -> Option<Duration> {
        self.seen.iter().find_map(|seen| match &seen.what {
            Seen::Ping { from, sent, answer: Some(_), .. } if from == kind && *sent >= moment => Some(*sent - moment),
            _ => None,
        })
    }

    /// The node that carries the Service.
    fn carrier(&self) -> String {
        let node = |seen: &Observation| match &seen.what {
            Seen::Object { object: Some(object), .. } => {
                object["metadata"]["annotations"][bellhop_api::keys::NODE_ANNOTATION].as_str().map(str::to_owned)
            }
            _ => None,
        };
        self.seen.iter().rev().find_map(node).expect("somebody carries it")
    }
}

/// The last part of a kind's addresses.
fn number(kind: &str) -> u8 {
    KINDS.iter().zip(5..).find(|(name, _)| **name == kind).map(|(_, n)| n).expect("one of the kinds")
}

#[test]
fn each_kind_of_client_follows_a_failover_in_its_own_way() {
    let mut played = Played::start();
    for file in ["porter-layer2-eip", "porter-layer2", "porter-layer2-svc"] {
        played.run(None, &format!("kubectl apply -f ../seed/{file}.yaml"));
    }
    played.until(10);
    for (probe, kind) in KINDS.into_iter().enumerate() {
        let every = Duration::from_millis(200);
        played.act(&Action::Ping { probe: ProbeId(probe), from: kind.to_owned(), to: ADDRESS.into(), every, until: None });
    }
    played.until(15);
    played.act(&Action::PowerOff(played.carrier()));
    played.until(150);
    let gratuitous = |(_, arp): &(Duration, &ArpFrame)| (arp.sender_ip, arp.target_ip) == (ADDRESS, ADDRESS);
    let (moved, _) = played.requests(15, 150).find(gratuitous).expect("the address moves");
    for kind in ["linux", "windows", "slow-cache", "defender"] {
        assert!(played.answered_after(kind, moved).is_some_and(|blind| blind < seconds(1)), "{kind} heard it at {moved:?}");
    }
    let deaf = played.answered_after("ignores-gratuitous", moved).expect("it finds out by itself");
    assert!((seconds(1)..seconds(54)).contains(&deaf), "{deaf:?}");
    let questions = KINDS.map(|kind| played.asked(kind, 10, moved.as_secs()).len());
    assert_eq!(questions[2], 1, "a slow cache asks once: {questions:?}");
    assert!(questions.iter().filter(|number| **number > 3).count() == 4, "the others ask when their time is up: {questions:?}");
}

#[test]
fn a_defender_probes_before_it_uses_its_address_again() {
    let mut played = Played::start();
    played.until(10);
    let (machine, nic) = ("defender".to_owned(), "eth0".to_owned());
    played.act(&Action::NicDown { machine: machine.clone(), nic: nic.clone() });
    played.act(&Action::NicUp { machine, nic });
    played.until(11);
    played.run(Some("defender"), "ping -c 1 192.168.0.2");
    played.until(22);
    assert!(played.printed().contains("Network is unreachable"), "{}", played.printed());
    let (own, nobody) = (Ipv4Addr::new(192, 168, 0, number("defender")), Ipv4Addr::UNSPECIFIED);
    assert_eq!(played.asked("defender", 10, 22), [(nobody, own), (nobody, own), (nobody, own), (own, own), (own, own)]);
    played.run(Some("defender"), "ping -c 1 192.168.0.2");
    played.until(24);
    assert!(played.printed().contains("1 received"), "{}", played.printed());
}

#[test]
fn machines_with_an_ipv6_address_ping_each_other_and_show_whom_they_know() {
    let mut played = Played::start();
    for kind in KINDS {
        played.run(Some(kind), "ping -c 3 2001:db8::2");
        let end = u64::try_from(played.runs).expect("five") * 5;
        played.until(end);
        assert!(played.printed().contains("3 received"), "{kind}: {}", played.printed());
    }
    played.run(Some("defender"), "ip neigh");
    played.until(26);
    assert!(played.printed().contains("2001:db8::2 dev eth0 lladdr "), "{}", played.printed());
    played.run(Some("linux"), "ping -c 1 2001:db8::99");
    played.until(30);
    assert!(played.printed().contains("0 received"), "{}", played.printed());
}

#[test]
fn an_ipv6_gateway_is_named_as_what_the_simulator_lacks() {
    let text = text().replace("stack: windows", "gateway: \"2001:db8::2\", stack: windows");
    let Err(PlayError::Unplayable(unplayable)) = play(&scenario(&text), &mut SimWorld::new(None)) else { panic!("it played") };
    assert_eq!(unplayable.missing, ["windows: the IPv6 gateway 2001:db8::2"]);
}
