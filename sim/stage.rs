//! A world that is built: the fabric, the API, and every program that runs on them.
//!
//! It starts and ends programs and lets time pass ([`Stage::run_until`], in `driver`); what the timeline does to it is in `actions`.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellhop::env::{Clock, Env, Links};
use bellhop_apiserver::{ApiServer, ClientName, Config};
use bellhop_core::time::Instant;
use bellhop_fabric::{PingId, stream};
use bellhop_models::{ClusterConfig, ControlPlaneConfig, LifecycleConfig, NodeConfig, run_control_plane, run_node, seed_cluster};
use bellhop_scenario::scenario::ProxyMode;
use bellhop_scenario::{Look, ProbeId, RunId, Scenario, Seen};
use kube::api::PostParams;
use rand::Rng;
use tokio_util::sync::CancellationToken;

use crate::actions::{Intruder, Ongoing};
use crate::clock::{MachineClock, WorldClock};
use crate::eye::Eye;
use crate::invariants::Ordeal;
use crate::lan::{Lan, MachineLinks};
use crate::machines::{self, Machines};
use crate::node::SimulatedNode;
use crate::planted::Planted;
use crate::probes::Probes;
use crate::programs::{Ended, Key, Programs};
use crate::trace::{Header, Outputs, Places, Played, Recorder, Tape};

/// From the cluster's first moment to the scenario's zero: nodes have registered, kube-proxy runs, Bellhop leads. Two heartbeats' worth.
const WARM_UP: Duration = Duration::from_secs(20);
/// When Bellhop is installed, within the warm-up: the nodes are there by then.
const INSTALLED: Duration = Duration::from_secs(5);

/// Something that is to happen at a time of the timeline's own.
pub(crate) enum Alarm {
    /// The end of a continuous ping.
    StopPing(PingId),
    /// The next request of a continuous curl.
    Curl(Curling),
    /// The end of a fault.
    EndFault(u64),
    /// The next change of a link that flaps: whether it is there then.
    Flap(u64, bool),
    /// The end of a reboot.
    PowerOn(String),
    /// The kubelet of this machine starts Bellhop again.
    StartAgain(String),
}

/// A continuous curl.
pub(crate) struct Curling {
    pub(crate) probe: ProbeId,
    pub(crate) from: String,
    pub(crate) url: String,
    pub(crate) every: Duration,
    pub(crate) until: Option<Instant>,
    pub(crate) limit: Duration,
}

/// A built world.
pub(crate) struct Stage {
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
    /// A bug of every replica.
    planted: Option<Planted>,
    pub(crate) clock: WorldClock,
    /// The world's time at the scenario's zero.
    pub(crate) zero: Instant,
    pub(crate) programs: Programs,
    pub(crate) lan: Rc<Lan>,
    pub(crate) machines: Machines,
    pub(crate) api: ApiServer,
    pub(crate) eye: Eye,
    pub(crate) tape: Tape,
    /// By time, then by order of setting.
    pub(crate) alarms: BTreeMap<(Instant, u64), Alarm>,
    pub(crate) alarms_set: u64,
    /// Pings with a count that a command waits for: when they began.
    pub(crate) counted: BTreeMap<PingId, (RunId, Instant)>,
    /// How a replica is asked to stop.
    pub(crate) shutdowns: BTreeMap<String, CancellationToken>,
    /// Where Bellhop is meant to run.
    pub(crate) installed: BTreeSet<String>,
    /// Programs started so far, by key: each start draws from a stream of its own.
    starts: BTreeMap<Key, u32>,
    /// The machines' own clocks.
    clocks: BTreeMap<String, MachineClock>,
    /// The readiness probes of each node's pods.
    pub(crate) probes: BTreeMap<String, Probes>,
    /// The faults that are on, by their numbers.
    pub(crate) faults: BTreeMap<u64, Ongoing>,
    pub(crate) faults_begun: u64,
    /// Intruders' programs, by the number of their fault.
    pub(crate) intruders: BTreeMap<u64, Intruder>,
    /// What Bellhop had to cope with so far.
    pub(crate) ordeal: Ordeal,
    /// The fault that is `api-down`.
    pub(crate) outage: Option<u64>,
    /// How often each machine's power went off or on.
    pub(crate) boots: BTreeMap<String, u32>,
    /// Machines whose replica has just died at a write.
    pub(crate) dead: Arc<Mutex<Vec<String>>>,
    pub(crate) commands: usize,
    /// The world itself failed.
    pub(crate) failure: Option<String>,
}

impl Stage {
    /// Builds the world and lets the cluster come up. Within the runtime.
    pub(crate) async fn build(
        scenario: &Scenario,
        seed: u64,
        planted: Option<Planted>,
        looks: &[Look],
        record: Option<(Played, Outputs)>,
    ) -> Result<Self, String> {
        let (mut fabric, machines) = machines::build(&scenario.topology, seed)?;
        let clock = WorldClock::start();
        let service_cidr_v6 = (!machines.nodes6.is_empty()).then_some(machines::SERVICES_V6);
        let seed_of_api = stream(seed, "api").next_u64();
        let api = ApiServer::new(&Config { seed: seed_of_api, clock: Arc::new(clock.clone()), service_cidr_v6, ..Config::default() });
        let (tape, zero) = (Tape::default(), Instant::ZERO + WARM_UP);
        if let Some((played, outputs)) = record {
            let header = Header { played, zero, places: Places::of(&machines, &scenario.topology) };
            tape.record(Recorder::begin(header, outputs));
        }
        let eye = Eye::new(looks, &machines, &mut fabric, &api, &tape);
        let mut stage = Self {
            scenario: scenario.clone(),
            seed,
            planted,
            clock,
            zero,
            programs: Programs::default(),
            lan: Lan::new(fabric, tape.clone()),
            machines,
            api,
            eye,
            tape,
            alarms: BTreeMap::new(),
            alarms_set: 0,
            counted: BTreeMap::new(),
            shutdowns: BTreeMap::new(),
            installed: scenario.cluster.bellhop.iter().cloned().collect(),
            starts: BTreeMap::new(),
            clocks: BTreeMap::new(),
            probes: BTreeMap::new(),
            faults: BTreeMap::new(),
            faults_begun: 0,
            intruders: BTreeMap::new(),
            ordeal: Ordeal::default(),
            outage: None,
            boots: BTreeMap::new(),
            dead: Arc::default(),
            commands: 0,
            failure: None,
        };
        stage.come_up().await?;
        Ok(stage)
    }

    /// The warm-up.
    async fn come_up(&mut self) -> Result<(), String> {
        for place in self.machines.nics.values() {
            let (machine, nic) = (place.machine.clone(), place.nic.clone());
            self.eye.log().say(self.zero, Seen::Nic { machine, nic, mac: place.mac });
        }
        self.start_control_plane()?;
        for node in self.scenario.topology.nodes.keys().cloned().collect::<Vec<_>>() {
            self.start_node(&node)?;
        }
        self.run_until(Instant::ZERO + INSTALLED).await?;
        for node in self.installed.clone() {
            self.start_bellhop(&node)?;
        }
        self.run_until(self.zero).await
    }

    /// Scheduler and controllers, after what a cluster begins with.
    fn start_control_plane(&mut self) -> Result<(), String> {
        let machine = self.scenario.topology.nodes.keys().next().cloned().ok_or("a cluster without a node")?;
        let proxy = match self.scenario.cluster.kube_proxy.mode {
            ProxyMode::Ipvs => bellhop_models::ProxyMode::Ipvs { strict_arp: self.scenario.cluster.kube_proxy.strict_arp },
            ProxyMode::Iptables => bellhop_models::ProxyMode::Iptables,
        };
        let lifecycle = LifecycleConfig { grace_period: self.scenario.cluster.node_monitor_grace_period, ..LifecycleConfig::default() };
        let config = ControlPlaneConfig { places: self.scenario.cluster.place.clone(), lifecycle };
        let env = self.env(Key::ControlPlane, &machine, "control-plane", CancellationToken::new())?;
        self.programs.start(Key::ControlPlane, async move {
            seed_cluster(&env.client, &ClusterConfig { proxy }).await?;
            for crd in bellhop_api::crds() {
                kube::Api::all(env.client.clone()).create(&PostParams::default(), &crd).await?;
            }
            run_control_plane(env, config).await
        });
        Ok(())
    }

    /// kubelet and kube-proxy of a node.
    pub(crate) fn start_node(&mut self, name: &str) -> Result<(), String> {
        let (ip, pods) = *self.machines.nodes.get(name).ok_or_else(|| format!("no node {name}"))?;
        let node = self.scenario.topology.nodes.get(name).ok_or_else(|| format!("no node {name}"))?;
        let is_control_plane = node.roles.iter().any(|role| role == "control-plane");
        let mut config = if is_control_plane { NodeConfig::control_plane(name, ip, 0) } else { NodeConfig::worker(name, ip, 0) };
        config.pod_cidr = pods;
        config.ipv6 = self.machines.nodes6.get(name).copied();
        config.labels.extend(node.labels.clone());
        let probes = self.probes.entry(name.to_owned()).or_default().clone();
        let kernel = Rc::new(SimulatedNode { lan: Rc::clone(&self.lan), machine: self.machines.ids[name], probes });
        let key = Key::Node(name.to_owned());
        let env = self.env(key.clone(), name, &format!("node {name}"), CancellationToken::new())?;
        self.programs.start(key, run_node(env, config, kernel.clone(), kernel));
        self.work_out();
        Ok(())
    }

    /// The replica of Bellhop on a node.
    pub(crate) fn start_bellhop(&mut self, name: &str) -> Result<(), String> {
        let key = Key::Bellhop(name.to_owned());
        let shutdown = CancellationToken::new();
        let env = self.env(key.clone(), name, &format!("bellhop {name}"), shutdown.clone())?;
        self.shutdowns.insert(name.to_owned(), shutdown);
        self.programs.start(key, bellhop::run(bellhop::Config::new(name), env));
        self.work_out();
        Ok(())
    }

    /// What a program on a machine has of the world.
    fn env(&mut self, key: Key, machine: &str, label: &str, shutdown: CancellationToken) -> Result<Env, String> {
        let id = *self.machines.ids.get(machine).ok_or_else(|| format!("no machine {machine}"))?;
        // The control plane is as if it ran beside the cluster: no machine's clock and no machine's fate is its own.
        let clock: Rc<dyn Clock> =
            if key == Key::ControlPlane { Rc::new(self.clock.clone()) } else { Rc::new(self.machine_clock(machine)) };
        let planted = self.planted.filter(|_| matches!(key, Key::Bellhop(_)));
        let starts = self.starts.entry(key).or_default();
        *starts += 1;
        let service = self.api.client_service(ClientName::from(label));
        let links: Rc<dyn Links> = Rc::new(MachineLinks::new(Rc::clone(&self.lan), id));
        Ok(Env {
            clock,
            rng: stream(self.seed, &format!("{label} {starts}")),
            client: match planted {
                Some(bug) => bug.client(service, machine),
                None => kube::Client::new(service, "default"),
            },
            links: planted.map_or_else(|| Rc::clone(&links), |bug| bug.links(Rc::clone(&links))),
            shutdown,
        })
    }

    /// The clock of a machine.
    pub(crate) fn machine_clock(&mut self, machine: &str) -> MachineClock {
        let world = &self.clock;
        self.clocks.entry(machine.to_owned()).or_insert_with(|| MachineClock::new(world.clone())).clone()
    }

    /// How often a program was started.
    pub(crate) fn starts_of(&self, key: &Key) -> u32 {
        self.starts.get(key).copied().unwrap_or_default()
    }

    /// Sets an alarm.
    pub(crate) fn set_alarm(&mut self, at: Instant, alarm: Alarm) {
        self.alarms_set += 1;
        self.alarms.insert((at, self.alarms_set), alarm);
    }

    /// A program ended: that may be fine, a crash of Bellhop, or a failure of the world.
    pub(crate) fn handle_ended(&mut self, Ended { key, result }: Ended) {
        match (key, result) {
            (Key::Operator(_), Ok(())) => {}
            (Key::Bellhop(machine), result) => {
                let asked = self.shutdowns.remove(&machine).is_some_and(|shutdown| shutdown.is_cancelled());
                let detail = match result {
                    Err(words) => words,
                    Ok(()) if asked => return,
                    Ok(()) => "it ended by itself".to_owned(),
                };
                self.eye.log().say(self.clock.now(), Seen::Crash { machine, detail });
            }
            (key, Ok(())) => self.failure = Some(format!("{key:?} ended by itself")),
            (key, Err(words)) => self.failure = Some(format!("{key:?}: {words}")),
        }
    }
}
