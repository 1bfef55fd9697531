//! What docs/compatibility.md and docs/migration.md promise beyond one Service and one address, through the API.

use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::world::{World, condition, texts};
use crate::{EIP, ask, beside};

fn announced(service: &Value) -> bool {
    condition(service, "bellhop.dev/Announced").starts_with("True")
}

#[tokio::test(start_paused = true)]
async fn a_dual_stack_service_has_both_addresses_in_its_order_and_each_pool_records_its_own() {
    let world = World::tutorial().await;
    beside(&world, async {
        world.create_eip("four", "192.168.0.91-192.168.0.100").await;
        let service = json!({
            "metadata": {"name": "web", "annotations": {"lb.kubesphere.io/v1alpha1": "porter"}},
            "spec": {"type": "LoadBalancer", "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"], "ports": [{"port": 80}]},
        });
        world.create("v1", "Service", service).await;
        let lacking = |service: &Value| condition(service, "bellhop.dev/AddressAssigned") == "False FamilyMissing";
        world.until("v1", "Service", "web", lacking).await;
        world.create_eip("six", "fd00:a8::91-fd00:a8::ffff").await;
        let service = world.assigned("web").await;
        let addresses: Vec<&Value> =
            service["status"]["loadBalancer"]["ingress"].as_array().expect("a list").iter().map(|each| &each["ip"]).collect();
        assert_eq!(addresses, ["fd00:a8::91", "192.168.0.91"]);
        let labelled = |service: &Value| {
            texts(&service["metadata"]["labels"]).get("eip.porter.kubesphere.io/v1alpha2").is_some_and(|pool| pool == "six")
        };
        world.until("v1", "Service", "web", labelled).await;
        for (pool, address) in [("four", "192.168.0.91"), ("six", "fd00:a8::91")] {
            let eip = world.get(EIP, "Eip", pool).await;
            assert_eq!(eip["status"]["used"], json!({ address: "default/web" }), "{pool}");
        }
        // The second family is taken off: kube-apiserver wants its cluster IP gone with it.
        let first = service["spec"]["clusterIPs"][0].clone();
        let single = json!({"spec": {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv6"], "clusterIPs": [first]}});
        world.api("v1", "Service").patch("web", &PatchParams::default(), &Patch::Merge(single)).await.expect("patched");
        world.until(EIP, "Eip", "four", |eip| eip["status"]["usage"] == 0).await;
        let service = world.get("v1", "Service", "web").await;
        assert_eq!(service["status"]["loadBalancer"]["ingress"].as_array().map(Vec::len), Some(1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_deletion_of_a_pool_in_use_is_ended_by_the_documented_patch_and_the_address_is_back_with_the_pool() {
    let world = World::tutorial().await;
    beside(&world, async {
        world.create_eip("pool", "192.168.0.91-192.168.0.100").await;
        world.create_service("web").await;
        world.until("v1", "Service", "web", announced).await;
        world.api(EIP, "Eip").delete("pool", &DeleteParams::default()).await.expect("accepted");
        let waits = |eip: &Value| condition(eip, "Ready") == "False Deleting";
        let eip = world.until(EIP, "Eip", "pool", waits).await;
        let message = eip["status"]["conditions"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains("default/web") && message.contains("kubectl patch eip pool"), "{message}");
        assert!(ask(&world).await.is_some(), "it waits, and is served");
        let patch = json!({"metadata": {"finalizers": null}});
        world.api(EIP, "Eip").patch("pool", &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
        world.until(EIP, "Eip", "pool", Value::is_null).await;
        let gone = |service: &Value| condition(service, "bellhop.dev/Announced") == "False EipGone";
        let service = world.until("v1", "Service", "web", gone).await;
        assert_eq!(service["status"]["loadBalancer"]["ingress"][0]["ip"], "192.168.0.91");
        assert!(ask(&world).await.is_none());
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.create_eip("pool", "192.168.0.90-192.168.0.100").await;
        let service = world.until("v1", "Service", "web", announced).await;
        assert_eq!(service["status"]["loadBalancer"]["ingress"][0]["ip"], "192.168.0.91");
        assert!(ask(&world).await.is_some());
    })
    .await;
}
