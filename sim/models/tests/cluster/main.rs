//! The models together, against the in-memory API server, in virtual time. What the tests stand on is `bench`.

use std::time::Duration;

use bellhop_apiserver::{ClientName, Fault, FaultId};
use bellhop_models::ProxyMode;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

mod bench;
use bench::{Cluster, NODES, WORKERS, node_condition, ready_endpoints, ready_pods, restart};

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
        let web = rules.as_ref().and_then(|rules| rules.services.iter().find(|service| &*service.service.name == "web")).cloned();
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
