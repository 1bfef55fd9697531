//! From a seed to a scenario: machines, cables, Services, probes; and the steps of every class of faults that the seed switches on.
//!
//! A situation lasts a minute. Its faults begin after ten seconds and are over after fifty-five; that everything is reached again after them is
//! promise 3, which every run is held to.

use std::collections::BTreeSet;
use std::time::Duration;

use bellhop_fabric::stream;
use bellhop_scenario::duration::words;
use bellhop_scenario::source::to_yaml;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::class::{Class, one_of};

/// Why there is a drawn scenario.
pub(crate) const DRAWN: &str = "a sweep drew it";
/// How long a situation lasts.
pub(crate) const STOP: Duration = Duration::from_secs(60);
/// When faults begin and when all are over.
const WINDOW: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(55));
/// How likely a class is on.
const ON: f64 = 0.3;

/// The pool of all Services.
pub(super) const POOL: &str = "porter-layer2-eip";

/// The pool that Services may be moved to.
pub(super) const OTHER_POOL: &str = "second-eip";

/// The kinds that clients are drawn of; most are Linux, which the others are compared with.
const STACKS: [&str; 6] = ["linux", "linux", "windows", "slow-cache", "ignores-gratuitous", "defender"];

/// The Services there may be, each with its manifest, relative to a folder of `scenarios/`.
const SERVICES: [(&str, &str); 3] = [
    ("porter-layer2-svc", "../seed/porter-layer2-svc.yaml"),
    ("second", "../manifests/svc-second.yaml"),
    ("third", "../manifests/svc-third-local.yaml"),
];

/// A drawn situation.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    /// The scenario's text.
    pub(crate) text: String,
    /// The classes that are on.
    pub(crate) classes: BTreeSet<Class>,
    /// Of each step of the timeline, its class; the first ones, which set the scene, have none.
    pub(crate) steps: Vec<(Duration, Option<Class>)>,
}

/// What steps may be about.
pub(super) struct Ground {
    pub(super) window: (Duration, Duration),
    workers: Vec<String>,
    replicas: Vec<String>,
    /// Clients, each with its kind.
    clients: Vec<(String, &'static str)>,
    /// Switches, each with what its maker gave it.
    switches: Vec<(String, Value)>,
    services: Vec<(&'static str, &'static str)>,
}

/// Expands a seed, with the classes that it may switch on.
pub(crate) fn draw(seed: u64, may: &BTreeSet<Class>) -> Drawn {
    let mut rng = stream(seed, "sweep ground");
    let ground = Ground::draw(&mut rng);
    let mut switches = stream(seed, "sweep classes");
    let mut classes: BTreeSet<Class> =
        Class::ALL.into_iter().filter(|_| switches.random_bool(ON)).filter(|class| may.contains(class)).collect();
    if classes.is_empty() {
        classes.extend(may.iter().nth(switches.random_range(0..may.len().max(1))));
    }
    let mut steps: Vec<(Duration, Option<Class>, Value)> = ground.scene(&mut rng);
    for class in &classes {
        let drawn = class.draw(&ground, &mut stream(seed, &format!("sweep {class}")));
        steps.extend(drawn.into_iter().map(|(at, step)| (at, Some(*class), step)));
    }
    // Where there is one switch there is no uplink, and that class is not on.
    classes.retain(|class| steps.iter().any(|(_, of, _)| of == &Some(*class)));
    steps.sort_by_key(|(at, ..)| *at);
    let names: Vec<&str> = classes.iter().map(|class| class.name()).collect();
    let timeline: Vec<Value> = steps
        .iter()
        .map(|(at, _, step)| {
            let mut step = step.clone();
            step["at"] = json!(words(*at));
            step
        })
        .collect();
    let scenario = json!({
        "version": 1,
        "name": format!("seed-{seed}"),
        "about": format!("What seed {seed} draws: {}.", names.join(", ")),
        "why": DRAWN,
        "seed": seed,
        "stop": words(STOP),
        "topology": ground.topology(),
        "cluster": ground.cluster(&mut rng),
        "timeline": timeline,
        "expect": [],
    });
    Drawn { text: to_yaml(&scenario), classes, steps: steps.into_iter().map(|(at, class, _)| (at, class)).collect() }
}

/// A switch as it is written: most are plain, some have a small table, some a limit for broadcasts.
fn switch(rng: &mut ChaCha8Rng) -> Value {
    match rng.random_range(0..5) {
        0 => json!({ "segment": "lan0", "table-size": 4 }),
        1 => json!({ "segment": "lan0", "storm-limit": 200 }),
        _ => json!({ "segment": "lan0" }),
    }
}

impl Ground {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let workers: Vec<String> = (1..=rng.random_range(2..=4)).map(|index| format!("worker-{index}")).collect();
        let count = rng.random_range(1..=workers.len().min(2) + 1);
        let replicas = std::iter::once("master1".to_owned()).chain(workers.iter().cloned()).take(count).collect();
        let clients = (1..=rng.random_range(1..=3)).map(|index| (format!("client-{index}"), one_of(rng, &STACKS))).collect();
        let switches = (0..one_of(rng, &[1, 1, 2, 3])).map(|index| (format!("sw{index}"), switch(rng))).collect();
        let services = SERVICES[..rng.random_range(1..=SERVICES.len())].to_vec();
        Self { window: WINDOW, workers, replicas, clients, switches, services }
    }

    /// Addresses and MACs in the manner of the tutorial.
    fn topology(&self) -> Value {
        let switch = |index: usize| json!(self.switches[index % self.switches.len()].0);
        let eth0 = |index: usize, last: usize| json!({ "eth0": { "switch": switch(index), "ip": format!("192.168.0.{last}/24") } });
        let workers = self.workers.iter().enumerate().map(|(index, name)| (name.clone(), json!({ "nics": eth0(index + 1, index + 3) })));
        let master = ("master1".to_owned(), json!({ "roles": ["control-plane"], "nics": eth0(0, 2) }));
        let nodes: serde_json::Map<String, Value> = std::iter::once(master).chain(workers).collect();
        let clients = self.clients.iter().enumerate().map(|(index, (name, stack))| {
            let ip = format!("192.168.0.{}/24", index + 50);
            (name.clone(), json!({ "switch": switch(index + 1), "ip": ip, "stack": stack }))
        });
        let switches: serde_json::Map<String, Value> = self.switches.iter().cloned().collect();
        let mut topology = json!({
            "segments": { "lan0": { "ipv4": "192.168.0.0/24" } },
            "switches": switches,
            "nodes": nodes,
            "clients": clients.collect::<serde_json::Map<String, Value>>(),
        });
        if !self.uplinks().is_empty() {
            topology["uplinks"] = self.uplinks().iter().map(|between| json!({ "between": between })).collect();
        }
        topology
    }

    /// Three switches are a ring, so that a cut one has another way.
    fn uplinks(&self) -> Vec<[String; 2]> {
        let pair = |one: usize, other: usize| [self.switches[one].0.clone(), self.switches[other].0.clone()];
        match self.switches.len() {
            0 | 1 => Vec::new(),
            2 => vec![pair(0, 1)],
            _ => vec![pair(0, 1), pair(1, 2), pair(0, 2)],
        }
    }

    fn cluster(&self, rng: &mut ChaCha8Rng) -> Value {
        let mode = one_of(rng, &["ipvs", "ipvs", "iptables"]);
        json!({
            "kube-proxy": { "mode": mode, "strictARP": true },
            "bellhop": self.replicas,
            // So that NotReady comes within the minute of a situation in some of them.
            "node-monitor-grace-period": one_of(rng, &["15s", "25s", "50s"]),
        })
    }

    /// What is there before anything goes wrong: two pools, a Deployment, Services, and every client asking for each.
    fn scene(&self, rng: &mut ChaCha8Rng) -> Vec<(Duration, Option<Class>, Value)> {
        let mut steps = Vec::new();
        let manifests = ["../seed/porter-layer2-eip.yaml", "../manifests/eip-second.yaml", "../seed/porter-layer2.yaml"].into_iter();
        let manifests: Vec<&str> = manifests.chain(self.services.iter().map(|(_, file)| *file)).collect();
        steps.push((Duration::ZERO, None, json!({ "apply": manifests })));
        if rng.random_bool(0.5) {
            let replicas = rng.random_range(2..=4);
            let scale = json!({ "run": format!("kubectl scale deployment porter-layer2 --replicas={replicas}") });
            steps.push((Duration::from_secs(1), None, scale));
        }
        for (client, _) in &self.clients {
            for index in 0..self.services.len() {
                let url = format!("http://192.168.0.{}", 91 + index);
                let curl = json!({ "from": client, "url": url, "every": "500ms", "limit": "1s" });
                steps.push((Duration::from_secs(7), None, json!({ "curl": curl })));
            }
        }
        steps
    }

    pub(super) fn worker(&self, rng: &mut ChaCha8Rng) -> String {
        self.workers[rng.random_range(0..self.workers.len())].clone()
    }

    pub(super) fn client(&self, rng: &mut ChaCha8Rng) -> String {
        self.clients[rng.random_range(0..self.clients.len())].0.clone()
    }

    pub(super) fn service(&self, rng: &mut ChaCha8Rng) -> (&'static str, &'static str) {
        one_of(rng, &self.services)
    }

    /// One of the addresses that Services have, or will have.
    pub(super) fn address(&self, rng: &mut ChaCha8Rng) -> String {
        format!("192.168.0.{}", 91 + rng.random_range(0..self.services.len()))
    }

    /// A machine that Bellhop runs on.
    pub(super) fn named_replica(&self, rng: &mut ChaCha8Rng) -> String {
        self.replicas[rng.random_range(0..self.replicas.len())].clone()
    }

    /// Another one than that; `None` where there is one.
    pub(super) fn other_replica(&self, than: &str, rng: &mut ChaCha8Rng) -> Option<String> {
        let others: Vec<&String> = self.replicas.iter().filter(|other| *other != than).collect();
        (!others.is_empty()).then(|| others[rng.random_range(0..others.len())].clone())
    }

    /// The same, or whoever leads at that moment.
    pub(super) fn replica(&self, rng: &mut ChaCha8Rng) -> Value {
        if rng.random_bool(0.6) { json!("leader") } else { json!(self.named_replica(rng)) }
    }

    /// A node, or one by its role at that moment.
    pub(super) fn node_or_role(&self, rng: &mut ChaCha8Rng) -> Value {
        match rng.random_range(0..4) {
            0 => json!("leader"),
            1 => json!({ "node-of": self.services[0].0 }),
            _ => json!(self.worker(rng)),
        }
    }

    /// Any machine by name.
    pub(super) fn machine(&self, rng: &mut ChaCha8Rng) -> String {
        match rng.random_range(0..3) {
            0 => "master1".to_owned(),
            1 => self.client(rng),
            _ => self.worker(rng),
        }
    }

    /// Any machine, or one by its role.
    pub(super) fn machine_or_role(&self, rng: &mut ChaCha8Rng) -> Value {
        if rng.random_bool(0.5) { self.node_or_role(rng) } else { json!(self.machine(rng)) }
    }

    /// A cable between switches; `None` where there is one switch.
    pub(super) fn uplink(&self, rng: &mut ChaCha8Rng) -> Option<[String; 2]> {
        let uplinks = self.uplinks();
        (!uplinks.is_empty()).then(|| uplinks[rng.random_range(0..uplinks.len())].clone())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bellhop_scenario::parse_in;
    use bellhop_scenario::source::from_yaml;

    use super::*;

    fn folder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/failover")
    }

    #[test]
    fn whatever_a_seed_draws_is_a_scenario() {
        let all: BTreeSet<Class> = Class::ALL.into();
        for seed in 0..300 {
            let drawn = draw(seed, &all);
            let scenario = parse_in(&folder(), &drawn.text).unwrap_or_else(|refusal| panic!("{refusal}\n{}", drawn.text));
            assert_eq!(scenario.timeline.len(), drawn.steps.len());
        }
    }

    #[test]
    fn taking_a_class_away_leaves_all_that_the_others_draw() {
        let all: BTreeSet<Class> = Class::ALL.into();
        for seed in 0..50 {
            let drawn = draw(seed, &all);
            for class in &drawn.classes {
                let fewer = draw(seed, &all.iter().copied().filter(|other| other != class).collect());
                // With none left it draws another one.
                if drawn.classes.len() > 1 {
                    assert_eq!(without(&drawn, *class), without(&fewer, *class), "seed {seed} without {class}");
                }
            }
        }
    }

    /// Machines, cluster, and the steps that are not of a class.
    fn without(drawn: &Drawn, class: Class) -> (Value, Value, Vec<Value>) {
        let scenario = from_yaml(&drawn.text).expect("it was just written");
        let timeline = scenario["timeline"].as_array().expect("a list").iter().zip(&drawn.steps);
        let others = timeline.filter(|(_, (_, of))| *of != Some(class)).map(|(step, _)| step.clone());
        (scenario["topology"].clone(), scenario["cluster"].clone(), others.collect())
    }

    #[test]
    fn a_class_that_is_on_has_a_step() {
        let all: BTreeSet<Class> = Class::ALL.into();
        for seed in 0..100 {
            let drawn = draw(seed, &all);
            let has_step = |class: &Class| drawn.steps.iter().any(|(_, of)| of == &Some(*class));
            assert!(drawn.classes.iter().all(has_step), "seed {seed}");
        }
    }
}
