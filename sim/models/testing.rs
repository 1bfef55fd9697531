//! Objects for the tests of this crate, from builders that read aloud.

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{Container, ContainerPort, Node, NodeCondition, Pod, PodCondition, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};

use crate::workloads::rollout::{REVISION, TEMPLATE_HASH};

pub(crate) struct PodBuilder(Pod);

/// A pod of namespace `default` that is nowhere yet.
pub(crate) fn pod(name: &str) -> PodBuilder {
    let metadata = ObjectMeta {
        name: Some(name.into()),
        namespace: Some("default".into()),
        uid: Some(format!("uid-{name}")),
        ..ObjectMeta::default()
    };
    let ports = vec![ContainerPort { name: Some("web".into()), container_port: 8080, ..ContainerPort::default() }];
    let container = Container { name: "kubia".into(), image: Some("luksa/kubia".into()), ports: Some(ports), ..Container::default() };
    PodBuilder(Pod { metadata, spec: Some(PodSpec { containers: vec![container], ..PodSpec::default() }), status: None })
}

impl PodBuilder {
    pub(crate) fn on(mut self, node: &str) -> Self {
        self.0.spec.get_or_insert_default().node_name = Some(node.into());
        self
    }

    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.0.metadata.labels.get_or_insert_default().insert(key.into(), value.into());
        self
    }

    pub(crate) fn ip(mut self, ip: &str) -> Self {
        self.0.status.get_or_insert_default().pod_ip = Some(ip.into());
        self
    }

    /// Ready since 1970.
    pub(crate) fn ready(mut self) -> Self {
        let status = self.0.status.get_or_insert_default();
        status.phase = Some("Running".into());
        let since = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        let ready = PodCondition { type_: "Ready".into(), status: "True".into(), last_transition_time: since, ..PodCondition::default() };
        status.conditions = Some(vec![ready]);
        self
    }

    pub(crate) fn terminating(mut self) -> Self {
        self.0.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        self.0.metadata.deletion_grace_period_seconds = Some(30);
        self
    }

    pub(crate) fn build(self) -> Pod {
        self.0
    }
}

/// A node that is Ready.
pub(crate) fn node(name: &str) -> Node {
    let ready = NodeCondition { type_: "Ready".into(), status: "True".into(), ..NodeCondition::default() };
    let mut node = Node { metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() }, ..Node::default() };
    node.status.get_or_insert_default().conditions = Some(vec![ready]);
    node
}

fn template(app: &str) -> PodTemplateSpec {
    let labels = Some([("app".to_owned(), app.to_owned())].into());
    PodTemplateSpec { metadata: Some(ObjectMeta { labels, ..ObjectMeta::default() }), spec: pod(app).build().spec }
}

fn meta(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.into()), namespace: Some("default".into()), uid: Some(format!("uid-{name}")), ..ObjectMeta::default() }
}

/// A Deployment with the default strategy.
pub(crate) fn deployment(name: &str, replicas: i32) -> Deployment {
    let spec = DeploymentSpec { replicas: Some(replicas), template: template(name), ..DeploymentSpec::default() };
    Deployment { metadata: meta(name), spec: Some(spec), status: None }
}

/// A ReplicaSet `<deployment>-<hash>`.
pub(crate) fn replica_set(deployment: &str, hash: &str, replicas: i32, revision: i64) -> ReplicaSet {
    let mut metadata = meta(&format!("{deployment}-{hash}"));
    metadata.labels = Some([(TEMPLATE_HASH.to_owned(), hash.to_owned())].into());
    metadata.annotations = Some([(REVISION.to_owned(), revision.to_string())].into());
    let spec = ReplicaSetSpec { replicas: Some(replicas), selector: LabelSelector::default(), ..ReplicaSetSpec::default() };
    ReplicaSet { metadata, spec: Some(spec), status: None }
}

/// A DaemonSet.
pub(crate) fn daemon_set(name: &str) -> DaemonSet {
    let spec = DaemonSetSpec { template: template(name), ..DaemonSetSpec::default() };
    DaemonSet { metadata: meta(name), spec: Some(spec), status: None }
}
