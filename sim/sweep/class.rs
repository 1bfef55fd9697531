//! The classes of faults that a seed switches on or off as a whole (swarm testing: Groce and others, ISSTA 2012), and what each of them draws.
//!
//! A class draws from a stream of its own, so that taking one away leaves what all others do as it was. Its steps are those of a scenario file.

use std::fmt;
use std::time::Duration;

use bellhop_scenario::duration::words;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::draw::{Ground, OTHER_POOL, POOL};

/// A class of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Machines lose power, and boot.
    Power,
    /// Machines stand still for a while.
    Freeze,
    /// Clocks run fast or slow.
    ClockRate,
    /// Replicas of Bellhop die, stop, start, stand still, and die between two writes.
    Process,
    /// Links go down, flap; a card gets another MAC.
    Nic,
    /// Cables lose, double, reorder, corrupt, delay, and are cut in one direction.
    Cable,
    /// The cable between two switches is cut or bad.
    Uplink,
    /// Somebody claims one of our addresses, or spoofs ARP.
    Intruder,
    /// Broadcasts by the thousand.
    Storm,
    /// The API server is slow, refuses, or is away.
    ApiServer,
    /// It loses answers after the commit, cuts watches, says 410, answers as of a while ago.
    ApiState,
    /// One replica alone does not reach it.
    Partition,
    /// People and controllers: drain, cordon, roll-outs, scaling, deletions; pods that are not ready.
    Kubernetes,
    /// Edits of Services and pools at bad moments, a pool deleted while it is used.
    Edits,
}

impl Class {
    /// All of them, in the order in which reports list them.
    pub(crate) const ALL: [Self; 14] = [
        Self::Power,
        Self::Freeze,
        Self::ClockRate,
        Self::Process,
        Self::Nic,
        Self::Cable,
        Self::Uplink,
        Self::Intruder,
        Self::Storm,
        Self::ApiServer,
        Self::ApiState,
        Self::Partition,
        Self::Kubernetes,
        Self::Edits,
    ];

    /// Its name, also of its stream.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Freeze => "freeze",
            Self::ClockRate => "clock-rate",
            Self::Process => "process",
            Self::Nic => "nic",
            Self::Cable => "cable",
            Self::Uplink => "uplink",
            Self::Intruder => "intruder",
            Self::Storm => "storm",
            Self::ApiServer => "api-server",
            Self::ApiState => "api-state",
            Self::Partition => "partition",
            Self::Kubernetes => "kubernetes",
            Self::Edits => "edits",
        }
    }

    /// The steps that it draws, each with its time, within a window that the ground gives.
    pub(super) fn draw(self, ground: &Ground, rng: &mut ChaCha8Rng) -> Vec<(Duration, Value)> {
        let mut steps = Steps { ground, rng, steps: Vec::new() };
        for _ in 0..steps.rng.random_range(1..=3) {
            match self {
                Self::Power => steps.power(),
                Self::Freeze => steps.lasting("freeze", |rng, ground| json!({ "machine": ground.machine_or_role(rng) }), 500, 15_000),
                Self::ClockRate => steps.lasting(
                    "clock-rate",
                    |rng, ground| json!({ "machine": ground.replica(rng), "ppm": one_of(rng, &[-2000, -500, -100, 100, 500, 2000]) }),
                    10_000,
                    40_000,
                ),
                Self::Process => steps.process(),
                Self::Nic => steps.nic(),
                Self::Cable => steps.cable(),
                Self::Uplink => steps.uplink(),
                Self::Intruder => steps.intruder(),
                Self::Storm => steps.lasting(
                    "storm",
                    |rng, ground| json!({ "machine": ground.client(rng), "rate": rng.random_range(1_000..=20_000) }),
                    200,
                    1_000,
                ),
                Self::ApiServer => steps.api_server(),
                Self::ApiState => steps.api_state(),
                Self::Partition => steps.partition(),
                Self::Kubernetes => steps.kubernetes(),
                Self::Edits => steps.edits(),
            }
        }
        steps.steps
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The steps of one class under way.
struct Steps<'a> {
    ground: &'a Ground,
    rng: &'a mut ChaCha8Rng,
    steps: Vec<(Duration, Value)>,
}

impl Steps<'_> {
    /// A moment at which something may go wrong, in whole milliseconds.
    fn moment(&mut self) -> Duration {
        let (from, until) = self.ground.window;
        Duration::from_millis(self.rng.random_range(millis(from)..millis(until)))
    }

    fn at(&mut self, at: Duration, key: &str, value: Value) {
        self.steps.push((at, json!({ key: value })));
    }

    /// A fault that lasts between so many and so many milliseconds, and ends within the window.
    fn lasting(&mut self, key: &str, value: impl FnOnce(&mut ChaCha8Rng, &Ground) -> Value, shortest: u64, longest: u64) {
        let at = self.moment();
        let mut value = value(self.rng, self.ground);
        let lasts = Duration::from_millis(self.rng.random_range(shortest..=longest));
        let lasts = lasts.min(self.ground.window.1 - at).max(Duration::from_millis(1));
        value["for"] = json!(words(lasts));
        self.at(at, key, value);
    }

    /// A run of kubectl.
    fn kubectl(&mut self, at: Duration, line: &str) {
        self.at(at, "run", json!(format!("kubectl {line}")));
    }

    fn power(&mut self) {
        let at = self.moment();
        let off = Duration::from_millis(self.rng.random_range(1_000..=30_000));
        let machine = self.ground.node_or_role(self.rng);
        if self.rng.random_bool(0.3) {
            // It stays off: power-off and nothing after.
            let worker = self.ground.worker(self.rng);
            self.at(at, "power-off", json!(worker));
        } else {
            self.at(at, "reboot", json!({ "machine": machine, "off": words(off) }));
        }
    }

    fn process(&mut self) {
        let at = self.moment();
        let replica = self.ground.replica(self.rng);
        match self.rng.random_range(0..5) {
            0 => self.at(at, "restart-bellhop", replica),
            1 => {
                let machine = self.ground.named_replica(self.rng);
                let again = at + Duration::from_millis(self.rng.random_range(500..=15_000));
                let way = one_of(self.rng, &["kill-bellhop", "stop-bellhop"]);
                self.at(at, way, json!(machine));
                self.at(again.min(self.ground.window.1), "start-bellhop", json!(machine));
            }
            2 => {
                let write = self.rng.random_range(1..=4);
                self.at(at, "die-at-write", json!({ "machine": replica, "write": write }));
            }
            _ => self.lasting("freeze-bellhop", |_, _| json!({ "machine": replica }), 500, 20_000),
        }
    }

    fn nic(&mut self) {
        let machine = self.ground.machine(self.rng);
        match self.rng.random_range(0..3) {
            0 => {
                let at = self.moment();
                let again = at + Duration::from_millis(self.rng.random_range(200..=15_000));
                let nic = json!({ "machine": machine, "nic": "eth0" });
                self.at(at, "nic-down", nic.clone());
                self.at(again.min(self.ground.window.1), "nic-up", nic);
            }
            1 => {
                let every = one_of(self.rng, &["100ms", "500ms", "2s"]);
                self.lasting("flap", |_, _| json!({ "machine": machine, "nic": "eth0", "every": every }), 1_000, 10_000);
            }
            _ => {
                let at = self.moment();
                let mac = format!("52:54:22:f0:{:02x}:{:02x}", self.rng.random::<u8>(), self.rng.random::<u8>());
                self.at(at, "set-mac", json!({ "machine": machine, "nic": "eth0", "mac": mac }));
            }
        }
    }

    fn cable(&mut self) {
        let machine = self.ground.machine_or_role(self.rng);
        let mut cable = self.bad_cable();
        cable["machine"] = machine;
        cable["nic"] = json!("eth0");
        self.lasting("cable", |_, _| cable, 500, 20_000);
    }

    fn uplink(&mut self) {
        let Some(between) = self.ground.uplink(self.rng) else { return };
        let mut cable = self.bad_cable();
        cable["between"] = json!(between);
        self.lasting("uplink", |_, _| cable, 500, 20_000);
    }

    /// What is wrong with a cable.
    fn bad_cable(&mut self) -> Value {
        let rng = &mut *self.rng;
        match rng.random_range(0..6) {
            0 => json!({ "cut": true }),
            1 => json!({ "cut": true, "direction": one_of(rng, &["in", "out"]) }),
            2 => json!({ "loss": one_of(rng, &["1%", "5%", "20%", "60%"]) }),
            3 => json!({ "loss": one_of(rng, &["1%", "5%", "20%"]), "burst": rng.random_range(2..=20) }),
            4 => json!({ "duplicate": "5%", "reorder": "5%", "corrupt": "1%" }),
            _ => json!({ "delay": one_of(rng, &["1ms..5ms", "20ms..200ms"]), "rate": one_of(rng, &["1mbit", "100mbit"]) }),
        }
    }

    fn intruder(&mut self) {
        let (client, address) = (self.ground.client(self.rng), self.ground.address(self.rng));
        if self.rng.random_bool(0.5) {
            self.lasting("claim-address", |_, _| json!({ "machine": client, "address": address }), 1_000, 15_000);
        } else {
            let every = one_of(self.rng, &["100ms", "1s"]);
            self.lasting("spoof-arp", |_, _| json!({ "machine": client, "address": address, "every": every }), 1_000, 15_000);
        }
    }

    fn api_server(&mut self) {
        let api = match self.rng.random_range(0..4) {
            0 => json!({ "down": true }),
            1 => json!({ "latency": one_of(self.rng, &["5ms..50ms", "100ms..2s", "1s..8s"]) }),
            2 => json!({ "refuse": { "429": one_of(self.rng, &["5%", "50%", "100%"]) } }),
            _ => json!({ "refuse": { "500": one_of(self.rng, &["5%", "50%"]), "503": "10%" } }),
        };
        self.lasting("api", |_, _| api, 500, 20_000);
    }

    fn api_state(&mut self) {
        let api = match self.rng.random_range(0..5) {
            0 => json!({ "lose-answers": one_of(self.rng, &["10%", "50%", "100%"]) }),
            1 => json!({ "stale": one_of(self.rng, &["500ms", "5s"]) }),
            2 => json!({ "cut-watches": one_of(self.rng, &["200ms", "3s"]) }),
            3 => json!({ "cut-watches": "1s", "gone": "http" }),
            _ => json!({ "cut-watches": "1s", "gone": "stream" }),
        };
        self.lasting("api", |_, _| api, 500, 20_000);
    }

    fn partition(&mut self) {
        let how = one_of(self.rng, &["down", "silent"]);
        if self.rng.random_bool(0.7) {
            let replica = self.ground.replica(self.rng);
            self.lasting("api", |_, _| json!({ "replica": replica, how: true }), 500, 25_000);
            return;
        }
        // In the middle of it another replica is told to go, so that the Lease is given back to nobody who hears of it.
        let replica = self.ground.named_replica(self.rng);
        let lasts = self.rng.random_range(500..=25_000);
        let at = self.moment();
        let end = (at + Duration::from_millis(lasts)).min(self.ground.window.1);
        self.at(at, "api", json!({ "replica": replica, how: true, "for": words((end - at).max(Duration::from_millis(1))) }));
        if let Some(other) = self.ground.other_replica(&replica, self.rng) {
            let middle = at + Duration::from_millis(millis(end - at) / 2);
            let again = end + Duration::from_millis(self.rng.random_range(500..=10_000));
            self.at(middle, "stop-bellhop", json!(other));
            self.at(again.min(self.ground.window.1), "start-bellhop", json!(other));
        }
    }

    fn kubernetes(&mut self) {
        let at = self.moment();
        let (worker, service) = (self.ground.worker(self.rng), self.ground.service(self.rng));
        match self.rng.random_range(0..8) {
            0 => {
                self.kubectl(at, &format!("drain {worker} --ignore-daemonsets"));
                let again = (at + Duration::from_secs(15)).min(self.ground.window.1);
                self.kubectl(again, &format!("uncordon {worker}"));
            }
            1 => {
                self.kubectl(at, &format!("cordon {worker}"));
            }
            2 => self.kubectl(at, "rollout restart deployment porter-layer2"),
            3 => {
                let replicas = self.rng.random_range(1..=4);
                self.kubectl(at, &format!("scale deployment porter-layer2 --replicas={replicas}"));
            }
            4 => {
                self.kubectl(at, &format!("delete service {}", service.0));
                let again = at + Duration::from_millis(self.rng.random_range(10..=5_000));
                self.kubectl(again.min(self.ground.window.1), &format!("apply -f {}", service.1));
            }
            5 => self.kubectl(at, &format!("delete node {worker}")),
            6 => self.lasting("unready", |_, _| json!({ "deployment": "porter-layer2", "machine": worker }), 500, 10_000),
            _ => {
                let label = "node.kubernetes.io/exclude-from-external-load-balancers";
                self.kubectl(at, &format!("label nodes {worker} {label}=true --overwrite"));
                let again = (at + Duration::from_secs(10)).min(self.ground.window.1);
                self.kubectl(again, &format!("label nodes {worker} {label}-"));
            }
        }
    }

    fn edits(&mut self) {
        let at = self.moment();
        let (service, _) = self.ground.service(self.rng);
        let edit = |steps: &mut Self, kind: &str, name: &str, path: &str, value: Value| {
            steps.at(at, "edit", json!({ "kind": kind, "name": name, "set": { path: value } }));
        };
        match self.rng.random_range(0..8) {
            0 | 1 => {
                let policy = one_of(self.rng, &["Local", "Cluster"]);
                edit(self, "Service", service, "spec.externalTrafficPolicy", json!(policy));
            }
            2 => {
                let address = format!("192.168.0.{}", self.rng.random_range(90..=101));
                edit(self, "Service", service, "spec.loadBalancerIP", json!(address));
            }
            3 => {
                let node = if self.rng.random_bool(0.5) { self.ground.worker(self.rng) } else { "no-such-node".to_owned() };
                self.kubectl(at, &format!("annotate svc {service} layer2.porter.kubesphere.io/v1alpha1={node} --overwrite"));
            }
            4 => {
                let range = one_of(self.rng, &["192.168.0.91-192.168.0.92", "192.168.0.92-192.168.0.99", "192.168.0.91-192.168.0.110"]);
                edit(self, "eip", POOL, "spec.address", json!(range));
            }
            5 => {
                let disable = self.rng.random_bool(0.7);
                edit(self, "eip", POOL, "spec.disable", json!(disable));
            }
            6 => {
                let pool = one_of(self.rng, &[OTHER_POOL, POOL]);
                self.kubectl(at, &format!("annotate svc {service} eip.porter.kubesphere.io/v1alpha2={pool} --overwrite"));
            }
            _ => self.kubectl(at, &format!("delete eip {POOL} --wait=false")),
        }
    }
}

/// One of several, all equally likely.
pub(super) fn one_of<T: Copy>(rng: &mut ChaCha8Rng, several: &[T]) -> T {
    several[rng.random_range(0..several.len())]
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
