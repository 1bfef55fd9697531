//! A small cluster for tests of the models: the in-memory API server, a control plane, and nodes that note what they were asked to run.
//!
//! The body of a test runs beside the models; a node is frozen by taking its future away, and all time is tokio's paused clock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bellhop::env::{Clock, Env, Link, Links, LocalFuture};
use bellhop_apiserver::{ApiServer, ClientName, Config};
use bellhop_core::link::{Interface, LinkError};
use bellhop_core::name::InterfaceName;
use bellhop_core::time::Instant;
use bellhop_models::{
    ClusterConfig, ControlPlaneConfig, NodeConfig, PodRunner, PodToRun, ProxyMode, RuleSink, RunError, ServiceRules, run_control_plane,
    run_node, seed_cluster,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;

/// Tokio's paused clock; the wall starts at a fixed day.
struct PausedClock(tokio::time::Instant);

impl Clock for PausedClock {
    fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }

    fn wall(&self) -> jiff::Timestamp {
        wall(self.0.elapsed())
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

    fn route_to(&self, _: std::net::IpAddr) -> Option<InterfaceName> {
        None
    }

    fn changed(&self) -> LocalFuture<'_> {
        Box::pin(std::future::pending())
    }

    fn open(&self, interface: &InterfaceName) -> Result<Box<dyn Link>, LinkError> {
        Err(LinkError::Gone(interface.clone()))
    }
}

/// What a node was asked to do.
#[derive(Default)]
pub(super) struct Machine {
    pub(super) running: RefCell<BTreeMap<String, PodToRun>>,
    pub(super) rules: RefCell<Option<ServiceRules>>,
}

impl PodRunner for Machine {
    fn start(&self, pod: &PodToRun) -> Result<(), RunError> {
        self.running.borrow_mut().insert(pod.name.clone(), pod.clone());
        Ok(())
    }

    fn stop(&self, pod: &PodToRun) {
        self.running.borrow_mut().remove(&pod.name);
    }
}

impl RuleSink for Machine {
    fn apply(&self, rules: &ServiceRules) -> Result<(), RunError> {
        *self.rules.borrow_mut() = Some(rules.clone());
        Ok(())
    }
}

/// The API server, and every write so far but those of Leases.
pub(super) struct Server {
    pub(super) api: ApiServer,
    writes: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(super) fn new() -> Self {
        let start = tokio::time::Instant::now();
        let clock = Arc::new(move || wall(start.elapsed()));
        let api = ApiServer::new(&Config { seed: 1, clock, ..Config::default() });
        let writes = Arc::new(Mutex::new(Vec::new()));
        let log = writes.clone();
        api.observe(move |write| {
            if !write.resource.starts_with("leases") {
                let line = format!("{} {} {} {}", write.verb, write.resource, write.subresource, write.name);
                log.lock().expect("no holder panicked").push(line);
            }
        });
        Self { api, writes }
    }

    pub(super) fn client(&self) -> Client {
        self.client_of("test")
    }

    fn client_of(&self, name: &str) -> Client {
        Client::new(self.api.client_service(ClientName::from(name)), "default")
    }

    pub(super) fn set_away(&self, away: bool) {
        self.api.set_reachable(None, !away);
    }

    pub(super) fn writes(&self) -> Vec<String> {
        self.writes.lock().expect("no holder panicked").clone()
    }
}

fn wall(elapsed: Duration) -> jiff::Timestamp {
    let start = jiff::Timestamp::from_second(1_764_000_000).expect("in range");
    start + jiff::SignedDuration::try_from(elapsed).expect("in range")
}

type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

pub(super) const WORKERS: [&str; 2] = ["worker-p001", "worker-p002"];
/// The client that all nodes are to the API server.
pub(super) const NODES: &str = "nodes";

pub(super) struct Cluster {
    pub(super) server: Server,
    clock: Rc<PausedClock>,
    control_plane: Running,
    pub(super) nodes: BTreeMap<&'static str, Running>,
    pub(super) machines: BTreeMap<&'static str, Rc<Machine>>,
}

impl Cluster {
    pub(super) async fn new() -> Self {
        let server = Server::new();
        let clock = Rc::new(PausedClock(tokio::time::Instant::now()));
        seed_cluster(&server.client(), &ClusterConfig::default()).await.expect("an empty cluster takes its seed");
        let places = [("web".to_owned(), WORKERS.map(str::to_owned).to_vec())].into();
        let config = ControlPlaneConfig { places, ..ControlPlaneConfig::default() };
        let control_plane = Box::pin(run_control_plane(env(&server, &clock, 1), config));
        let mut cluster = Self { server, clock, control_plane, nodes: BTreeMap::new(), machines: BTreeMap::new() };
        for name in ["master1", "worker-p001", "worker-p002"] {
            cluster.machines.insert(name, Rc::default());
            cluster.power_on(name);
        }
        cluster
    }

    pub(super) fn power_on(&mut self, name: &'static str) {
        let machine = self.machines[name].clone();
        let config = match name {
            "master1" => NodeConfig::control_plane(name, [192, 168, 0, 2].into(), 0),
            "worker-p001" => NodeConfig::worker(name, [192, 168, 0, 3].into(), 1),
            _ => NodeConfig::worker(name, [192, 168, 0, 4].into(), 2),
        };
        let env = Env { client: self.server.client_of(NODES), ..env(&self.server, &self.clock, 2) };
        self.nodes.insert(name, Box::pin(run_node(env, config, machine.clone(), machine)));
    }

    /// Runs `body` beside the models.
    pub(super) async fn play<T>(&mut self, body: impl Future<Output = T>) -> T {
        let mut body = std::pin::pin!(body);
        std::future::poll_fn(|cx| {
            for model in self.nodes.values_mut().chain([&mut self.control_plane]) {
                assert!(model.as_mut().poll(cx).is_pending(), "a model ended");
            }
            match body.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(result),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    pub(super) async fn wait(&mut self, duration: Duration) {
        self.play(tokio::time::sleep(duration)).await;
    }

    /// Lets time pass until `holds`; panics after two minutes.
    pub(super) async fn until<F: Future<Output = bool>>(&mut self, what: &str, holds: impl Fn(Client) -> F) {
        let client = self.server.client();
        self.play(async {
            for _ in 0..1200 {
                if holds(client.clone()).await {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            panic!("not within two minutes: {what}");
        })
        .await;
    }

    /// The tutorial's Deployment and Service, and time until both pods are ready.
    pub(super) async fn with_web(&mut self) {
        let client = self.server.client();
        Api::namespaced(client.clone(), "default").create(&PostParams::default(), &web()).await.expect("a Deployment");
        Api::namespaced(client, "default").create(&PostParams::default(), &web_service()).await.expect("a Service");
        self.until("two pods ready", |client| async move { ready_pods(&client).await.len() == 2 }).await;
        self.wait(Duration::from_secs(1)).await;
    }

    pub(super) fn mode(&self, node: &str) -> Option<ProxyMode> {
        self.machines[node].rules.borrow().as_ref().map(|rules| rules.mode)
    }
}

fn env(server: &Server, clock: &Rc<PausedClock>, seed: u64) -> Env {
    let rng = ChaCha8Rng::seed_from_u64(seed);
    Env {
        clock: clock.clone(),
        rng,
        client: server.client(),
        links: Rc::new(NoLinks),
        shutdown: tokio_util::sync::CancellationToken::new(),
    }
}

fn web() -> Deployment {
    let template = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "kubia", "image": "luksa/kubia", "ports": [{"containerPort": 8080}]}]},
    });
    let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec})).expect("a Deployment")
}

fn web_service() -> Service {
    let spec = json!({"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]});
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec})).expect("a Service")
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        && pod.metadata.deletion_timestamp.is_none()
}

pub(super) async fn ready_pods(client: &Client) -> Vec<Pod> {
    let pods = Api::<Pod>::namespaced(client.clone(), "default").list(&ListParams::default()).await.expect("a list");
    pods.items.into_iter().filter(is_ready).collect()
}

pub(super) async fn ready_endpoints(client: &Client) -> usize {
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), "default").list(&ListParams::default()).await.expect("a list");
    let endpoints = slices.items.iter().flat_map(|slice| &slice.endpoints);
    endpoints.filter(|endpoint| endpoint.conditions.as_ref().is_some_and(|conditions| conditions.ready == Some(true))).count()
}

pub(super) async fn node_condition(client: &Client, name: &str) -> (String, String) {
    let node = Api::<Node>::all(client.clone()).get(name).await.expect("registered");
    let conditions = node.status.expect("reported").conditions.expect("reported");
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready").expect("reported");
    (ready.status, ready.reason.unwrap_or_default())
}

pub(super) async fn restart(client: &Client, daemon_set: bool) {
    let annotation = json!({"kubectl.kubernetes.io/restartedAt": "2026-11-23T10:00:00Z"});
    let patch = Patch::Merge(json!({"spec": {"template": {"metadata": {"annotations": annotation}}}}));
    let parameters = PatchParams::default();
    if daemon_set {
        Api::<DaemonSet>::namespaced(client.clone(), "kube-system").patch("kube-proxy", &parameters, &patch).await.expect("patched");
    } else {
        Api::<Deployment>::namespaced(client.clone(), "default").patch("web", &parameters, &patch).await.expect("patched");
    }
}
