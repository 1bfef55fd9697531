//! What a real API server does with objects, asked of ours through kube's client: subresources, deletion, apply, refusals.
//!
//! Each test names one promise of the Kubernetes API. Time stands at the epoch unless a test moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bellhop_apiserver::{ApiServer, ClientName, Config, TableRequest};
use jiff::Timestamp;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, EvictParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

/// A server, a clock and a client of it.
struct Cluster {
    server: ApiServer,
    seconds: Arc<AtomicI64>,
}

impl Cluster {
    fn new() -> Self {
        let seconds = Arc::new(AtomicI64::new(0));
        let clock = Arc::clone(&seconds);
        let now = move || Timestamp::from_second(clock.load(Ordering::Relaxed)).expect("a small number");
        Self { server: ApiServer::new(&Config { clock: Arc::new(now), ..Config::default() }), seconds }
    }

    fn api(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let client = Client::new(self.server.client_service(ClientName::from("test")), "default");
        let cluster_wide = matches!(kind, "Namespace" | "Node" | "CustomResourceDefinition" | "Eip");
        if cluster_wide { Api::all_with(client, &resource) } else { Api::default_namespaced_with(client, &resource) }
    }

    async fn create(&self, object: Value) -> Result<Value, Box<kube::core::Status>> {
        let api = self.api(object["apiVersion"].as_str().expect("a version"), object["kind"].as_str().expect("a kind"));
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        plain(api.create(&PostParams::default(), &object).await)
    }

    async fn merge(&self, api_version: &str, kind: &str, name: &str, patch: Value) -> Result<Value, Box<kube::core::Status>> {
        plain(self.api(api_version, kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await)
    }
}

fn plain(result: kube::Result<DynamicObject>) -> Result<Value, Box<kube::core::Status>> {
    match result {
        Ok(object) => Ok(serde_json::to_value(object).expect("objects are JSON")),
        Err(kube::Error::Api(status)) => Err(status),
        Err(other) => panic!("{other}"),
    }
}

fn run<F: Future<Output = ()>>(test: F) {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime").block_on(test);
}

fn deployment(name: &str) -> Value {
    let labels = json!({"app": name});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "kubia", "image": "luksa/kubia"}]}});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template}})
}

fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

fn pod(name: &str, node: Option<&str>) -> Value {
    let mut pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    if let Some(node) = node {
        pod["spec"]["nodeName"] = json!(node);
    }
    pod
}

fn eip_crd() -> Value {
    let spec =
        json!({"type": "object", "required": ["address"], "properties": {"address": {"type": "string"}, "disable": {"type": "boolean"}}});
    let status = json!({"type": "object", "properties": {"usage": {"type": "integer"}, "v4": {"type": "boolean"}}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "eips.network.kubesphere.io"},
        "spec": {
            "group": "network.kubesphere.io", "scope": "Cluster", "names": {"kind": "Eip", "plural": "eips", "singular": "eip"},
            "versions": [{
                "name": "v1alpha2", "served": true, "storage": true, "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "cidr", "type": "string", "jsonPath": ".spec.address"},
                    {"name": "usage", "type": "integer", "jsonPath": ".status.usage"},
                ],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
            }],
        },
    })
}

fn eip(address: Value) -> Value {
    json!({"apiVersion": "network.kubesphere.io/v1alpha2", "kind": "Eip", "metadata": {"name": "pool"}, "spec": {"address": address, "colour": "red"}})
}

#[test]
fn a_generation_counts_changes_of_the_spec_and_the_status_subresource_changes_only_status() {
    run(async {
        let cluster = Cluster::new();
        cluster.create(deployment("web")).await.expect("created");
        let labelled =
            cluster.merge("apps/v1", "Deployment", "web", json!({"metadata": {"labels": {"a": "b"}}, "status": {"replicas": 9}}));
        let labelled = labelled.await.expect("patched");
        assert_eq!((&labelled["metadata"]["generation"], &labelled["status"]), (&json!(1), &json!({})));
        let scaled = cluster.merge("apps/v1", "Deployment", "web", json!({"spec": {"replicas": 3}})).await.expect("patched");
        assert_eq!(scaled["metadata"]["generation"], 2);
        let patch = Patch::Merge(json!({"spec": {"replicas": 5}, "status": {"replicas": 3}}));
        let status =
            plain(cluster.api("apps/v1", "Deployment").patch_status("web", &PatchParams::default(), &patch).await).expect("patched");
        assert_eq!((&status["spec"]["replicas"], &status["status"]["replicas"]), (&json!(3), &json!(3)));
        assert_eq!(status["metadata"]["generation"], 2);
    });
}

#[test]
fn a_crd_is_served_in_the_write_that_stores_it_and_prunes_and_validates_its_objects() {
    run(async {
        let cluster = Cluster::new();
        cluster.create(eip_crd()).await.expect("created");
        let pool = cluster.create(eip(json!("192.168.0.91"))).await.expect("created");
        assert_eq!(pool["spec"], json!({"address": "192.168.0.91"}), "unknown fields are pruned");
        let patch = Patch::Merge(json!({"spec": {"disable": true}, "status": {"usage": 4}}));
        let api = cluster.api("network.kubesphere.io/v1alpha2", "Eip");
        let status = plain(api.patch_status("pool", &PatchParams::default(), &patch).await).expect("patched");
        assert_eq!((&status["spec"]["disable"], &status["status"]["usage"]), (&Value::Null, &json!(4)));
        let refused =
            cluster.merge("network.kubesphere.io/v1alpha2", "Eip", "pool", json!({"spec": {"address": 7}})).await.expect_err("a number");
        assert_eq!(refused.code, 422);
        assert!(refused.message.contains("spec.address in body must be of type string"), "{}", refused.message);
        let table = cluster.server.table(&TableRequest { resource: "eip".to_owned(), ..TableRequest::default() }).expect("there is one");
        assert_eq!(table, "NAME   CIDR           USAGE\npool   192.168.0.91   4\n");
        cluster
            .api("apiextensions.k8s.io/v1", "CustomResourceDefinition")
            .delete("eips.network.kubesphere.io", &DeleteParams::default())
            .await
            .expect("deleted");
        assert_eq!(plain(api.get("pool").await).expect_err("the kind is gone").code, 404);
    });
}

#[test]
fn a_pod_that_runs_somewhere_waits_for_its_kubelet_and_another_goes_at_once() {
    run(async {
        let cluster = Cluster::new();
        cluster.create(pod("bound", Some("node-a"))).await.expect("created");
        cluster.create(pod("pending", None)).await.expect("created");
        let pods = cluster.api("v1", "Pod");
        pods.delete("pending", &DeleteParams::default()).await.expect("deleted");
        assert!(pods.get_opt("pending").await.expect("asked").is_none());
        let evicted = cluster.api("v1", "Pod");
        let typed: Api<k8s_openapi::api::core::v1::Pod> = Api::default_namespaced(evicted.into_client());
        typed.evict("bound", &EvictParams::default()).await.expect("evicted");
        let bound = typed.get("bound").await.expect("it terminates");
        assert_eq!((bound.metadata.deletion_grace_period_seconds, bound.metadata.generation), (Some(30), Some(2)));
        pods.delete("bound", &DeleteParams::default().grace_period(0)).await.expect("the kubelet is done");
        assert!(pods.get_opt("bound").await.expect("asked").is_none());
    });
}

#[test]
fn a_deleted_namespace_takes_its_content_along_and_nothing_new_comes_in() {
    run(async {
        let cluster = Cluster::new();
        cluster.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default-not"}})).await.expect("created");
        let client = cluster.api("v1", "ConfigMap").into_client();
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&());
        let maps: Api<DynamicObject> = Api::namespaced_with(client, "default-not", &resource);
        let mut held = DynamicObject::new("held", &resource);
        held.metadata.finalizers = Some(vec!["bellhop.dev/held".to_owned()]);
        maps.create(&PostParams::default(), &held).await.expect("created");
        let namespaces = cluster.api("v1", "Namespace");
        namespaces.delete("default-not", &DeleteParams::default()).await.expect("begun");
        assert_eq!(namespaces.get("default-not").await.expect("it waits").data["status"]["phase"], "Terminating");
        let refused = plain(maps.create(&PostParams::default(), &DynamicObject::new("late", &resource)).await).expect_err("too late");
        assert_eq!((refused.code, refused.reason.as_str()), (403, "Forbidden"));
        maps.patch("held", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}}))).await.expect("released");
        assert!(namespaces.get_opt("default-not").await.expect("asked").is_none());
    });
}

#[test]
fn a_foreground_deletion_waits_for_the_dependents() {
    run(async {
        let cluster = Cluster::new();
        let owner = cluster.create(deployment("web")).await.expect("created");
        let mut dependent = pod("web-1", Some("node-a"));
        let reference = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true});
        dependent["metadata"]["ownerReferences"] = json!([reference]);
        cluster.create(dependent).await.expect("created");
        let deployments = cluster.api("apps/v1", "Deployment");
        deployments.delete("web", &DeleteParams::foreground()).await.expect("begun");
        assert_eq!(deployments.get("web").await.expect("it waits").finalizers(), ["foregroundDeletion"]);
        cluster.api("v1", "Pod").delete("web-1", &DeleteParams::default().grace_period(0)).await.expect("the kubelet is done");
        assert!(deployments.get_opt("web").await.expect("asked").is_none());
    });
}

#[test]
fn orphans_lose_their_owner_and_stay() {
    run(async {
        let cluster = Cluster::new();
        let owner = cluster.create(deployment("web")).await.expect("created");
        let mut dependent = pod("web-1", None);
        dependent["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": owner["metadata"]["uid"]}]);
        cluster.create(dependent).await.expect("created");
        cluster.api("apps/v1", "Deployment").delete("web", &DeleteParams::orphan()).await.expect("deleted");
        assert!(cluster.api("v1", "Pod").get("web-1").await.expect("it stays").owner_references().is_empty());
    });
}

#[test]
fn an_applied_field_conflicts_with_its_owner_unless_forced_and_leaves_with_its_manager() {
    run(async {
        let cluster = Cluster::new();
        let maps = cluster.api("v1", "ConfigMap");
        let config = |data: Value| Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}));
        maps.patch("a", &PatchParams::apply("one"), &config(json!({"x": "1", "y": "1"}))).await.expect("created");
        let refused = plain(maps.patch("a", &PatchParams::apply("two"), &config(json!({"x": "2"}))).await).expect_err("owned by one");
        assert_eq!(refused.message, "Apply failed with 1 conflict: conflict with \"one\": .data.x");
        maps.patch("a", &PatchParams::apply("two").force(), &config(json!({"x": "2"}))).await.expect("forced");
        let given_up = plain(maps.patch("a", &PatchParams::apply("one"), &config(json!({}))).await).expect("applied");
        assert_eq!(given_up["data"], json!({"x": "2"}));
    });
}

#[test]
fn an_event_is_one_object_in_two_shapes_and_is_forgotten_after_an_hour() {
    run(async {
        let cluster = Cluster::new();
        let event = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "eventTime": "1970-01-01T00:00:00.000000Z",
            "regarding": {"kind": "Service", "name": "web", "namespace": "default"}, "reason": "Assigned", "action": "Assign", "note": "here",
            "type": "Normal", "reportingController": "bellhop.dev/bellhop", "reportingInstance": "bellhop-0",
        });
        cluster.create(event).await.expect("created");
        let events = cluster.api("v1", "Event");
        let about = ListParams::default().fields("involvedObject.name=web");
        assert_eq!(events.list(&about).await.expect("listed").items[0].data["message"], "here");
        cluster.seconds.store(3599, Ordering::Relaxed);
        assert_eq!(events.list(&about).await.expect("listed").items.len(), 1);
        cluster.seconds.store(3601, Ordering::Relaxed);
        assert_eq!(events.list(&about).await.expect("listed").items.len(), 0);
    });
}

#[test]
fn what_a_real_api_server_refuses_is_refused() {
    run(async {
        let cluster = Cluster::new();
        let many = json!({"ports": [{"port": 80}, {"port": 443}]});
        let mut unselected = deployment("x");
        unselected["spec"]["selector"]["matchLabels"]["app"] = json!("other");
        let mut versioned = service("x", json!({"ports": [{"port": 80}]}));
        versioned["metadata"]["resourceVersion"] = json!("5");
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "x"}, "spec": {"leaseDurationSeconds": 0}});
        let cases = [
            (service("x", json!({"ports": []})), 422, "Service \"x\" is invalid: spec.ports: Required value"),
            (service("x", many), 422, "spec.ports[0].name: Required value"),
            (service("x", json!({"ports": [{"port": "http"}]})), 400, "cannot be handled as a Service"),
            (service("x", json!({"ports": [{"port": 80, "nodePort": 80}], "type": "NodePort"})), 422, "not in the valid range"),
            (service("x", json!({"ports": [{"port": 80}], "loadBalancerClass": "a/b"})), 422, "may only be used when"),
            (service("web.lan", json!({"ports": [{"port": 80}]})), 422, "must not contain dots"),
            (unselected, 422, "`selector` does not match template `labels`"),
            (versioned, 500, "resourceVersion should not be set on objects to be created"),
            (lease, 422, "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"),
        ];
        for (object, code, said) in cases {
            let refused = cluster.create(object).await.expect_err(said);
            assert_eq!(refused.code, code, "{}", refused.message);
            assert!(refused.message.contains(said), "{said}\n{}", refused.message);
        }
    });
}

#[test]
fn an_outage_of_all_clients_looks_like_a_refused_connection_and_ends() {
    run(async {
        let cluster = Cluster::new();
        let maps = cluster.api("v1", "ConfigMap");
        cluster.server.set_reachable(None, false);
        assert!(matches!(maps.list(&ListParams::default()).await, Err(kube::Error::Service(_))));
        cluster.server.set_reachable(None, true);
        maps.list(&ListParams::default()).await.expect("back");
    });
}

#[test]
fn a_create_that_is_refused_leaves_the_identities_of_all_later_objects_as_they_were() {
    run(async {
        let mut uids = Vec::new();
        for refused in [false, true] {
            let cluster = Cluster::new();
            cluster.create(pod("a", None)).await.expect("created");
            if refused {
                cluster.create(pod("a", None)).await.expect_err("it is there");
                cluster.create(service("other", json!({"ports": [{"port": 80}]}))).await.expect("created");
            }
            let mut generated = pod("", None);
            generated["metadata"] = json!({"generateName": "b-"});
            let made = cluster.create(generated).await.expect("created");
            uids.push((made["metadata"]["uid"].clone(), made["metadata"]["name"].clone()));
        }
        assert_eq!(uids[0], uids[1]);
    });
}

#[test]
fn a_put_that_names_the_uid_of_a_lease_that_is_gone_makes_none() {
    run(async {
        let cluster = Cluster::new();
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"}, "spec": {}});
        let made: DynamicObject = serde_json::from_value(cluster.create(lease).await.expect("created")).expect("an object");
        let leases = cluster.api("coordination.k8s.io/v1", "Lease");
        leases.delete("a", &DeleteParams::default()).await.expect("deleted");
        let refused = plain(leases.replace("a", &PostParams::default(), &made).await).expect_err("there is no such Lease");
        assert_eq!(refused.code, 409);
        assert!(leases.get_opt("a").await.expect("answered").is_none());
    });
}
