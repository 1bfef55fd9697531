//! kube-proxy's rules and pods on the real kernel, seen by a client with `curl` and `ping`.
//!
//! Needs root, and says so where it has none. Each test runs as a process of its own in a network namespace of its own that plays the node; the client is a
//! second one. Both are held by processes and end with them. This program is also what answers in the pods (`netns pod …`).

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, ExitCode, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bellhop::env::{Clock, Env, Link, Links, LocalFuture};
use bellhop_apiserver::{ApiServer, ClientName, Config, SystemClock};
use bellhop_core::link::{Interface, LinkError};
use bellhop_core::name::{InterfaceName, ServiceKey};
use bellhop_core::time::Instant;
use bellhop_models::{
    ClusterConfig, ContainerToRun, ControlPlaneConfig, EndpointRule, NetnsConfig, NodeConfig, NodeKernel, PodNamespaces, PodRunner,
    PodToRun, PortRule, Protocol, ProxyMode, RuleSink, ServiceRule, ServiceRules, TrafficPolicy, run_control_plane, run_netns_node,
    run_pod, seed_cluster,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use libtest_mimic::{Arguments, Failed, Trial};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio_util::sync::CancellationToken;

const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 3);
const CLIENT: &str = "192.168.0.5";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 91);
const POD: Ipv4Addr = Ipv4Addr::new(10, 233, 1, 2);

type Result<T, E = anyhow::Error> = std::result::Result<T, E>;
type Body = fn(&World) -> Result<()>;

const TESTS: [(&str, Body); 6] = [
    ("local_keeps_the_clients_address", local_keeps_the_clients_address),
    ("cluster_shows_the_pod_the_nodes_address", cluster_shows_the_pod_the_nodes_address),
    ("local_without_an_endpoint_here_is_silent_and_cluster_without_any_is_refused", no_endpoints),
    ("the_node_answers_arp_for_the_address_unless_strict_arp_is_on", strict_arp),
    ("a_whole_node_serves_the_tutorials_service", a_whole_node_serves),
    ("everything_is_taken_away_at_the_end", everything_is_taken_away),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "pod", "--name", name, "--listen", listen] => {
            finish(listen.parse().context("an address").and_then(|listen| run_pod(name, listen)))
        }
        [_, "inside", name] => finish(inside(name)),
        _ => list(),
    }
}

fn finish(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn list() -> ExitCode {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if !is_root {
        println!("SKIPPED, NOT PASSED: these tests make network namespaces and need root");
    }
    let trials = TESTS.iter().map(|(name, _)| Trial::test(*name, || in_namespace(name)).with_ignored_flag(!is_root)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn in_namespace(name: &str) -> Result<(), Failed> {
    let ourselves = std::env::current_exe()?;
    let output = Command::new("unshare").args(["--net", "--fork", "--kill-child"]).arg(ourselves).args(["inside", name]).output()?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned().into()) }
}

fn inside(name: &str) -> Result<()> {
    let (_, body) = TESTS.iter().find(|(known, _)| *known == name).context("a test's name")?;
    body(&World::new()?)
}

/// The client: a namespace on the same wire.
struct World {
    client: Child,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

impl World {
    fn new() -> Result<Self> {
        let client =
            Command::new("setpriv").args(["--pdeathsig", "KILL", "unshare", "--net", "sleep", "60"]).stdin(Stdio::null()).spawn()?;
        let world = Self { client };
        let ours = std::fs::read_link("/proc/self/ns/net")?;
        while std::fs::read_link(format!("/proc/{}/ns/net", world.client.id()))? == ours {
            std::thread::sleep(Duration::from_millis(5));
        }
        run(&format!("ip link add eth0 type veth peer name eth0 netns {}", world.client.id()))?;
        run("ip link set lo up")?;
        run(&format!("ip addr add {NODE}/24 dev eth0"))?;
        run("ip link set eth0 up")?;
        world.ask(&format!("ip addr add {CLIENT}/24 dev eth0"))?;
        world.ask("ip link set eth0 up")?;
        Ok(world)
    }

    /// Runs a command at the client.
    fn ask(&self, command: &str) -> Result<String> {
        run(&format!("nsenter --net=/proc/{}/ns/net {command}", self.client.id()))
    }

    /// What the client gets from the address, headers included, once it knows whom to send to: Bellhop's part.
    fn curl(&self) -> Result<String> {
        let mac = mac_of_eth0()?;
        self.ask(&format!("ip neigh replace {ADDRESS} lladdr {mac} dev eth0 nud permanent"))?;
        self.ask(&format!("curl --silent --show-error --include --max-time 2 http://{ADDRESS}"))
    }
}

/// From `ip`, for /sys shows the namespace that it was mounted in, which is not ours.
fn mac_of_eth0() -> Result<String> {
    let shown = run("ip -o link show dev eth0")?;
    let mac = shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1);
    mac.map(str::to_owned).context("the MAC in what ip shows")
}

fn run(command: &str) -> Result<String> {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().context("a command")?).args(words).output()?;
    let (told, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command}: {told}{complained}");
    Ok(told.into_owned())
}

fn node() -> (NodeConfig, NetnsConfig) {
    let node = NodeConfig::worker("worker-p001", NODE, 1);
    let cluster_cidr = "10.233.0.0/16".parse().expect("a literal");
    let cluster_cidr_v6 = "fd00:10:233::/48".parse().expect("a literal");
    let executable = std::env::current_exe().expect("a running program has a file");
    (node, NetnsConfig { interface: "eth0".into(), peers: vec![], cluster_cidr, cluster_cidr_v6, executable })
}

fn pod() -> PodToRun {
    let container = ContainerToRun { name: "kubia".into(), image: "luksa/kubia".into(), ports: vec![8080] };
    PodToRun {
        uid: "1".into(),
        namespace: "default".into(),
        name: "web-1".into(),
        ip: POD.into(),
        ipv6: None,
        host_network: false,
        containers: vec![container],
    }
}

/// The tutorial's Service, with one endpoint, here or elsewhere or nowhere.
fn rules(policy: TrafficPolicy, local: Option<bool>, strict_arp: bool) -> ServiceRules {
    let endpoint = |local| EndpointRule { ip: POD.into(), port: 8080, node: None, local, ready: true, serving: true, terminating: false };
    let endpoints = local.map(endpoint).into_iter().collect();
    let port = PortRule { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: Some(30080), endpoints };
    let service = ServiceRule {
        service: ServiceKey::new("default", "web"),
        cluster_ips: vec![IpAddr::from([10, 96, 0, 10])],
        external_ips: vec![ADDRESS.into()],
        policy,
        ports: vec![port],
    };
    ServiceRules { mode: ProxyMode::Ipvs { strict_arp }, services: vec![service] }
}

/// Curls a Service with a pod behind it.
fn answer(world: &World, policy: TrafficPolicy) -> Result<String> {
    let (node, network) = node();
    let pods = PodNamespaces::new(&node, Rc::new(network.clone()))?;
    pods.start(&pod())?;
    let kernel = NodeKernel::new(&node, &network)?;
    kernel.apply(&rules(policy, Some(true), true))?;
    for _ in 0..20 {
        // The pod's program may still be starting.
        if world.curl().is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    world.curl()
}

fn local_keeps_the_clients_address(world: &World) -> Result<()> {
    let answer = answer(world, TrafficPolicy::Local)?;
    ensure!(answer.ends_with("You've hit web-1\n"), "{answer}");
    ensure!(answer.contains(&format!("x-client-address: {CLIENT}\r\n")), "{answer}");
    Ok(())
}

fn cluster_shows_the_pod_the_nodes_address(world: &World) -> Result<()> {
    let answer = answer(world, TrafficPolicy::Cluster)?;
    ensure!(answer.contains(&format!("x-client-address: {NODE}\r\n")), "{answer}");
    Ok(())
}

fn no_endpoints(world: &World) -> Result<()> {
    let (node, network) = node();
    let kernel = NodeKernel::new(&node, &network)?;
    kernel.apply(&rules(TrafficPolicy::Local, Some(false), true))?;
    let silent = world.curl().expect_err("nothing answers").to_string();
    ensure!(silent.contains("timed out"), "{silent}");
    kernel.apply(&rules(TrafficPolicy::Cluster, None, true))?;
    let refused = world.curl().expect_err("nothing answers").to_string();
    ensure!(refused.contains("Connection refused") || refused.contains("Couldn't connect"), "{refused}");
    Ok(())
}

fn strict_arp(world: &World) -> Result<()> {
    let (node, network) = node();
    let kernel = NodeKernel::new(&node, &network)?;
    let ping = format!("ping -c 1 -W 1 {ADDRESS}");
    kernel.apply(&rules(TrafficPolicy::Cluster, None, true))?;
    ensure!(world.ask(&ping).is_err(), "answered under strictARP");
    world.ask("ip neigh flush dev eth0")?;
    kernel.apply(&rules(TrafficPolicy::Cluster, None, false))?;
    world.ask(&ping)?;
    Ok(())
}

/// Kubelet, kube-proxy and the controllers, on real time, from the seed's manifests to the client's `curl`.
fn a_whole_node_serves(world: &World) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let api = ApiServer::new(&Config { clock: Arc::new(SystemClock), ..Config::default() });
        let client = || Client::new(api.client_service(ClientName::from("test")), "default");
        let env = || Env {
            clock: Rc::new(RealClock(tokio::time::Instant::now())),
            rng: ChaCha8Rng::seed_from_u64(1),
            client: client(),
            links: Rc::new(NoLinks),
            shutdown: CancellationToken::new(),
        };
        seed_cluster(&client(), &ClusterConfig::default()).await?;
        let deployment: Deployment = serde_json::from_value(deployment())?;
        Api::namespaced(client(), "default").create(&PostParams::default(), &deployment).await?;
        Api::namespaced(client(), "default").create(&PostParams::default(), &serde_json::from_value::<Service>(service())?).await?;
        let ingress = Patch::Merge(json!({"status": {"loadBalancer": {"ingress": [{"ip": ADDRESS}]}}}));
        Api::<Service>::namespaced(client(), "default").patch_status("web", &PatchParams::default(), &ingress).await?;
        let (node, network) = node();
        tokio::select! {
            result = run_control_plane(env(), ControlPlaneConfig::default()) => result.context("the control plane ended"),
            result = run_netns_node(env(), node, network) => result.context("the node ended"),
            answer = first_answer(world) => {
                let answer = answer?;
                ensure!(answer.contains("You've hit web-") && answer.contains(&format!("x-client-address: {CLIENT}\r\n")), "{answer}");
                Ok(())
            }
        }
    })?;
    let links = run("ip -o link")?;
    ensure!(!links.contains("cni0"), "{links}");
    Ok(())
}

/// What the client gets, once it gets something. The client waits in between, so that the node's programs can run.
async fn first_answer(world: &World) -> Result<String> {
    let mac = mac_of_eth0()?;
    world.ask(&format!("ip neigh replace {ADDRESS} lladdr {mac} dev eth0 nud permanent"))?;
    let mut last = String::new();
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let namespace = format!("--net=/proc/{}/ns/net", world.client.id());
        let url = format!("http://{ADDRESS}");
        let curl = ["curl", "--silent", "--show-error", "--include", "--max-time", "1", &url];
        let output = tokio::process::Command::new("nsenter").arg(namespace).args(curl).output().await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        last = String::from_utf8_lossy(&output.stderr).into_owned();
    }
    anyhow::bail!("no answer: {last}")
}

fn deployment() -> serde_json::Value {
    let container = json!({"name": "kubia", "image": "luksa/kubia", "ports": [{"containerPort": 8080}]});
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}});
    let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
}

fn service() -> serde_json::Value {
    let ports = json!([{"name": "http", "port": 80, "targetPort": 8080}]);
    let spec = json!({"type": "LoadBalancer", "selector": {"app": "web"}, "ports": ports, "externalTrafficPolicy": "Local"});
    json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
}

/// The machine's time.
struct RealClock(tokio::time::Instant);

impl Clock for RealClock {
    fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }

    fn wall(&self) -> jiff::Timestamp {
        bellhop_apiserver::Clock::now(&SystemClock)
    }

    fn sleep_until(&self, deadline: Instant) -> LocalFuture<'static> {
        Box::pin(tokio::time::sleep_until(self.0 + deadline.since_zero()))
    }
}

/// The models open no links.
struct NoLinks;

impl Links for NoLinks {
    fn interfaces(&self) -> Vec<Interface> {
        Vec::new()
    }

    fn route_to(&self, _: IpAddr) -> Option<InterfaceName> {
        None
    }

    fn changed(&self) -> LocalFuture<'_> {
        Box::pin(std::future::pending())
    }

    fn open(&self, interface: &InterfaceName) -> Result<Box<dyn Link>, LinkError> {
        Err(LinkError::Gone(interface.clone()))
    }
}

fn everything_is_taken_away(world: &World) -> Result<()> {
    answer(world, TrafficPolicy::Cluster)?;
    let links = run("ip -o link")?;
    ensure!(!links.contains("cni0") && !links.contains("kube-ipvs0") && !links.contains("veth"), "{links}");
    let table = run("nft list ruleset")?;
    ensure!(table.is_empty(), "{table}");
    Ok(())
}
