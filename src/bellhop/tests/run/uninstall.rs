//! `bellhop uninstall` after the program has run, and is gone.

use std::time::Duration;

use bellhop::install::{Choices, objects};
use bellhop::uninstall::{self, Options};
use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::beside;
use crate::world::{World, condition, texts};

/// The tutorial's world with the installation applied to it, as kubectl would.
async fn installed() -> World {
    let world = World::tutorial().await;
    let choices = Choices { namespace: "bellhop-system".into(), ..Choices::default() };
    for object in objects(&choices).expect("the installation") {
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        match api(&world, &object).create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => drop(other.expect("created")),
        }
    }
    world
}

fn api(world: &World, object: &DynamicObject) -> Api<DynamicObject> {
    let types: TypeMeta = object.types.clone().expect("a kind");
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(types).expect("a version"));
    match object.namespace() {
        Some(namespace) => Api::namespaced_with(world.client.clone(), &namespace, &resource),
        None => Api::all_with(world.client.clone(), &resource),
    }
}

async fn run(world: &World, dry_run: bool, crds: bool) -> (u32, String) {
    let mut out = Vec::new();
    let options = Options { namespace: "bellhop-system".into(), dry_run, crds };
    let done = uninstall::run(&world.client, &options, &mut out).await.expect("an end");
    (done, String::from_utf8(out).expect("text"))
}

/// Everything that stands in the server, but for what changes by itself.
async fn everything(world: &World) -> Value {
    let services = world.get("v1", "Service", "web").await;
    let eip = world.get("network.kubesphere.io/v1alpha2", "Eip", "pool").await;
    json!([services, eip, world.get("coordination.k8s.io/v1", "Lease", "bellhop").await, world.server.revision()])
}

#[tokio::test(start_paused = true)]
async fn nothing_of_bellhop_is_left_and_all_of_the_users_stays() {
    let world = installed().await;
    beside(&world, async {
        world.create_eip("pool", "192.168.0.91").await;
        world.create_service("web").await;
        world.until("v1", "Service", "web", |service| condition(service, "bellhop.dev/Announced").starts_with("True")).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;

    let before = everything(&world).await;
    let (would, plan) = run(&world, true, true).await;
    assert_eq!(everything(&world).await, before, "a dry run changes nothing");
    for line in ["Deployment bellhop-system/bellhop", "would be deleted", "would lose address 192.168.0.91, conditions, annotation, label"]
    {
        assert!(plan.contains(line), "{line} in\n{plan}");
    }

    let (done, said) = run(&world, false, false).await;
    assert_eq!(done + 1, would, "without the CRD:\n{plan}\n{said}");
    let service = world.get("v1", "Service", "web").await;
    assert_eq!(service["status"], json!({"loadBalancer": {}}), "{service:#}");
    assert!(texts(&service["metadata"]["labels"]).is_empty());
    let annotations = texts(&service["metadata"]["annotations"]);
    assert_eq!(annotations.keys().collect::<Vec<_>>(), ["lb.kubesphere.io/v1alpha1", "protocol.porter.kubesphere.io/v1alpha1"]);
    let eip = world.get("network.kubesphere.io/v1alpha2", "Eip", "pool").await;
    assert!(eip["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty), "{eip:#}");
    assert!(eip["status"].is_null() && eip["spec"]["address"] == "192.168.0.91", "{eip:#}");
    for object in objects(&Choices { namespace: "bellhop-system".into(), ..Choices::default() }).expect("the installation") {
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        let found = api(&world, &object).get_opt(&object.name_any()).await.expect("an answer");
        let kind = object.types.expect("a kind").kind;
        assert_eq!(found.is_some(), kind == "CustomResourceDefinition" || kind == "Namespace", "{kind}");
    }
    assert_eq!(world.get("coordination.k8s.io/v1", "Lease", "bellhop").await, Value::Null);

    assert_eq!(run(&world, false, false).await, (0, String::new()), "a second time there is nothing to do");
}

#[tokio::test(start_paused = true)]
async fn the_pools_and_their_kind_go_when_asked() {
    let world = installed().await;
    world.create_eip("pool", "192.168.0.91").await;
    run(&world, false, true).await;
    let (done, said) = run(&world, false, true).await;
    assert_eq!((done, said.as_str()), (0, ""));
}
