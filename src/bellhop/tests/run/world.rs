//! A world for one test: an API server in memory, one LAN whose machines answer ARP, and tokio's paused clock.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bellhop::env::{Clock, Env, Link, Links, LocalFuture};
use bellhop_apiserver::{ApiServer, Config};
use bellhop_core::arp::{ArpMessage, Operation};
use bellhop_core::link::{Interface, InterfaceAddress, LinkError, LinkLayer};
use bellhop_core::mac::MacAddr;
use bellhop_core::name::InterfaceName;
use bellhop_core::time::Instant;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The tutorial's master1, where Bellhop runs.
pub(crate) const MASTER: (Ipv4Addr, MacAddr) = (Ipv4Addr::new(192, 168, 0, 2), MacAddr([0x52, 0x54, 0x22, 0xa3, 0x9a, 0xd9]));
/// The tutorial's worker-p001.
pub(crate) const WORKER: (Ipv4Addr, MacAddr) = (Ipv4Addr::new(192, 168, 0, 3), MacAddr([0x52, 0x54, 0x22, 0x3a, 0xe6, 0x6e]));
/// Somebody on the LAN who asks.
pub(crate) const CLIENT: (Ipv4Addr, MacAddr) = (Ipv4Addr::new(192, 168, 0, 5), MacAddr([0x52, 0x54, 0x22, 0xfa, 0xb9, 0x3b]));

/// Tokio's clock; wall time begins in 2026.
#[derive(Clone, Copy)]
pub(crate) struct PausedClock(tokio::time::Instant);

impl PausedClock {
    #[expect(clippy::disallowed_methods, reason = "the tests' tokio clock is paused: it is an input")]
    pub(crate) fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }

    fn wall(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_second(1_767_225_600).expect("2026-01-01") + self.0.elapsed()
    }

    fn sleep_until(&self, deadline: Instant) -> LocalFuture<'static> {
        Box::pin(tokio::time::sleep_until(self.0 + deadline.since_zero()))
    }
}

/// The LAN as the one NIC of master1 sees it.
#[derive(Default)]
pub(crate) struct Lan {
    /// What was sent, in order.
    pub(crate) sent: Vec<ArpMessage>,
    inbox: VecDeque<Vec<u8>>,
    waker: Option<Waker>,
}

impl Lan {
    /// A frame arrives at the NIC.
    pub(crate) fn arrive(&mut self, message: &ArpMessage) {
        let mut frame = Vec::new();
        message.emit(&mut frame);
        self.inbox.push_back(frame);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A cable end on the LAN.
pub(crate) struct Cable(pub(crate) Rc<RefCell<Lan>>);

impl LinkLayer for Cable {
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, LinkError> {
        let Some(frame) = self.0.borrow_mut().inbox.pop_front() else { return Ok(None) };
        buffer[..frame.len()].copy_from_slice(&frame);
        Ok(Some(frame.len()))
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), LinkError> {
        let message = ArpMessage::parse(frame).expect("only ARP is sent");
        let mut lan = self.0.borrow_mut();
        lan.sent.push(message);
        let asked = [MASTER, WORKER].into_iter().find(|(ip, _)| message.operation == Operation::Request && *ip == message.target_ip);
        if let Some((ip, mac)) = asked.filter(|_| message.sender_ip != message.target_ip) {
            lan.arrive(&ArpMessage {
                destination: message.source,
                source: mac,
                operation: Operation::Reply,
                sender_mac: mac,
                sender_ip: ip,
                target_mac: message.sender_mac,
                target_ip: message.sender_ip,
            });
        }
        Ok(())
    }

    fn join(&mut self, _: Ipv6Addr) -> Result<(), LinkError> {
        Ok(())
    }

    fn leave(&mut self, _: Ipv6Addr) {}
}

impl Link for Cable {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut lan = self.0.borrow_mut();
        if lan.inbox.is_empty() {
            lan.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn ignored(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

struct OneNic(Rc<RefCell<Lan>>);

impl Links for OneNic {
    fn interfaces(&self) -> Vec<Interface> {
        let address = InterfaceAddress { address: MASTER.0.into(), prefix_length: 24 };
        vec![Interface { name: "eth0".into(), mac: MASTER.1, up: true, addresses: vec![address] }]
    }

    fn route_to(&self, _: IpAddr) -> Option<InterfaceName> {
        Some("eth0".into())
    }

    fn changed(&self) -> LocalFuture<'_> {
        Box::pin(std::future::pending())
    }

    fn open(&self, interface: &InterfaceName) -> Result<Box<dyn Link>, LinkError> {
        match interface.as_str() {
            "eth0" => Ok(Box::new(Cable(self.0.clone()))),
            _ => Err(LinkError::Gone(interface.clone())),
        }
    }
}

/// All of it.
pub(crate) struct World {
    pub(crate) server: ApiServer,
    pub(crate) client: Client,
    pub(crate) clock: PausedClock,
    pub(crate) lan: Rc<RefCell<Lan>>,
    pub(crate) shutdown: CancellationToken,
}

impl World {
    /// An empty cluster.
    pub(crate) fn new() -> Self {
        let clock = PausedClock::new();
        // Of both families; a Service that does not ask for both has IPv4, as anywhere.
        let service_cidr_v6 = Some((Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0), 112));
        let clock_of_server = std::sync::Arc::new(move || clock.wall());
        let server = ApiServer::new(&Config { seed: 1, clock: clock_of_server, service_cidr_v6, ..Config::default() });
        let client = client(&server, "test");
        Self { server, client, clock, lan: Rc::default(), shutdown: CancellationToken::new() }
    }

    /// The tutorial's cluster: the CRD, both nodes ready, and one endpoint of the Service `web` on the worker.
    pub(crate) async fn tutorial() -> Self {
        let world = Self::new();
        world.create_crds().await;
        world.create("v1", "Namespace", json!({"metadata": {"name": "bellhop-system"}})).await;
        for (name, (ip, _)) in [("master1", MASTER), ("worker-p001", WORKER)] {
            world.create("v1", "Node", json!({"metadata": {"name": name}})).await;
            let status = json!({"status": {
                "addresses": [{"type": "InternalIP", "address": ip}],
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}],
            }});
            world.patch_status("v1", "Node", name, status).await;
        }
        let endpoints = json!({
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.233.1.2"], "nodeName": "worker-p001", "conditions": {"ready": true}}],
            "ports": [{"port": 8080}],
        });
        world.create("discovery.k8s.io/v1", "EndpointSlice", endpoints).await;
        world
    }

    /// What a program called `name` has of this world. Chance differs by name.
    pub(crate) fn env(&self, name: &str) -> Env {
        Env {
            clock: Rc::new(self.clock),
            rng: ChaCha8Rng::seed_from_u64(name.len() as u64),
            client: client(&self.server, name),
            links: Rc::new(OneNic(self.lan.clone())),
            shutdown: self.shutdown.clone(),
        }
    }

    pub(crate) async fn create_crds(&self) {
        for crd in bellhop_api::crds() {
            Api::all(self.client.clone()).create(&PostParams::default(), &crd).await.expect("a valid CRD");
        }
    }

    pub(crate) async fn create_eip(&self, name: &str, address: &str) {
        let eip = json!({"metadata": {"name": name}, "spec": {"address": address, "interface": "eth0", "protocol": "layer2"}});
        self.create("network.kubesphere.io/v1alpha2", "Eip", eip).await;
    }

    pub(crate) async fn create_service(&self, name: &str) {
        let service = json!({
            "metadata": {"name": name, "annotations": {"lb.kubesphere.io/v1alpha1": "porter", "protocol.porter.kubesphere.io/v1alpha1": "layer2"}},
            "spec": {"type": "LoadBalancer", "selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
        });
        self.create("v1", "Service", service).await;
    }

    pub(crate) async fn create(&self, api_version: &str, kind: &str, mut object: Value) {
        object["apiVersion"] = json!(api_version);
        object["kind"] = json!(kind);
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        self.api(api_version, kind).create(&PostParams::default(), &object).await.expect("created");
    }

    pub(crate) async fn patch_status(&self, api_version: &str, kind: &str, name: &str, status: Value) {
        let api = self.api(api_version, kind);
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.expect("patched");
    }

    /// The object as JSON; null if it is not there.
    pub(crate) async fn get(&self, api_version: &str, kind: &str, name: &str) -> Value {
        self.api(api_version, kind).get_opt(name).await.expect("an answer").map_or(Value::Null, |object| json!(object))
    }

    pub(crate) fn api(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match kind {
            "Lease" => Api::namespaced_with(self.client.clone(), "bellhop-system", &resource),
            "Service" | "EndpointSlice" | "Event" => Api::namespaced_with(self.client.clone(), "default", &resource),
            _ => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// Objects of a namespaced kind in this namespace.
    pub(crate) fn api_in(&self, namespace: &str, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        Api::namespaced_with(self.client.clone(), namespace, &ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)))
    }

    /// Waits until the object is as `wanted` says; panics with what it is instead after a minute.
    pub(crate) async fn until(&self, api_version: &str, kind: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut object = Value::Null;
        for _ in 0..600 {
            object = self.get(api_version, kind, name).await;
            if wanted(&object) {
                return object;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{kind} {name} after a minute: {object:#}");
    }

    /// The Service once it has an address.
    pub(crate) async fn assigned(&self, name: &str) -> Value {
        self.until("v1", "Service", name, |service| service["status"]["loadBalancer"]["ingress"][0]["ip"].is_string()).await
    }
}

fn client(server: &ApiServer, name: &str) -> Client {
    Client::new(server.client_service(name.into()), "default")
}

/// The condition of this type, as `status reason`.
pub(crate) fn condition(object: &Value, type_: &str) -> String {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == type_);
    found.map_or_else(String::new, |found| format!("{} {}", found["status"], found["reason"]).replace('"', ""))
}

/// Labels or annotations as a map.
pub(crate) fn texts(value: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(value.clone()).unwrap_or_default()
}
