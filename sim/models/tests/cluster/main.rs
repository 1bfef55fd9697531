//! The models together, against the in-memory API server, in virtual time.
//!
//! Each test has a small cluster whose nodes note what they were asked to run. The body runs beside the models; a node is frozen by taking its future
//! away, and all time is tokio's paused clock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bellhop::env::{Clock, Env, Link, Links, LocalFuture};
use bellhop_apiserver::{ApiServer, ClientName, Config, Fault, FaultId};
use bellhop_core::link::{Interface, LinkError};
use bellhop_core::name::InterfaceName;
use bellhop_core::time::Instant;
use bellhop_models::{
    ClusterConfig, ControlPlaneConfig, NodeConfig, PodRunner, PodToRun, ProxyMode, RuleSink, RunError, ServiceRules, run_control_plane,
    run_node, seed_cluster,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
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
struct Machine {
    running: RefCell<BTreeMap<String, PodToRun>>,
    rules: RefCell<Option<ServiceRules>>,
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
struct Server {
    api: ApiServer,
    writes: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new() -> Self {
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

    fn client(&self) -> Client {
        self.client_of("test")
    }

    fn client_of(&self, name: &str) -> Client {
        Client::new(self.api.client_service(ClientName::from(name)), "default")
    }

    fn set_away(&self, away: bool) {
        self.api.set_reachable(None, !away);
    }

    fn writes(&self) -> Vec<String> {
        self.writes.lock().expect("no holder panicked").clone()
    }
}

fn wall(elapsed: Duration) -> jiff::Timestamp {
    let start = jiff::Timestamp::from_second(1_764_000_000).expect("in range");
    start + jiff::SignedDuration::try_from(elapsed).expect("in range")
}

type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

const WORKERS: [&str; 2] = ["worker-p001", "worker-p002"];
/// The client that all nodes are to the API server.
const NODES: &str = "nodes";

struct Cluster {
    server: Server,
    clock: Rc<PausedClock>,
    control_plane: Running,
    nodes: BTreeMap<&'static str, Running>,
    machines: BTreeMap<&'static str, Rc<Machine>>,
}

impl Cluster {
    async fn new() -> Self {
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

    fn power_on(&mut self, name: &'static str) {
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
    async fn play<T>(&mut self, body: impl Future<Output = T>) -> T {
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

    async fn wait(&mut self, duration: Duration) {
        self.play(tokio::time::sleep(duration)).await;
    }

    /// Lets time pass until `holds`; panics after two minutes.
    async fn until<F: Future<Output = bool>>(&mut self, what: &str, holds: impl Fn(Client) -> F) {
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
    async fn with_web(&mut self) {
        let client = self.server.client();
        Api::namespaced(client.clone(), "default").create(&PostParams::default(), &web()).await.expect("a Deployment");
        Api::namespaced(client, "default").create(&PostParams::default(), &web_service()).await.expect("a Service");
        self.until("two pods ready", |client| async move { ready_pods(&client).await.len() == 2 }).await;
        self.wait(Duration::from_secs(1)).await;
    }

    fn mode(&self, node: &str) -> Option<ProxyMode> {
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

async fn ready_pods(client: &Client) -> Vec<Pod> {
    let pods = Api::<Pod>::namespaced(client.clone(), "default").list(&ListParams::default()).await.expect("a list");
    pods.items.into_iter().filter(is_ready).collect()
}

async fn ready_endpoints(client: &Client) -> usize {
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), "default").list(&ListParams::default()).await.expect("a list");
    let endpoints = slices.items.iter().flat_map(|slice| &slice.endpoints);
    endpoints.filter(|endpoint| endpoint.conditions.as_ref().is_some_and(|conditions| conditions.ready == Some(true))).count()
}

async fn node_condition(client: &Client, name: &str) -> (String, String) {
    let node = Api::<Node>::all(client.clone()).get(name).await.expect("registered");
    let conditions = node.status.expect("reported").conditions.expect("reported");
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready").expect("reported");
    (ready.status, ready.reason.unwrap_or_default())
}

async fn restart(client: &Client, daemon_set: bool) {
    let annotation = json!({"kubectl.kubernetes.io/restartedAt": "2026-11-23T10:00:00Z"});
    let patch = Patch::Merge(json!({"spec": {"template": {"metadata": {"annotations": annotation}}}}));
    let parameters = PatchParams::default();
    if daemon_set {
        Api::<DaemonSet>::namespaced(client.clone(), "kube-system").patch("kube-proxy", &parameters, &patch).await.expect("patched");
    } else {
        Api::<Deployment>::namespaced(client.clone(), "default").patch("web", &parameters, &patch).await.expect("patched");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deployment_becomes_pods_endpoints_and_rules() {
    let mut cluster = Cluster::new().await;
    cluster.with_web().await;
    let client = cluster.server.client();
    let pods = ready_pods(&client).await;
    let nodes: Vec<_> = pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
    assert!(WORKERS.iter().all(|worker| nodes.iter().any(|node| node == worker)), "{nodes:?}");
    assert_eq!(ready_endpoints(&client).await, 2);
    let legacy = Api::<Endpoints>::namespaced(client, "default").get("web").await.expect("written");
    assert_eq!(legacy.subsets.expect("two pods")[0].addresses.as_ref().map(Vec::len), Some(2));
    for machine in cluster.machines.values() {
        let rules = machine.rules.borrow();
        let web = rules.as_ref().and_then(|rules| rules.services.iter().find(|service| service.service.name == "web")).cloned();
        assert_eq!(web.expect("a rule on each node").ports[0].internal().len(), 2);
    }
    let name = pods[0].name_any();
    assert!(name.starts_with("web-") && name.len() > "web-".len() + 6, "{name}");
}

#[tokio::test(start_paused = true)]
async fn a_rolling_update_never_drops_below_what_must_be_available() {
    let mut cluster = Cluster::new().await;
    cluster.with_web().await;
    let client = cluster.server.client();
    let before: Vec<String> = ready_pods(&client).await.iter().map(ResourceExt::name_any).collect();
    restart(&client, false).await;
    let least = cluster
        .play(async {
            let mut least = usize::MAX;
            for _ in 0..200 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                least = least.min(ready_pods(&client).await.len());
            }
            least
        })
        .await;
    let after = ready_pods(&client).await;
    assert_eq!((least, after.len()), (2, 2));
    assert!(after.iter().all(|pod| !before.contains(&pod.name_any())));
    let status = Api::<Deployment>::namespaced(client, "default").get("web").await.expect("there").status.expect("reported");
    assert_eq!((status.updated_replicas, status.available_replicas, status.replicas), (Some(2), Some(2), Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_scaled_deployment_follows() {
    let mut cluster = Cluster::new().await;
    cluster.with_web().await;
    let scale = Patch::Merge(json!({"spec": {"replicas": 0}}));
    let deployments: Api<Deployment> = Api::namespaced(cluster.server.client(), "default");
    deployments.patch("web", &PatchParams::default(), &scale).await.expect("patched");
    let none_left = |client: Client| async move {
        let pods = Api::<Pod>::namespaced(client, "default").list(&ListParams::default()).await.expect("a list");
        pods.items.is_empty()
    };
    cluster.until("no pod is left", none_left).await;
    assert!(cluster.machines.values().all(|machine| machine.running.borrow().keys().all(|name| name.starts_with("kube-proxy"))));
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_unknown_after_the_grace_period_and_ready_when_it_returns() {
    let mut cluster = Cluster::new().await;
    cluster.with_web().await;
    let client = cluster.server.client();
    cluster.nodes.remove("worker-p001");
    cluster.wait(Duration::from_secs(39)).await;
    assert_eq!(node_condition(&client, "worker-p001").await.0, "True");
    cluster.wait(Duration::from_secs(17)).await;
    assert_eq!(node_condition(&client, "worker-p001").await, ("Unknown".to_owned(), "NodeStatusUnknown".to_owned()));
    cluster.wait(Duration::from_secs(1)).await;
    assert_eq!(ready_endpoints(&client).await, 1);
    let taints =
        Api::<Node>::all(client.clone()).get("worker-p001").await.expect("there").spec.and_then(|spec| spec.taints).unwrap_or_default();
    assert_eq!(taints.len(), 2);
    cluster.machines["worker-p001"].running.borrow_mut().clear();
    cluster.power_on("worker-p001");
    cluster.wait(Duration::from_secs(6)).await;
    assert_eq!(node_condition(&client, "worker-p001").await.0, "True");
    assert_eq!(ready_endpoints(&client).await, 2);
    let taints = Api::<Node>::all(client.clone()).get("worker-p001").await.expect("there").spec.and_then(|spec| spec.taints);
    assert_eq!(taints, None);
    let restarts =
        ready_pods(&client).await.into_iter().filter_map(|pod| pod.status?.container_statuses?.first().map(|status| status.restart_count));
    assert_eq!(restarts.sum::<i32>(), 1);
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_node_that_stays_away_are_replaced_after_five_minutes() {
    let mut cluster = Cluster::new().await;
    cluster.with_web().await;
    cluster.nodes.remove("worker-p001");
    cluster.wait(Duration::from_secs(340)).await;
    assert_eq!(ready_pods(&cluster.server.client()).await.len(), 1);
    cluster.wait(Duration::from_secs(25)).await;
    let ready = ready_pods(&cluster.server.client()).await;
    let nodes: Vec<_> = ready.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
    assert_eq!(nodes, ["worker-p002", "worker-p002"]);
}

#[tokio::test(start_paused = true)]
async fn kube_proxy_keeps_the_old_strict_arp_until_it_is_restarted() {
    let mut cluster = Cluster::new().await;
    cluster.with_web().await;
    let client = cluster.server.client();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let map = maps.get("kube-proxy").await.expect("seeded");
    let edited = map.data.expect("seeded")["config.conf"].replace("strictARP: false", "strictARP: true");
    maps.patch("kube-proxy", &PatchParams::default(), &Patch::Merge(json!({"data": {"config.conf": edited}}))).await.expect("patched");
    cluster.wait(Duration::from_secs(60)).await;
    assert_eq!(cluster.mode("worker-p001"), Some(ProxyMode::Ipvs { strict_arp: false }));
    restart(&client, true).await;
    cluster.wait(Duration::from_secs(10)).await;
    for node in cluster.machines.keys() {
        assert_eq!(cluster.mode(node), Some(ProxyMode::Ipvs { strict_arp: true }), "{node}");
    }
    let status = Api::<DaemonSet>::namespaced(client, "kube-system").get("kube-proxy").await.expect("there").status.expect("reported");
    assert_eq!((status.updated_number_scheduled, status.number_available), (Some(3), Some(3)));
}

#[tokio::test(start_paused = true)]
async fn an_idle_cluster_writes_nothing_but_leases() {
    let mut cluster = Cluster::new().await;
    cluster.with_web().await;
    cluster.wait(Duration::from_secs(10)).await;
    let before = cluster.server.writes().len();
    cluster.wait(Duration::from_secs(200)).await;
    assert_eq!(cluster.server.writes()[before..], [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_api_server_is_no_nodes_fault() {
    let mut cluster = Cluster::new().await;
    cluster.with_web().await;
    cluster.server.set_away(true);
    cluster.wait(Duration::from_secs(200)).await;
    cluster.server.set_away(false);
    let client = cluster.server.client();
    for _ in 0..60 {
        cluster.wait(Duration::from_secs(1)).await;
        for worker in WORKERS {
            assert_eq!(node_condition(&client, worker).await.0, "True");
        }
    }
    assert_eq!(ready_pods(&client).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_is_replaced_and_gone() {
    let mut cluster = Cluster::new().await;
    cluster.with_web().await;
    let client = cluster.server.client();
    let name = ready_pods(&client).await[0].name_any();
    Api::<Pod>::namespaced(client.clone(), "default").delete(&name, &DeleteParams::default()).await.expect("deleted");
    cluster.wait(Duration::from_secs(5)).await;
    let ready = ready_pods(&client).await;
    assert!(ready.len() == 2 && ready.iter().all(|pod| pod.name_any() != name));
    let all = Api::<Pod>::namespaced(client, "default").list(&ListParams::default()).await.expect("a list");
    assert_eq!(all.items.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_writes_the_same() {
    let mut written = Vec::new();
    for _ in 0..2 {
        let mut cluster = Cluster::new().await;
        cluster.with_web().await;
        restart(&cluster.server.client(), false).await;
        cluster.wait(Duration::from_secs(10)).await;
        written.push(cluster.server.writes());
    }
    assert!(written[0].len() > 50, "{}", written[0].len());
    assert_eq!(written[0], written[1]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_node_stays_away_until_its_kubelet_starts_again() {
    let mut cluster = Cluster::new().await;
    cluster.wait(Duration::from_secs(15)).await;
    let nodes: Api<Node> = Api::all(cluster.server.client());
    nodes.delete("worker-p001", &DeleteParams::default()).await.expect("deleted");
    cluster.wait(Duration::from_secs(120)).await;
    assert_eq!(nodes.get_opt("worker-p001").await.expect("answered"), None);
    cluster.power_on("worker-p001");
    cluster.wait(Duration::from_secs(1)).await;
    assert_eq!(node_condition(&cluster.server.client(), "worker-p001").await.0, "True");
    cluster.wait(Duration::from_secs(60)).await;
    assert_eq!(node_condition(&cluster.server.client(), "worker-p001").await.0, "True");
}

#[tokio::test(start_paused = true)]
async fn a_kubelet_whose_reads_lag_a_minute_renews_its_lease() {
    let mut cluster = Cluster::new().await;
    cluster.wait(Duration::from_secs(15)).await;
    let stale = Fault { stale: Some(Duration::from_secs(60)), ..Fault::default() };
    cluster.server.api.set_fault(Some(&ClientName::from(NODES)), FaultId(1), stale);
    for _ in 0..150 {
        cluster.wait(Duration::from_secs(1)).await;
        let client = cluster.server.client();
        for worker in WORKERS {
            assert_eq!(node_condition(&client, worker).await.0, "True");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_edited_away_is_written_again_at_the_next_comparison() {
    let mut cluster = Cluster::new().await;
    cluster.wait(Duration::from_secs(15)).await;
    let nodes: Api<Node> = Api::all(cluster.server.client());
    let edit = Patch::Merge(json!({"status": {"addresses": null}}));
    nodes.patch_status("worker-p001", &PatchParams::default(), &edit).await.expect("patched");
    cluster.wait(Duration::from_secs(11)).await;
    let status = nodes.get("worker-p001").await.expect("there").status.expect("reported");
    assert_eq!(status.addresses.map(|addresses| addresses.len()), Some(2));
}
