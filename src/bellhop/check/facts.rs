//! Everything that the checks look at, read once. What could not be read is kept as the reason why.

use std::time::Duration;

use bellhop_api::keys;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use super::Options;
use crate::install::{self, Choices};
use crate::watch::causes;

/// What was read, or why it could not be.
pub(super) type Read<T> = Result<T, String>;

/// The Lease is renewed every second: within this time a leader that lives has written it.
const LEASE_WATCHED: Duration = Duration::from_millis(2500);

/// All of it.
pub(super) struct Facts {
    pub(super) version: Read<Info>,
    pub(super) namespace: Read<Option<Namespace>>,
    pub(super) crd: Read<Option<CustomResourceDefinition>>,
    /// Each thing that the program does, and whether its service account may; before an installation, what you may create.
    pub(super) permissions: Vec<(String, Read<bool>)>,
    pub(super) deployment: Read<Option<Deployment>>,
    pub(super) pods: Read<Vec<Pod>>,
    /// The Lease, and again a moment later.
    pub(super) lease: [Read<Option<Lease>>; 2],
    pub(super) nodes: Read<Vec<Node>>,
    pub(super) proxy: Read<Option<ConfigMap>>,
    /// Deployments and DaemonSets that want pods: namespace and name.
    pub(super) workloads: Read<Vec<(String, String)>>,
    /// Webhook configurations, with the namespaces of the Services that they call.
    pub(super) webhooks: Read<Vec<(String, Vec<String>)>>,
    pub(super) eips: Read<Vec<DynamicObject>>,
    pub(super) services: Read<Vec<Service>>,
}

/// Reads all of it.
pub(super) async fn gather(client: &Client, options: &Options) -> Facts {
    let namespaced = options.namespace.as_str();
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespaced);
    let first = one(leases.get_opt(keys::LEASE).await);
    let lease = if options.before || !matches!(first, Ok(Some(_))) {
        [first.clone(), first]
    } else {
        tokio::time::sleep(LEASE_WATCHED).await;
        [first, one(leases.get_opt(keys::LEASE).await)]
    };
    let pods = ListParams::default().labels("app.kubernetes.io/name=bellhop");
    Facts {
        version: client.apiserver_version().await.map_err(|error| causes(&error)),
        namespace: one(Api::all(client.clone()).get_opt(namespaced).await),
        crd: one(Api::all(client.clone()).get_opt("eips.network.kubesphere.io").await),
        permissions: if options.before { may_install(client).await } else { may_run(client, namespaced).await },
        deployment: one(Api::namespaced(client.clone(), namespaced).get_opt("bellhop").await),
        pods: many(Api::namespaced(client.clone(), namespaced).list(&pods).await),
        lease,
        nodes: many(Api::all(client.clone()).list(&ListParams::default()).await),
        proxy: one(Api::namespaced(client.clone(), "kube-system").get_opt("kube-proxy").await),
        workloads: workloads(client).await,
        webhooks: webhooks(client).await,
        eips: many(Api::all_with(client.clone(), &bellhop_api::eip_resource()).list(&ListParams::default()).await),
        services: many(Api::all(client.clone()).list(&ListParams::default()).await),
    }
}

fn one<T>(answer: kube::Result<Option<T>>) -> Read<Option<T>> {
    answer.map_err(|error| causes(&error))
}

fn many<T: Clone>(answer: kube::Result<kube::core::ObjectList<T>>) -> Read<Vec<T>> {
    answer.map(|list| list.items).map_err(|error| causes(&error))
}

async fn workloads(client: &Client) -> Read<Vec<(String, String)>> {
    let deployments: Vec<Deployment> = many(Api::all(client.clone()).list(&ListParams::default()).await)?;
    let daemons: Vec<DaemonSet> = many(Api::all(client.clone()).list(&ListParams::default()).await)?;
    let wanted = deployments.iter().filter(|deployment| deployment.spec.as_ref().is_none_or(|spec| spec.replicas != Some(0)));
    let names = wanted.map(name).chain(daemons.iter().map(name));
    Ok(names.collect())
}

fn name(object: &impl ResourceExt) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

async fn webhooks(client: &Client) -> Read<Vec<(String, Vec<String>)>> {
    let mutating: Vec<MutatingWebhookConfiguration> = many(Api::all(client.clone()).list(&ListParams::default()).await)?;
    let validating: Vec<ValidatingWebhookConfiguration> = many(Api::all(client.clone()).list(&ListParams::default()).await)?;
    let mutating = mutating.iter().map(|one| {
        let called = one.webhooks.iter().flatten().filter_map(|webhook| Some(webhook.client_config.service.as_ref()?.namespace.clone()));
        (format!("MutatingWebhookConfiguration {}", one.name_any()), called.collect())
    });
    let validating = validating.iter().map(|one| {
        let called = one.webhooks.iter().flatten().filter_map(|webhook| Some(webhook.client_config.service.as_ref()?.namespace.clone()));
        (format!("ValidatingWebhookConfiguration {}", one.name_any()), called.collect())
    });
    Ok(mutating.chain(validating).collect())
}

/// Asks whether whoever runs this may create each kind of the installation.
async fn may_install(client: &Client) -> Vec<(String, Read<bool>)> {
    let mut answers = Vec::new();
    for object in install::objects(&Choices::default()).unwrap_or_default() {
        let types = TypeMeta {
            api_version: object["apiVersion"].as_str().unwrap_or_default().to_owned(),
            kind: object["kind"].as_str().unwrap_or_default().to_owned(),
        };
        let Ok(gvk) = GroupVersionKind::try_from(types) else { continue };
        let resource = ApiResource::from_gvk(&gvk);
        let asked = ResourceAttributes {
            group: Some(resource.group),
            resource: Some(resource.plural),
            verb: Some("create".to_owned()),
            namespace: object["metadata"]["namespace"].as_str().map(str::to_owned),
            ..Default::default()
        };
        let shown = shown(&asked);
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(asked), ..Default::default() },
            ..Default::default()
        };
        let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await;
        answers.push((shown, answer.map(|review| review.status.is_some_and(|status| status.allowed)).map_err(|error| causes(&error))));
    }
    answers
}

/// Asks whether the program's service account may do what our own rules say that it does.
async fn may_run(client: &Client, namespace: &str) -> Vec<(String, Read<bool>)> {
    let choices = Choices { namespace: namespace.to_owned(), ..Choices::default() };
    let objects = install::objects(&choices).unwrap_or_default();
    let mut answers = Vec::new();
    for asked in objects.iter().flat_map(rules) {
        let shown = shown(&asked);
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(format!("system:serviceaccount:{namespace}:bellhop")),
                groups: Some(vec![
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{namespace}"),
                    "system:authenticated".to_owned(),
                ]),
                resource_attributes: Some(asked),
                ..Default::default()
            },
            ..Default::default()
        };
        let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await;
        answers.push((shown, answer.map(|review| review.status.is_some_and(|status| status.allowed)).map_err(|error| causes(&error))));
    }
    answers
}

/// `patch services/status`, as `kubectl auth can-i` has it.
fn shown(asked: &ResourceAttributes) -> String {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let subresource = asked.subresource.as_ref().map(|subresource| format!("/{subresource}")).unwrap_or_default();
    format!("{} {}{subresource}", text(&asked.verb), text(&asked.resource))
}

/// A Role's or ClusterRole's rules, each request by itself.
fn rules(role: &Value) -> Vec<ResourceAttributes> {
    let mut asked = Vec::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        let texts = |key: &str| -> Vec<String> { serde_json::from_value(rule[key].clone()).unwrap_or_default() };
        let name = texts("resourceNames").into_iter().next();
        for group in texts("apiGroups") {
            for resource in texts("resources") {
                let (resource, subresource) = match resource.split_once('/') {
                    Some((resource, subresource)) => (resource.to_owned(), Some(subresource.to_owned())),
                    None => (resource, None),
                };
                asked.extend(texts("verbs").into_iter().map(|verb| ResourceAttributes {
                    group: Some(group.clone()),
                    resource: Some(resource.clone()),
                    subresource: subresource.clone(),
                    verb: Some(verb),
                    name: name.clone(),
                    namespace: role["metadata"]["namespace"].as_str().map(str::to_owned),
                    ..Default::default()
                }));
            }
        }
    }
    asked
}
