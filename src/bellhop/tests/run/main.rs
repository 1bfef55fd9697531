//! The whole program against the in-memory API server, a LAN of one cable and a paused clock.

mod check;
mod contract;
mod forbidden;
mod hostile;
mod permissions;
mod uninstall;
mod world;

use std::cell::Cell;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellhop::{Config, run};
use bellhop_apiserver::{Fault, FaultId, Latency};
use bellhop_core::arp::{ArpMessage, Operation};
use bellhop_core::mac::MacAddr;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::world::{CLIENT, MASTER, WORKER, World, condition, texts};

const ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(192, 168, 0, 91);
const EIP: &str = "network.kubesphere.io/v1alpha2";

/// Runs master1's program beside `script`, and stops with the script.
async fn beside<T>(world: &World, script: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        result = run(Config::new("master1"), world.env("master1")) => panic!("the program ended: {result:?}"),
        value = script => value,
    }
}

/// Asks who has `ADDRESS`, and waits for the answer.
async fn ask(world: &World) -> Option<ArpMessage> {
    world.lan.borrow_mut().sent.clear();
    world.lan.borrow_mut().arrive(&ArpMessage {
        destination: MacAddr::BROADCAST,
        source: CLIENT.1,
        operation: Operation::Request,
        sender_mac: CLIENT.1,
        sender_ip: CLIENT.0,
        target_mac: MacAddr::ZERO,
        target_ip: ADDRESS,
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.lan.borrow().sent.iter().find(|message| message.target_ip == CLIENT.0).copied()
}

#[tokio::test(start_paused = true)]
async fn a_service_gets_its_address_its_node_and_its_label() {
    let world = World::tutorial().await;
    beside(&world, async {
        world.create_eip("pool", "192.168.0.91-192.168.0.100").await;
        world.create_service("web").await;
        let service = world.assigned("web").await;
        assert_eq!(service["status"]["loadBalancer"]["ingress"][0]["ip"], "192.168.0.91");
        let service = world.until("v1", "Service", "web", |service| condition(service, "bellhop.dev/Announced").starts_with("True")).await;
        assert_eq!(texts(&service["metadata"]["labels"])["eip.porter.kubesphere.io/v1alpha2"], "pool");
        assert!(texts(&service["metadata"]["annotations"]).contains_key("layer2.porter.kubesphere.io/v1alpha1"));
        assert_eq!(service["metadata"]["finalizers"], json!(null));
        let eip = world.until(EIP, "Eip", "pool", |eip| eip["status"]["usage"] == 1).await;
        assert_eq!(eip["status"]["used"], json!({"192.168.0.91": "default/web"}));
        assert_eq!(condition(&eip, "Ready"), "True Ready");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_who_has_is_answered_with_the_chosen_nodes_mac() {
    let world = World::tutorial().await;
    beside(&world, async {
        world.create_eip("pool", "192.168.0.91").await;
        world.create_service("web").await;
        let announced = |service: &serde_json::Value| condition(service, "bellhop.dev/Announced").starts_with("True");
        let service = world.until("v1", "Service", "web", announced).await;
        let node = texts(&service["metadata"]["annotations"])["layer2.porter.kubesphere.io/v1alpha1"].clone();
        let mac = if node == "master1" { MASTER.1 } else { WORKER.1 };
        let reply = ask(&world).await.expect("an answer");
        assert_eq!((reply.sender_ip, reply.sender_mac, reply.source, reply.destination), (ADDRESS, mac, MASTER.1, CLIENT.1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_malformed_eip_says_so_and_the_others_go_on() {
    let world = World::tutorial().await;
    beside(&world, async {
        world.create_eip("odd", "192.168.0.300").await;
        world.create_eip("pool", "192.168.0.91").await;
        world.create_service("web").await;
        world.assigned("web").await;
        let odd = world.until(EIP, "Eip", "odd", |eip| condition(eip, "Ready").starts_with("False")).await;
        assert!(odd["status"]["conditions"][0]["message"].as_str().is_some_and(|message| message.contains("192.168.0.300")), "{odd:#}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn being_asked_to_stop_gives_the_lease_back() {
    let world = World::tutorial().await;
    let script = async {
        let held = |lease: &serde_json::Value| lease["spec"]["holderIdentity"] == "master1";
        world.until("coordination.k8s.io/v1", "Lease", "bellhop", held).await;
        world.shutdown.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        result = run(Config::new("master1"), world.env("master1")) => result.expect("a good end"),
        () = script => unreachable!("pending"),
    }
    assert_eq!(world.get("coordination.k8s.io/v1", "Lease", "bellhop").await["spec"]["holderIdentity"], "");
}

#[tokio::test(start_paused = true)]
async fn a_crd_that_comes_late_is_waited_for() {
    let world = World::new();
    world.create("v1", "Namespace", json!({"metadata": {"name": "bellhop-system"}})).await;
    beside(&world, async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        world.create_crds().await;
        world.create_eip("pool", "192.168.0.91").await;
        world.create_service("web").await;
        world.assigned("web").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_not_there_is_named_once() {
    let log = Log::default();
    let _guard = log.capture();
    let world = World::new();
    world.create_crds().await;
    beside(&world, tokio::time::sleep(Duration::from_secs(60))).await;
    assert_eq!(log.count("namespaces \\\"bellhop-system\\\" not found"), 1, "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_said_once_and_answered_for_meanwhile() {
    let log = Log::default();
    let _guard = log.capture();
    let world = World::tutorial().await;
    beside(&world, async {
        world.create_eip("pool", "192.168.0.91").await;
        world.create_service("web").await;
        let announced = |service: &serde_json::Value| condition(service, "bellhop.dev/Announced").starts_with("True");
        world.until("v1", "Service", "web", announced).await;
        world.server.set_reachable(Some(&"master1".into()), false);
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(ask(&world).await.is_some(), "an outage drops nothing");
        world.server.set_reachable(Some(&"master1".into()), true);
        tokio::time::sleep(Duration::from_secs(30)).await;
    })
    .await;
    assert_eq!(log.count("does not do what it is asked"), 1, "{}", log.text());
    assert_eq!(log.count("does what it is asked again"), 1, "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn an_idle_cluster_is_written_to_for_the_lease_only() {
    let world = World::tutorial().await;
    beside(&world, async {
        world.create_eip("pool", "192.168.0.91").await;
        world.create_service("web").await;
        world.assigned("web").await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let writes = Arc::new(Mutex::new(Vec::new()));
        let seen = writes.clone();
        world.server.observe(move |record| seen.lock().expect("not poisoned").push(record.resource.clone()));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let writes = writes.lock().expect("not poisoned");
        assert!(writes.iter().all(|resource| resource.starts_with("leases")), "{writes:?}");
        assert!((50..=61).contains(&writes.len()), "a renewal a second: {}", writes.len());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_replica_leads_when_the_first_is_gone() {
    let world = World::tutorial().await;
    let holder = |name: &'static str| move |lease: &serde_json::Value| lease["spec"]["holderIdentity"] == name;
    beside(&world, world.until("coordination.k8s.io/v1", "Lease", "bellhop", holder("master1"))).await;
    // The first one's future is dropped: it crashed.
    tokio::select! {
        biased;
        result = run(Config::new("worker-p001"), world.env("worker-p001")) => panic!("the program ended: {result:?}"),
        lease = world.until("coordination.k8s.io/v1", "Lease", "bellhop", holder("worker-p001")) => assert_eq!(lease["spec"]["leaseTransitions"], 1),
    }
}

/// Polls `inner` only while `frozen` is unset: SIGSTOP and SIGCONT. The wake that it slept through comes with the next poll of the whole.
async fn stoppable<T>(frozen: &Cell<bool>, inner: impl Future<Output = T>) -> T {
    let mut inner = std::pin::pin!(inner);
    std::future::poll_fn(|cx| if frozen.get() { std::task::Poll::Pending } else { inner.as_mut().poll(cx) }).await
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stood_still_between_two_writes_does_not_make_the_second() {
    let world = World::tutorial().await;
    let latency = Duration::from_millis(100);
    let late = Fault { latency: Some(Latency { min: latency, max: latency }), ..Fault::default() };
    let frozen = Cell::new(false);
    let log = Arc::new(Mutex::new(Vec::new()));
    let script = async {
        world.create_eip("pool", "192.168.0.91").await;
        let held = |lease: &serde_json::Value| lease["spec"]["holderIdentity"] == "master1";
        world.until("coordination.k8s.io/v1", "Lease", "bellhop", held).await;
        world.server.set_fault(Some(&"master1".into()), FaultId(1), late);
        world.create_service("web").await;
        // Its status is written and its answer under way: the label and the annotation are still to come.
        while world.get("v1", "Service", "web").await["status"]["loadBalancer"]["ingress"][0]["ip"].is_null() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        frozen.set(true);
        tokio::time::sleep(Duration::from_secs(30)).await;
        let taken = json!({"spec": {"holderIdentity": "worker-p001", "leaseTransitions": 1}});
        let leases = world.api("coordination.k8s.io/v1", "Lease");
        leases.patch("bellhop", &PatchParams::default(), &Patch::Merge(taken)).await.expect("patched");
        let seen = Arc::clone(&log);
        world.server.observe_requests(move |request| {
            if request.client.as_str() == "master1" && request.is_write() {
                seen.lock().expect("not poisoned").push(format!("{} {}", request.verb, request.resource));
            }
        });
        frozen.set(false);
        tokio::time::sleep(Duration::from_secs(3)).await;
    };
    tokio::select! {
        biased;
        result = stoppable(&frozen, run(Config::new("master1"), world.env("master1"))) => panic!("the program ended: {result:?}"),
        () = script => {}
    }
    let log = log.lock().expect("not poisoned").clone();
    assert!(log.iter().all(|write: &String| write.contains("leases")), "{log:?}");
    let annotations = texts(&world.get("v1", "Service", "web").await["metadata"]["annotations"]);
    assert!(!annotations.contains_key("layer2.porter.kubesphere.io/v1alpha1"), "{annotations:?}");
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(move || log.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("not poisoned")).into_owned()
    }

    fn count(&self, words: &str) -> usize {
        self.text().matches(words).count()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
