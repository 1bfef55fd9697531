//! The API server refuses one verb on one resource, each in turn, as if a rule of RBAC had been taken away: the log names verb and resource, the program goes on, what does
//! not need it is done, and when the right is back all is made good.
//!
//! Which rights there are is deploy/rbac.yaml's to say; this file has all of them but those that a refusal elsewhere hides.

use std::time::Duration;

use bellhop_apiserver::{Fault, FaultId};
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::world::{World, condition};
use crate::{EIP, Log, ask, beside};

/// A right, and what is still done without it while the program runs.
struct Right {
    verb: &'static str,
    resource: &'static str,
    /// A Service that is made meanwhile gets its address.
    serves: bool,
}

const fn right(verb: &'static str, resource: &'static str, serves: bool) -> Right {
    Right { verb, resource, serves }
}

/// A list is asked for at the start, and a watch again every half minute: without the one, what was listed goes on being watched; without the other, it is listed
/// again and again.
const RIGHTS: [Right; 17] = [
    right("list", "nodes", true),
    right("watch", "nodes", true),
    right("list", "endpointslices.discovery.k8s.io", true),
    right("watch", "endpointslices.discovery.k8s.io", true),
    right("list", "namespaces", true),
    right("watch", "namespaces", true),
    right("list", "services", true),
    right("watch", "services", true),
    right("list", "eips.network.kubesphere.io", true),
    right("watch", "eips.network.kubesphere.io", true),
    right("list", "leases.coordination.k8s.io", true),
    right("watch", "leases.coordination.k8s.io", true),
    right("patch", "services", true),
    right("patch", "services/status", false),
    right("patch", "eips.network.kubesphere.io", true),
    right("update", "eips/status.network.kubesphere.io", false),
    right("create", "events", true),
];

/// Rights whose loss is a loss of the Lease: an unconfirmed leader answers and writes nothing.
const LEASE: [Right; 2] = [right("update", "leases.coordination.k8s.io", false), right("create", "leases.coordination.k8s.io", true)];

fn without(right: &Right) -> Fault {
    Fault { forbidden: [(right.verb.to_owned(), right.resource.to_owned())].into(), ..Fault::default() }
}

async fn good(world: &World) {
    world.create_eip("pool", "192.168.0.91-192.168.0.100").await;
    world.create_service("web").await;
}

fn announced(service: &Value) -> bool {
    condition(service, "bellhop.dev/Announced").starts_with("True")
}

fn has_address(service: &Value) -> bool {
    service["status"]["loadBalancer"]["ingress"][0]["ip"].is_string()
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_taken_away_from_a_running_program_silences_nobody_and_stops_only_what_needs_it() {
    for right in RIGHTS.iter().chain(&LEASE) {
        let what = format!("without {} {}", right.verb, right.resource);
        let world = World::tutorial().await;
        beside(&world, async {
            good(&world).await;
            world.until("v1", "Service", "web", announced).await;
            world.server.set_fault(Some(&"master1".into()), FaultId(1), without(right));
            // Every watch that was running has ended by then.
            tokio::time::sleep(Duration::from_secs(60)).await;
            world.create_service("second").await;
            tokio::time::sleep(Duration::from_secs(30)).await;
            let served = has_address(&world.get("v1", "Service", "second").await);
            assert_eq!(served, right.serves, "{what}: a new Service");
            assert!(ask(&world).await.is_some(), "{what}: what stands is answered for");
            assert!(has_address(&world.get("v1", "Service", "web").await), "{what}");
            world.server.clear_fault(Some(&"master1".into()), FaultId(1));
            world.assigned("second").await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_right_that_a_program_never_had_is_named_in_its_log_and_made_good_when_it_comes() {
    for right in RIGHTS.iter().chain(&LEASE) {
        let what = format!("without {} {}", right.verb, right.resource);
        let world = World::tutorial().await;
        world.server.set_fault(Some(&"master1".into()), FaultId(1), without(right));
        let log = Log::default();
        let _guard = log.capture();
        beside(&world, async {
            good(&world).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            let plural = right.resource.split('.').next().expect("a plural");
            let said = log.text();
            let names = |line: &&str| {
                line.contains(" bellhop::") && line.contains(&format!("cannot {} resource", right.verb)) && line.contains(plural)
            };
            // Where it may list and not watch, it lists every few seconds, and is told no each time. Of two writes of one kind the other may succeed in between.
            let times = if right.verb == "watch" { 1..=20 } else { 1..=2 };
            let found = said.lines().filter(names).count();
            assert!(times.contains(&found), "{what}: said {found} times:\n{said}");
            world.server.clear_fault(Some(&"master1".into()), FaultId(1));
            world.until("v1", "Service", "web", announced).await;
            world.until(EIP, "Eip", "pool", |eip| eip["status"]["usage"] == 1).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_record_the_service_says_why_it_waits_and_an_event_on_the_pool_too() {
    let world = World::tutorial().await;
    let right = right("update", "eips/status.network.kubesphere.io", false);
    world.server.set_fault(Some(&"master1".into()), FaultId(1), without(&right));
    beside(&world, async {
        good(&world).await;
        let waits = |service: &Value| condition(service, "bellhop.dev/AddressAssigned") == "False Recording";
        let service = world.until("v1", "Service", "web", waits).await;
        let message = service["status"]["conditions"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains("cannot update resource") && message.contains("eips/status"), "{message}");
        assert_eq!(told(&world, "Eip", "WriteRefused").await, 1);
        world.server.clear_fault(Some(&"master1".into()), FaultId(1));
        world.until("v1", "Service", "web", announced).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_write_a_status_an_event_on_the_service_says_so() {
    let world = World::tutorial().await;
    world.server.set_fault(Some(&"master1".into()), FaultId(1), without(&right("patch", "services/status", false)));
    beside(&world, async {
        good(&world).await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(told(&world, "Service", "WriteRefused").await, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_selects_namespaces_says_that_they_may_not_be_read_and_the_others_serve() {
    let world = World::tutorial().await;
    world.server.set_fault(Some(&"master1".into()), FaultId(1), without(&right("list", "namespaces", true)));
    beside(&world, async {
        let spec = json!({"address": "192.168.0.110", "interface": "eth0", "protocol": "layer2", "namespaceSelector": {"team": "a"}});
        world.create(EIP, "Eip", json!({"metadata": {"name": "bound"}, "spec": spec})).await;
        good(&world).await;
        let waits = |service: &Value| condition(service, "bellhop.dev/AddressAssigned") == "False NamespacesUnknown";
        world.until("v1", "Service", "web", waits).await;
        let named = json!({
            "metadata": {"name": "named", "annotations": {"lb.kubesphere.io/v1alpha1": "porter", "eip.porter.kubesphere.io/v1alpha2": "pool"}},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
        });
        world.create("v1", "Service", named).await;
        world.assigned("named").await;
        world.server.clear_fault(Some(&"master1".into()), FaultId(1));
        world.assigned("web").await;
    })
    .await;
}

/// How many Events of this reason there are about objects of a kind.
async fn told(world: &World, kind: &str, reason: &str) -> usize {
    let events = world.api("v1", "Event").list(&ListParams::default()).await.expect("a list").items;
    events.iter().filter(|event| event.data["reason"] == reason && event.data["involvedObject"]["kind"] == kind).count()
}
