//! What the program asks of the API, held against what deploy/rbac.yaml lets it ask: nothing is missing, and nothing is granted that it does not use.
//!
//! The API server in memory asks for no permissions and records what is asked. The story below makes the program do each thing that it can do; a
//! request that is new and not in the story is found by the cluster's own refusal, so tell it here too.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellhop::{Config, run};
use bellhop_apiserver::{Fault, FaultId, Latency};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::world::{World, condition};

const RBAC: &str = include_str!("../../../../deploy/rbac.yaml");

/// One request, or one that is allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Permission {
    /// Bellhop's own namespace only: a Role, not a ClusterRole.
    own_namespace: bool,
    /// `eips/status.network.kubesphere.io`, as `kubectl auth can-i` spells it.
    resource: String,
    verb: String,
    /// The object, where a rule is bound to one.
    name: Option<String>,
}

#[tokio::test(start_paused = true)]
async fn the_program_may_do_what_it_does_and_nothing_else() {
    let asked = everything_the_program_asks().await;
    let granted = granted();
    let missing: Vec<_> = asked.difference(&granted).map(as_rule).collect();
    let unused: Vec<_> = granted.difference(&asked).map(as_rule).collect();
    assert!(
        missing.is_empty() && unused.is_empty(),
        "deploy/rbac.yaml is not what the program does.\nadd, or the program is refused:\n{missing:#?}\ntake out, nothing uses it:\n{unused:#?}\n\
         Then render install.yaml: kubectl kustomize deploy > deploy/install.yaml, and do the same in deploy/chart/bellhop/templates/rbac.yaml."
    );
}

/// As a person would write it into rbac.yaml.
fn as_rule(permission: &Permission) -> String {
    let kind = if permission.own_namespace { "Role" } else { "ClusterRole" };
    let name = permission.name.as_ref().map(|name| format!(" named {name}")).unwrap_or_default();
    format!("{kind} bellhop: {} {}{name}", permission.verb, permission.resource)
}

/// Every rule, taken apart.
fn granted() -> BTreeSet<Permission> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(RBAC).expect("deploy/rbac.yaml");
    let mut granted = BTreeSet::new();
    for role in documents.iter().filter(|document| document["kind"] == "Role" || document["kind"] == "ClusterRole") {
        for rule in role["rules"].as_array().expect("rules") {
            let texts = |key: &str| -> Vec<String> { serde_json::from_value(rule[key].clone()).unwrap_or_default() };
            let names = texts("resourceNames").into_iter().map(Some).collect::<Vec<_>>();
            let names = if names.is_empty() { vec![None] } else { names };
            for group in texts("apiGroups") {
                for resource in texts("resources") {
                    for verb in texts("verbs") {
                        let resource = if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
                        granted.extend(names.iter().map(|name| Permission {
                            own_namespace: role["kind"] == "Role",
                            resource: resource.clone(),
                            verb: verb.clone(),
                            name: name.clone(),
                        }));
                    }
                }
            }
        }
    }
    granted
}

async fn everything_the_program_asks() -> BTreeSet<Permission> {
    let world = World::tutorial().await;
    let asked = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = asked.clone();
    world.server.observe_requests(move |request| {
        if request.client.as_str() != "master1" {
            return;
        }
        let (plural, group) = request.resource.split_once('.').map_or((request.resource.as_str(), ""), |(plural, group)| (plural, group));
        let subresource = if request.subresource.is_empty() { String::new() } else { format!("/{}", request.subresource) };
        let resource = format!("{plural}{subresource}{}{group}", if group.is_empty() { "" } else { "." });
        let lease = plural == "leases";
        // Of the Lease there is one. Its watch selects it by name, which is what a rule with a name asks for; `create` cannot be bound to one.
        let name = (lease && request.verb != "create").then(|| "bellhop".to_owned());
        let permission = Permission { own_namespace: lease, resource, verb: request.verb.to_owned(), name };
        seen.lock().expect("not poisoned").insert(permission);
    });
    tokio::select! {
        biased;
        result = run(Config::new("master1"), world.env("master1")) => result.expect("a good end"),
        () = story(&world) => unreachable!("the story ends with the program"),
    }
    let asked = asked.lock().expect("not poisoned");
    asked.clone()
}

/// All that makes the program ask for something.
async fn story(world: &World) {
    // An address, a node, a label; the pool's record and finalizer. PorterLB's finalizer goes.
    world.create_eip("pool", "192.168.0.91").await;
    world.create_service("web").await;
    let foreign = json!({"metadata": {"finalizers": ["finalizer.lb.kubesphere.io/v1alpha1"]}});
    world.api("v1", "Service").patch("web", &PatchParams::default(), &Patch::Merge(foreign)).await.expect("patched");
    let announced = |service: &Value| condition(service, "bellhop.dev/Announced");
    world.until("v1", "Service", "web", |service| announced(service).starts_with("True")).await;
    // The same Event twice: the second is counted on the first.
    for _ in 0..2 {
        for ready in ["False", "True"] {
            for node in ["master1", "worker-p001"] {
                let conditions = json!([{"type": "Ready", "status": ready, "reason": "Test", "message": "test"}]);
                world.patch_status("v1", "Node", node, json!({"status": {"conditions": conditions}})).await;
            }
            world.until("v1", "Service", "web", |service| announced(service).starts_with(ready)).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    // Another hand on the Lease: what stands there is read.
    let latency = Duration::from_millis(100);
    let slow = Fault { latency: Some(Latency { min: latency, max: latency }), ..Fault::default() };
    world.server.set_fault(Some(&"master1".into()), FaultId(1), slow);
    for touch in 0..100 {
        let touched = json!({"metadata": {"annotations": {"touched": touch.to_string()}}});
        world
            .api("coordination.k8s.io/v1", "Lease")
            .patch("bellhop", &PatchParams::default(), &Patch::Merge(touched))
            .await
            .expect("patched");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.server.clear_fault(Some(&"master1".into()), FaultId(1));
    // The finalizer goes with the last user, and the Lease is given back.
    world.api("v1", "Service").delete("web", &Default::default()).await.expect("deleted");
    let free = |eip: &Value| eip["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
    world.until("network.kubesphere.io/v1alpha2", "Eip", "pool", free).await;
    world.shutdown.cancel();
    std::future::pending::<()>().await;
}
