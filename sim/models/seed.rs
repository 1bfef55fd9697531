//! What a cluster has before anybody uses it: the namespaces, kube-proxy's ConfigMap and DaemonSet, the Service `kubernetes`.
//!
//! As kubeadm leaves it, as far as anybody looks. What exists already is left alone.

use bellhop::env::Env;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service, ServiceAccount};
use kube::api::PostParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::proxy::{CONFIG_MAP, NAMESPACE, config_conf};
use crate::runner::ProxyMode;

/// The namespace that Bellhop's Lease is in.
const BELLHOP_NAMESPACE: &str = "bellhop-system";

/// What differs from cluster to cluster.
#[derive(Clone, Copy, Debug)]
pub struct ClusterConfig {
    /// kube-proxy's mode at the start.
    pub proxy: ProxyMode,
}

impl Default for ClusterConfig {
    /// The tutorial's: ipvs (without which nothing answers `ping`), and strictARP not yet on.
    fn default() -> Self {
        Self { proxy: ProxyMode::Ipvs { strict_arp: false } }
    }
}

/// Writes what a fresh cluster has.
pub async fn seed_cluster(client: &Client, config: &ClusterConfig) -> anyhow::Result<()> {
    for name in [NAMESPACE, crate::kubelet::LEASE_NAMESPACE, BELLHOP_NAMESPACE] {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        unless_there(Api::all(client.clone()).create(&PostParams::default(), &namespace).await)?;
    }
    let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE}}))?;
    create(client, NAMESPACE, &account).await?;
    let map: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE, "labels": {"app": "kube-proxy"}},
        "data": {"config.conf": config_conf(config.proxy)},
    }))?;
    create(client, NAMESPACE, &map).await?;
    create(client, NAMESPACE, &kube_proxy()?).await?;
    // The API server's own address: the first of the service range.
    let kubernetes: Service = serde_json::from_value(json!({
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}]},
    }))?;
    create(client, "default", &kubernetes).await
}

/// The programs that run as part of a cluster, seeded until the API server answers: for a control plane that starts with it.
pub async fn seed_when_reachable(env: &Env, config: &ClusterConfig) {
    while let Err(error) = seed_cluster(&env.client, config).await {
        tracing::debug!(%error, "the cluster is not seeded yet");
        env.clock.sleep_until(env.clock.now() + crate::request::RETRY).await;
    }
}

fn kube_proxy() -> anyhow::Result<DaemonSet> {
    let labels = json!({"k8s-app": "kube-proxy"});
    let image = format!("registry.k8s.io/kube-proxy:{}", crate::kubelet::KUBELET_VERSION);
    let container = json!({
        "name": "kube-proxy", "image": image,
        "command": ["/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf", "--hostname-override=$(NODE_NAME)"],
        "env": [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "securityContext": {"privileged": true},
        "volumeMounts": [{"name": "kube-proxy", "mountPath": "/var/lib/kube-proxy"}],
    });
    Ok(serde_json::from_value(json!({
        "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [container],
                    "hostNetwork": true,
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "priorityClassName": "system-node-critical",
                    "serviceAccountName": "kube-proxy",
                    "tolerations": [{"operator": "Exists"}],
                    "volumes": [{"name": "kube-proxy", "configMap": {"name": "kube-proxy"}}],
                },
            },
        },
    }))?)
}

async fn create<K>(client: &Client, namespace: &str, object: &K) -> anyhow::Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    let api = Api::<K>::namespaced(client.clone(), namespace);
    // Asked first: a Service that exists is refused for its address, which is taken (by itself), before it is refused for its name.
    if api.get_opt(&object.name_any()).await?.is_some() {
        return Ok(());
    }
    unless_there(api.create(&PostParams::default(), object).await)
}

fn unless_there<K>(created: kube::Result<K>) -> anyhow::Result<()> {
    match created {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        created => Ok(created.map(|_| ())?),
    }
}
