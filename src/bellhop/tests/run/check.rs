//! `bellhop check` against a cluster in memory, as it should be and with one thing wrong at a time.
//!
//! The API server in memory answers no access reviews, so a layer before it does.

use std::collections::BTreeMap;
use std::time::Duration;

use bellhop::check::{Code, Options, Report, Verdict, run};
use bellhop::install::{Choices, objects};
use http::Response;
use http_body_util::{Either, Full};
use kube::Client;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::client::Body;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::beside;
use crate::world::{World, condition};

/// The tutorial's world, installed and running on master1, with one Service.
async fn with_bellhop<T>(script: impl AsyncFnOnce(&World) -> T) -> T {
    let world = World::tutorial().await;
    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}});
    let namespaces = world.api("v1", "Namespace");
    namespaces.patch("bellhop-system", &PatchParams::default(), &Patch::Merge(label)).await.expect("patched");
    let installed = objects(&Choices { namespace: "bellhop-system".into(), ..Choices::default() }).expect("the installation");
    let deployment = installed.iter().find(|object| object["kind"] == "Deployment").expect("one").clone();
    world.create_in("bellhop-system", deployment).await;
    let ready = json!({"status": {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 2, "availableReplicas": 2}});
    world.patch_status_in("bellhop-system", "apps/v1", "Deployment", "bellhop", ready).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bellhop-1", "labels": {"app.kubernetes.io/name": "bellhop"}},
        "spec": {"nodeName": "master1", "containers": [{"name": "bellhop", "image": "bellhop"}]},
    });
    world.create_in("bellhop-system", pod).await;
    let proxy = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-proxy"},
        "data": {"config.conf": "mode: ipvs\nipvs:\n  strictARP: true\n"},
    });
    world.create_in("kube-system", proxy).await;
    world.create_eip("pool", "192.168.0.91").await;
    world.create_service("web").await;
    beside(&world, async {
        world.until("v1", "Service", "web", |service| condition(service, "bellhop.dev/Announced").starts_with("True")).await;
        script(&world).await
    })
    .await
}

/// A client whose access reviews are answered with `allowed`. There are no webhook configurations, which the server does not know.
fn client(world: &World, allowed: bool) -> Client {
    client_with(world, allowed, json!([]))
}

/// The same with these webhook configurations of either kind.
fn client_with(world: &World, allowed: bool, webhooks: Value) -> Client {
    let server = world.server.client_service("checker".into());
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (server, webhooks) = (server.clone(), webhooks.clone());
        async move {
            let path = request.uri().path().to_owned();
            let answer = |value: Value| Response::new(Either::Left(Full::from(value.to_string())));
            if path.starts_with("/apis/authorization.k8s.io/") {
                let bytes = request.into_body().collect_bytes().await.expect("a body");
                let mut review: Value = serde_json::from_slice(&bytes).expect("JSON");
                review["status"] = json!({"allowed": allowed});
                return Ok::<_, tower::BoxError>(answer(review));
            }
            if path.starts_with("/apis/admissionregistration.k8s.io/") {
                return Ok(answer(json!({"metadata": {}, "items": webhooks})));
            }
            let (parts, body) = server.oneshot(request).await?.into_parts();
            Ok(Response::from_parts(parts, Either::Right(body)))
        }
    });
    Client::new(service, "default")
}

async fn check(world: &World) -> Report {
    run(&client(world, true), &Options { namespace: "bellhop-system".into(), before: false }).await
}

/// What is not well, by code.
fn not_well(report: &Report) -> BTreeMap<&'static str, Verdict> {
    let found = report.findings().iter().filter(|finding| !matches!(finding.verdict, Verdict::Fine(_)));
    found.map(|finding| (finding.code.id(), finding.verdict.clone())).collect()
}

#[tokio::test(start_paused = true)]
async fn all_is_well_where_the_tutorial_is_done() {
    let report = with_bellhop(async |world| check(world).await).await;
    assert_eq!(not_well(&report), BTreeMap::new(), "{}", report.text(Default::default()));
    assert!(report.is_well());
    let looked_at: Vec<Code> = report.findings().iter().map(|finding| finding.code).collect();
    let all: Vec<Code> = Code::ALL.iter().copied().filter(|code| *code != Code::MayInstall).collect();
    assert_eq!(looked_at, all, "in the order of the codes");
}

/// Does one thing to the world, and tells which one code is not well then.
async fn spoiled(spoil: impl AsyncFnOnce(&World)) -> (&'static str, Verdict) {
    let report = with_bellhop(async |world| {
        spoil(world).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        check(world).await
    })
    .await;
    let mut found = not_well(&report);
    let first = found.pop_first().unwrap_or_else(|| panic!("all is well:\n{}", report.text(Default::default())));
    assert!(found.is_empty(), "more than one: {}", report.text(Default::default()));
    first
}

fn wrong(message: &str) -> Verdict {
    Verdict::Wrong(message.to_owned())
}

#[tokio::test(start_paused = true)]
async fn ipvs_without_strict_arp_is_wrong_and_says_what_to_do() {
    let (code, verdict) = spoiled(async |world| {
        let data = json!({"data": {"config.conf": "mode: ipvs\nipvs:\n  strictARP: false\n"}});
        world.patch_in("kube-system", "v1", "ConfigMap", "kube-proxy", data).await;
    })
    .await;
    let Verdict::Wrong(message) = verdict else { panic!("{verdict:?}") };
    assert!(code == "BELLHOP0501" && message.contains("ipvs.strictARP: true"), "{code} {message}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_waits_is_named_with_its_reason() {
    let (code, verdict) = spoiled(async |world| world.create_service("late").await).await;
    let Verdict::Wrong(message) = verdict else { panic!("{verdict:?}") };
    assert!(code == "BELLHOP0801" && message.starts_with("default/late: PoolExhausted: "), "{code} {message}");
}

#[tokio::test(start_paused = true)]
async fn an_eip_that_cannot_be_used_is_named_with_its_reason() {
    let (code, verdict) = spoiled(async |world| world.create_eip("odd", "192.168.0.300").await).await;
    let Verdict::Wrong(message) = verdict else { panic!("{verdict:?}") };
    assert!(code == "BELLHOP0701" && message.starts_with("odd: InvalidAddress: "), "{code} {message}");
}

#[tokio::test(start_paused = true)]
async fn a_pool_of_another_network_is_odd() {
    let (code, verdict) = spoiled(async |world| world.create_eip("far", "10.9.0.1-10.9.0.9").await).await;
    assert_eq!((code, verdict), ("BELLHOP0702", Verdict::Odd("far: no node has an address near 10.9.0.1".into())));
}

#[tokio::test(start_paused = true)]
async fn a_porterlb_that_still_runs_is_named() {
    let (code, verdict) = spoiled(async |world| {
        let container = json!({"name": "manager", "image": "porter"});
        let template = json!({"metadata": {"labels": {"app": "porter"}}, "spec": {"containers": [container]}});
        let spec = json!({"selector": {"matchLabels": {"app": "porter"}}, "template": template});
        world.create("v1", "Namespace", json!({"metadata": {"name": "porter-system"}})).await;
        let porter = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "porter-manager"}, "spec": spec});
        world.create_in("porter-system", porter).await;
    })
    .await;
    assert_eq!((code, verdict), ("BELLHOP0601", wrong("porter-system/porter-manager serves the same Services: scale it to 0")));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_not_ready_is_odd_and_the_schedulers_reason_is_given() {
    let (code, verdict) = spoiled(async |world| {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bellhop-2", "labels": {"app.kubernetes.io/name": "bellhop"}},
            "spec": {"containers": [{"name": "bellhop", "image": "bellhop"}]},
        });
        world.create_in("bellhop-system", pod).await;
        let why = "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules.";
        let conditions = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}]);
        world.patch_status_in("bellhop-system", "v1", "Pod", "bellhop-2", json!({"status": {"conditions": conditions}})).await;
        for (name, status) in [("bellhop-1", json!([{"type": "Ready", "status": "True"}]))] {
            world.patch_status_in("bellhop-system", "v1", "Pod", name, json!({"status": {"conditions": status}})).await;
        }
        let one = json!({"status": {"replicas": 2, "readyReplicas": 1, "updatedReplicas": 2}});
        world.patch_status_in("bellhop-system", "apps/v1", "Deployment", "bellhop", one).await;
    })
    .await;
    let message = "1 of 2 is ready: bellhop-2: 0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules.";
    assert_eq!((code, verdict), ("BELLHOP0205", Verdict::Odd(message.into())));
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_openelb_left_is_named() {
    let report = with_bellhop(async |world| {
        let called = json!({"service": {"namespace": "openelb-system", "name": "openelb-admission"}});
        let webhook = json!({"name": "validate.example", "clientConfig": called, "admissionReviewVersions": ["v1"], "sideEffects": "None"});
        let left = json!([{"metadata": {"name": "openelb-admission"}, "webhooks": [webhook]}]);
        run(&client_with(world, true, left), &Options { namespace: "bellhop-system".into(), before: false }).await
    })
    .await;
    let found = not_well(&report);
    let Some(Verdict::Wrong(message)) = found.get("BELLHOP0602") else { panic!("{}", report.text(Default::default())) };
    assert!(message.contains("ValidatingWebhookConfiguration openelb-admission") && found.len() == 1, "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn missing_permissions_are_named() {
    let report =
        with_bellhop(async |world| run(&client(world, false), &Options { namespace: "bellhop-system".into(), before: false }).await).await;
    let Verdict::Wrong(message) = &not_well(&report)["BELLHOP0204"] else { panic!("{}", report.text(Default::default())) };
    for one in ["watch services", "patch services/status", "update eips/status", "create leases", "get leases"] {
        assert!(message.contains(one), "{one} in {message}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_program_nobody_renews_the_lease() {
    let world = World::tutorial().await;
    let report = check(&world).await;
    let found = not_well(&report);
    assert_eq!(found["BELLHOP0205"], wrong("there is no Deployment bellhop"));
    assert_eq!(found["BELLHOP0301"], wrong("there is no Lease: no replica has ever led"));
    // A leader that is gone.
    beside(&world, tokio::time::sleep(Duration::from_secs(5))).await;
    let found = not_well(&check(&world).await);
    assert_eq!(found["BELLHOP0301"], wrong("master1 holds it and did not renew it within two seconds"));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_all_that_is_said() {
    let world = World::tutorial().await;
    world.server.set_reachable(Some(&"checker".into()), false);
    let report = check(&world).await;
    assert_eq!((report.findings().len(), report.findings()[0].code, report.is_well()), (1, Code::ApiAnswers, false));
}

#[tokio::test(start_paused = true)]
async fn before_an_installation_only_the_cluster_is_looked_at() {
    let world = World::new();
    world.create("v1", "Node", json!({"metadata": {"name": "master1"}})).await;
    let options = Options { namespace: "bellhop-system".into(), before: true };
    let report = run(&client(&world, true), &options).await;
    let found = not_well(&report);
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), ["BELLHOP0401", "BELLHOP0501"], "{}", report.text(Default::default()));
    assert!(report.findings().iter().any(|finding| finding.code == Code::MayInstall));
    assert!(not_well(&run(&client(&world, false), &options).await).contains_key("BELLHOP0103"));
}

impl World {
    async fn create_in(&self, namespace: &str, object: Value) {
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        let types = object.types.clone().expect("a kind");
        self.api_in(namespace, &types.api_version, &types.kind).create(&Default::default(), &object).await.expect("created");
    }

    async fn patch_in(&self, namespace: &str, api_version: &str, kind: &str, name: &str, patch: Value) {
        let api = self.api_in(namespace, api_version, kind);
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
    }

    async fn patch_status_in(&self, namespace: &str, api_version: &str, kind: &str, name: &str, status: Value) {
        let api = self.api_in(namespace, api_version, kind);
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.expect("patched");
    }
}
