//! The whole program under faults of machines, replicas and the API server: what is on while they last, and that all is well after.
//!
//! Actions are made here, without a file, so that a fault can be tried for itself and many of them at random.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bellhop_fabric::stream;
use bellhop_scenario::fault::{Api, Chance, Fault, Gone};
use bellhop_scenario::scenario::Latency;
use bellhop_scenario::{Action, Look, Observation, ProbeId, RunId, Seen, World, command, load};
use bellhop_sim::SimWorld;
use rand::RngExt;
use rand::seq::IndexedRandom;
use serde_json::Value;

const CLIENT: &str = "i-f3fozos0";
const REPLICAS: [&str; 2] = ["master1", "worker-p001"];
const NODES: [&str; 3] = ["master1", "worker-p001", "worker-p002"];
const ADDRESS: &str = "192.168.0.91";
/// After the last fault, everything is as it should be within this: a node that was frozen or off for long must report (10 s), watches are
/// noticed to be dead after 35 s, and pause at most 8 s more.
const CONVERGES_WITHIN: u64 = 90;

/// The tutorial's cluster with two Services, and all that was seen of it.
struct Played {
    world: SimWorld,
    seen: Vec<Observation>,
    runs: usize,
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Played {
    /// At 10 s: the Services have their addresses, and a client asks the first one's five times a second, by ping and by curl.
    fn tutorial(seed: u64) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/leadership/leader-dies.yaml");
        let scenario = load(&path).expect("the scenarios are valid");
        let kinds = [
            ("v1", "Service"),
            ("network.kubesphere.io/v1alpha2", "Eip"),
            ("coordination.k8s.io/v1", "Lease"),
            ("v1", "Pod"),
            ("v1", "Node"),
            ("v1", "Event"),
        ];
        let look = |(api_version, kind): (&str, &str)| Look::Objects { api_version: api_version.to_owned(), kind: kind.to_owned() };
        let mut looks: Vec<Look> = kinds.into_iter().map(look).collect();
        looks.push(Look::Frames);
        let mut world = SimWorld::new(Some(seed));
        world.start(&scenario, &looks).expect("it starts");
        let mut played = Self { world, seen: Vec::new(), runs: 0 };
        for file in ["seed/porter-layer2-eip", "seed/porter-layer2", "seed/porter-layer2-svc", "manifests/svc-second"] {
            played.kubectl(&format!("kubectl apply -f ../{file}.yaml"));
        }
        played.until(10);
        let (from, every) = (CLIENT.to_owned(), Duration::from_millis(200));
        let to = ADDRESS.parse().expect("an address");
        played.act(&Action::Ping { probe: ProbeId(0), from: from.clone(), to, every, until: None });
        let (url, limit) = (format!("http://{ADDRESS}"), seconds(1));
        played.act(&Action::Curl { probe: ProbeId(1), from, url, every, until: None, limit });
        played
    }

    fn kubectl(&mut self, line: &str) {
        let command = command::parse(line).expect("a command line");
        self.act(&Action::Run { run: RunId(self.runs), on: None, command });
        self.runs += 1;
    }

    fn act(&mut self, action: &Action) {
        self.world.act(action).unwrap_or_else(|why| panic!("{action:?}: {why}"));
    }

    fn fault(&mut self, fault: Fault, lasts: u64) {
        self.act(&Action::Fault { fault, lasts: (lasts > 0).then(|| seconds(lasts)) });
    }

    fn until(&mut self, at: u64) {
        self.world.run_until(seconds(at)).expect("the world goes on");
        self.seen.extend(self.world.observations());
    }

    /// The last state of an object.
    fn object(&self, kind: &str, name: &str) -> &Value {
        let mut objects = self.seen.iter().rev().filter_map(|seen| match &seen.what {
            Seen::Object { kind: of, name: called, object, .. } if of == kind && called == name => {
                Some(object.as_ref().unwrap_or(&Value::Null))
            }
            _ => None,
        });
        objects.next().unwrap_or(&Value::Null)
    }

    fn leader(&self) -> String {
        self.object("Lease", "bellhop")["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }

    /// How many requests of a probe that began within these seconds were answered, and how many not.
    fn answers(&self, probe: usize, from: u64, to: u64) -> (usize, usize) {
        let within = |at: Duration| (seconds(from)..seconds(to)).contains(&at);
        let results = self.seen.iter().filter_map(|seen| match &seen.what {
            Seen::Ping { probe: ProbeId(of), sent, answer, .. } if *of == probe && within(*sent) => Some(answer.is_some()),
            Seen::Curl { probe: ProbeId(of), started, result, .. } if *of == probe && within(*started) => Some(result.is_ok()),
            _ => None,
        });
        let results: Vec<bool> = results.collect();
        (results.iter().filter(|fine| **fine).count(), results.iter().filter(|fine| !**fine).count())
    }

    /// What is not as it should be at the end, given that nothing was wrong for the last ten seconds and more.
    fn wrong(&mut self, at: u64) -> Vec<String> {
        self.until(at);
        let mut wrong = Vec::new();
        for service in ["porter-layer2-svc", "second"] {
            let service = self.object("Service", service);
            let conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let announced =
                conditions.iter().any(|condition| condition["type"] == "bellhop.dev/Announced" && condition["status"] == "True");
            if !announced || service["status"]["loadBalancer"]["ingress"][0]["ip"].is_null() {
                wrong.push(format!("not announced: {service}"));
            }
        }
        let used = &self.object("Eip", "porter-layer2-eip")["status"]["used"];
        if used.as_object().is_none_or(|used| used.len() != 2 || used[ADDRESS] != "default/porter-layer2-svc") {
            wrong.push(format!("used: {used}"));
        }
        let (_, lost) = self.answers(0, at - 10, at - 1);
        let (answered, failed) = self.answers(1, at - 10, at - 2);
        if lost + failed > 0 || answered == 0 {
            wrong.push(format!("{lost} pings lost, {failed} curls failed, {answered} answered in the last ten seconds"));
        }
        self.world.finish().expect("it ends");
        self.seen.extend(self.world.observations());
        for seen in &self.seen {
            match &seen.what {
                Seen::InvariantBroken { invariant, detail } => wrong.push(format!("{:?}: {invariant}: {detail}", seen.at)),
                Seen::Crash { machine, detail } => wrong.push(format!("{:?}: {machine} crashed: {detail}", seen.at)),
                _ => {}
            }
        }
        wrong.truncate(8);
        wrong
    }
}

fn everybody(api: Api) -> Fault {
    Fault::Api { replica: None, api }
}

fn only(machine: &str, api: Api) -> Fault {
    Fault::Api { replica: Some(machine.to_owned()), api }
}

const NOTHING: [String; 0] = [];

/// Draws some faults, lets them overlap, heals, and says what is wrong after.
fn hunted(seed: u64) -> Vec<String> {
    let mut rng = stream(seed, "hunt");
    let mut played = Played::tutorial(seed);
    let mut story = Vec::new();
    let mut now = 12;
    for _ in 0..rng.random_range(1..=6) {
        now += rng.random_range(0..20);
        played.until(now);
        let lasts = rng.random_range(2..60);
        let replica = (*REPLICAS.choose(&mut rng).expect("two")).to_owned();
        let node = (*NODES.choose(&mut rng).expect("three")).to_owned();
        let of = rng.random_bool(0.5).then(|| replica.clone());
        let api = |api: Api| Fault::Api { replica: of.clone(), api };
        let chance = Chance(rng.random_range(50_000..1_000_000));
        let action = match rng.random_range(0..18) {
            0 => Action::Fault { fault: Fault::Freeze { machine: node }, lasts: Some(seconds(lasts)) },
            1 => Action::Fault {
                fault: Fault::ClockRate { machine: node, ppm: rng.random_range(-100_000..100_000) },
                lasts: Some(seconds(lasts)),
            },
            2 | 3 => Action::Fault { fault: Fault::FreezeBellhop { machine: replica }, lasts: Some(seconds(lasts)) },
            4 | 5 => Action::Fault { fault: Fault::DieAtWrite { machine: replica, write: rng.random_range(1..6) }, lasts: None },
            6 => Action::Fault { fault: api(Api { down: true, ..Api::default() }), lasts: Some(seconds(lasts)) },
            7 => Action::Fault { fault: api(Api { silent: true, ..Api::default() }), lasts: Some(seconds(lasts)) },
            8 => {
                let latency = Some(Latency { min: Duration::ZERO, max: Duration::from_millis(rng.random_range(1..4000)) });
                Action::Fault { fault: api(Api { latency, ..Api::default() }), lasts: Some(seconds(lasts)) }
            }
            9 => {
                let status = *[429, 500, 503].choose(&mut rng).expect("three");
                Action::Fault {
                    fault: api(Api { refuse: BTreeMap::from([(status, chance)]), ..Api::default() }),
                    lasts: Some(seconds(lasts)),
                }
            }
            10 | 11 => Action::Fault { fault: api(Api { lose_answers: chance, ..Api::default() }), lasts: Some(seconds(lasts)) },
            12 | 13 => Action::Fault {
                fault: api(Api { stale: Some(seconds(rng.random_range(1..40))), ..Api::default() }),
                lasts: Some(seconds(lasts)),
            },
            14 => Action::Fault {
                fault: api(Api { cut_watches: Some(seconds(rng.random_range(1..10))), ..Api::default() }),
                lasts: Some(seconds(lasts)),
            },
            15 => {
                let gone = Some(if rng.random_bool(0.5) { Gone::Http } else { Gone::Stream });
                Action::Fault { fault: api(Api { gone, cut_watches: Some(seconds(3)), ..Api::default() }), lasts: Some(seconds(lasts)) }
            }
            16 => Action::Reboot { machine: node, off: seconds(lasts) },
            _ => Action::RestartBellhop(replica),
        };
        story.push(format!("{now} s: {action:?}"));
        played.act(&action);
        if rng.random_bool(0.3) {
            let line = *[
                "kubectl rollout restart deployment porter-layer2",
                "kubectl scale deployment porter-layer2 --replicas 1",
                "kubectl scale deployment porter-layer2 --replicas 3",
            ]
            .choose(&mut rng)
            .expect("three");
            story.push(format!("{now} s: {line}"));
            played.kubectl(line);
        }
    }
    now += 30;
    played.until(now);
    played.world.heal().expect("it heals");
    let mut wrong = played.wrong(now + CONVERGES_WITHIN);
    if !wrong.is_empty() {
        wrong.extend(story);
    }
    wrong
}

#[test]
fn whatever_happened_all_is_well_after() {
    for seed in 0..8 {
        assert_eq!(hunted(seed), NOTHING, "seed {seed}");
    }
}

#[test]
fn a_list_from_a_server_that_lags_takes_no_address_away() {
    let mut played = Played::tutorial(3);
    played.until(20);
    // Watches that are cut again and again are listed anew, from a server that has not heard of the Services yet.
    let lagging = Api { stale: Some(seconds(60)), cut_watches: Some(seconds(1)), ..Api::default() };
    played.fault(only("master1", lagging), 30);
    assert_eq!(played.wrong(80), NOTHING);
    assert_eq!(played.answers(0, 15, 79).1, 0, "no ping was lost");
    assert_eq!(played.leader(), "master1");
}

#[test]
fn a_frozen_leader_that_thaws_says_nothing_of_its_own() {
    let mut played = Played::tutorial(1);
    played.until(20);
    assert_eq!(played.leader(), "master1");
    played.fault(Fault::FreezeBellhop { machine: "master1".to_owned() }, 30);
    played.until(30);
    assert_eq!(played.leader(), "worker-p001");
    // Questions wait in the socket of the one that stands still.
    let (from, every, until) = (CLIENT.to_owned(), Duration::from_millis(100), Some(seconds(49)));
    played.act(&Action::Ping { probe: ProbeId(7), from, to: "192.168.0.92".parse().expect("an address"), every, until });
    assert_eq!(played.wrong(80), NOTHING);
    let sent_by_master1 = played.seen.iter().filter(|seen| seen.at > seconds(20)).filter_map(|seen| match &seen.what {
        Seen::Frame(frame) if frame.ethernet_source.to_string() == "52:54:22:a3:9a:d9" => Some((seen.at, frame.sender_ip)),
        _ => None,
    });
    let claims: Vec<_> = sent_by_master1.filter(|(_, ip)| ip.octets()[3] >= 91).collect();
    assert!(claims.is_empty(), "{claims:?}");
    assert_eq!(played.leader(), "worker-p001");
}

#[test]
fn clocks_that_run_differently_change_no_leader() {
    let mut played = Played::tutorial(1);
    played.fault(Fault::ClockRate { machine: "master1".to_owned(), ppm: -5000 }, 0);
    played.fault(Fault::ClockRate { machine: "worker-p001".to_owned(), ppm: 5000 }, 0);
    let transitions = |played: &Played| played.object("Lease", "bellhop")["spec"]["leaseTransitions"].clone();
    let before = transitions(&played);
    assert_eq!(played.wrong(900), NOTHING);
    assert_eq!(transitions(&played), before);
    assert_eq!(played.answers(0, 10, 899).1, 0);
}

#[test]
fn pods_that_fail_their_probes_carry_nothing_and_are_back_after() {
    let mut played = Played::tutorial(1);
    played.until(20);
    let on_one = Some("worker-p001".to_owned());
    played.fault(Fault::Unready { deployment: "porter-layer2".to_owned(), machine: on_one.clone() }, 20);
    played.fault(Fault::Unready { deployment: "porter-layer2".to_owned(), machine: on_one }, 40);
    let ready = |played: &mut Played, at: u64| {
        played.until(at);
        let pods: BTreeMap<&String, &Value> = played
            .seen
            .iter()
            .filter_map(|seen| match &seen.what {
                Seen::Object { kind, name, object: Some(object), .. } if kind == "Pod" && name.starts_with("porter-layer2-") => {
                    Some((name, object))
                }
                _ => None,
            })
            .collect();
        let is_ready = |pod: &&&Value| {
            let conditions = pod["status"]["conditions"].as_array();
            conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        pods.values().filter(is_ready).count()
    };
    assert_eq!(ready(&mut played, 30), 1);
    assert_eq!(ready(&mut played, 50), 1, "one fault has ended, the other goes on");
    assert_eq!(ready(&mut played, 61), 2);
    assert_eq!(played.wrong(80), NOTHING);
    assert_eq!(played.answers(1, 21, 79).1, 0, "the pod that is ready answers");
}

#[test]
fn a_replica_dies_between_two_writes_and_the_kubelet_starts_it_again() {
    let mut played = Played::tutorial(1);
    played.until(20);
    played.fault(Fault::DieAtWrite { machine: "master1".to_owned(), write: 1 }, 0);
    assert_eq!(played.world.ongoing().len(), 1);
    played.until(22);
    assert!(played.world.ongoing().is_empty(), "it struck");
    let renewed = played.object("Lease", "bellhop")["spec"]["renewTime"].clone();
    played.until(24);
    assert_eq!(played.object("Lease", "bellhop")["spec"]["renewTime"], renewed, "nobody renews");
    assert_eq!(played.wrong(60), NOTHING);
    assert_eq!(played.leader(), "worker-p001");
    // The one that came back takes over when the other goes.
    let mut played = Played::tutorial(1);
    played.until(20);
    played.fault(Fault::DieAtWrite { machine: "master1".to_owned(), write: 1 }, 0);
    played.until(40);
    played.act(&Action::KillBellhop("worker-p001".to_owned()));
    assert_eq!(played.wrong(80), NOTHING);
    assert_eq!(played.leader(), "master1");
}

#[test]
fn faults_of_one_kind_nest_and_all_end_when_the_world_heals() {
    let mut played = Played::tutorial(1);
    played.until(20);
    let frozen = || Fault::Freeze { machine: "worker-p002".to_owned() };
    played.fault(frozen(), 20);
    played.fault(frozen(), 0);
    played.fault(everybody(Api { latency: Some(Latency { min: seconds(1), max: seconds(1) }), ..Api::default() }), 0);
    played.act(&Action::ApiDown);
    assert_eq!(played.world.ongoing().len(), 4);
    played.act(&Action::ApiUp);
    let heard = |played: &Played| played.object("Lease", "worker-p002")["spec"]["renewTime"].clone();
    played.until(60);
    assert_eq!(played.world.ongoing().iter().map(|(_, since, until)| (since.as_secs(), *until)).collect::<Vec<_>>(), [(20, None); 2]);
    let at_sixty = heard(&played);
    played.act(&Action::Reboot { machine: "worker-p001".to_owned(), off: seconds(1000) });
    played.until(80);
    assert_eq!(heard(&played), at_sixty, "it stands still");
    played.world.heal().expect("it heals");
    assert!(played.world.ongoing().is_empty());
    assert_eq!(played.wrong(80 + CONVERGES_WITHIN), NOTHING);
    assert_ne!(heard(&played), at_sixty);
}

#[test]
fn a_killed_replica_stays_away_through_a_power_cycle_until_it_is_started() {
    let mut played = Played::tutorial(1);
    let machine = || "master1".to_owned();
    played.until(20);
    played.act(&Action::KillBellhop(machine()));
    played.act(&Action::Reboot { machine: machine(), off: seconds(2) });
    played.act(&Action::KillBellhop("worker-p001".to_owned()));
    played.until(40);
    let transitions = played.object("Lease", "bellhop")["metadata"]["resourceVersion"].clone();
    played.until(60);
    assert_eq!(played.object("Lease", "bellhop")["metadata"]["resourceVersion"], transitions, "nobody is there");
    played.act(&Action::StartBellhop(machine()));
    assert_eq!(played.wrong(150), NOTHING);
    assert_eq!(played.leader(), "master1");
}

#[test]
fn a_machine_that_boots_while_the_api_is_down_waits_for_it() {
    let mut played = Played::tutorial(1);
    played.until(20);
    played.act(&Action::PowerOff("master1".to_owned()));
    played.act(&Action::ApiDown);
    played.until(30);
    played.act(&Action::PowerOn("master1".to_owned()));
    played.until(60);
    played.act(&Action::ApiUp);
    assert_eq!(played.wrong(60 + CONVERGES_WITHIN), NOTHING);
}

#[test]
fn the_same_faults_are_the_same_run() {
    let once = || {
        let mut played = Played::tutorial(5);
        played.fault(
            everybody(Api {
                latency: Some(Latency { min: Duration::ZERO, max: seconds(2) }),
                lose_answers: Chance(300_000),
                ..Api::default()
            }),
            30,
        );
        played.fault(Fault::Flap { machine: "worker-p002".to_owned(), nic: "eth0".to_owned(), every: seconds(3) }, 20);
        played.fault(Fault::ClockRate { machine: "worker-p001".to_owned(), ppm: 12_345 }, 25);
        played.act(&Action::RestartBellhop("worker-p001".to_owned()));
        let wrong = played.wrong(50 + CONVERGES_WITHIN);
        (wrong, played.world.trace_hash())
    };
    let first = once();
    assert_eq!(first.0, NOTHING);
    assert_eq!(once(), first);
}
