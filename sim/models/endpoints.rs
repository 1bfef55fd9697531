//! The EndpointSlice controller, and the Endpoints objects that `kubectl get endpoints` still reads.
//!
//! Pure decision [`groups`]: a Service, one of its IP families and the pods, in; endpoints by the ports that they resolve to, out. Normally one group and so
//! one slice for each family; a named `targetPort` that differs from pod to pod makes more. A slice holds at most a thousand endpoints (the API's limit); beyond that we stop.

use std::collections::BTreeMap;

use bellhop::env::Env;
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort as LegacyPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service, ServicePort,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Resource, ResourceExt};

use crate::cached::Cached;
use crate::part::{part, suffix};
use crate::pods;
use crate::request::{Failure, RETRY, answer, unless_stale};

/// The label that ties a slice to its Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: (&str, &str) = ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io");
/// The families as the API writes them.
const V4: &str = "IPv4";
const V6: &str = "IPv6";
/// The API refuses more (discovery/v1, EndpointSlice.endpoints).
const ENDPOINTS_MAX: usize = 1000;

/// Runs until it is asked to stop.
pub(crate) async fn run(env: Env) -> anyhow::Result<()> {
    let mut model = EndpointSlices {
        services: Cached::new(&env, "services", Api::all(env.client.clone())),
        pods: Cached::new(&env, "pods", Api::all(env.client.clone())),
        slices: Cached::new(&env, "endpointslices", Api::all(env.client.clone())),
        legacy: Cached::new(&env, "endpoints", Api::all(env.client.clone())),
        env: part(&env, "names"),
    };
    let mut retry = None;
    loop {
        tokio::select! {
            biased;
            () = env.shutdown.cancelled() => return Ok(()),
            () = model.services.changed() => {}
            () = model.pods.changed() => {}
            () = model.slices.changed() => {}
            () = model.legacy.changed() => {}
            () = env.clock.sleep_until(retry.unwrap_or(bellhop_core::time::Instant::FAR_FUTURE)), if retry.is_some() => {}
        }
        model.services.drain();
        model.pods.drain();
        model.slices.drain();
        model.legacy.drain();
        if !(model.services.synced() && model.pods.synced() && model.slices.synced() && model.legacy.synced()) {
            continue;
        }
        retry = model.pass().await.err().map(|failure| {
            tracing::debug!(%failure, "the EndpointSlice controller tries again");
            env.clock.now() + RETRY
        });
    }
}

struct EndpointSlices {
    env: Env,
    services: Cached<Service>,
    pods: Cached<Pod>,
    slices: Cached<EndpointSlice>,
    legacy: Cached<Endpoints>,
}

impl EndpointSlices {
    async fn pass(&mut self) -> Result<(), Failure> {
        let services: Vec<Service> =
            self.services.iter().filter(|service| service.metadata.deletion_timestamp.is_none()).cloned().collect();
        for service in &services {
            for (index, family) in families(service).into_iter().enumerate() {
                let Some(groups) = groups(service, family, self.pods.iter()) else { continue };
                self.write_slices(service, family, &groups).await?;
                if index == 0 {
                    self.write_legacy(service, &groups).await?;
                }
            }
        }
        self.collect_orphans().await
    }

    async fn write_slices(&mut self, service: &Service, family: &'static str, groups: &Groups) -> Result<(), Failure> {
        let is_known = |slice: &&EndpointSlice| slice.address_type == family && pods::controls(service, &slice.metadata);
        let mut known: Vec<EndpointSlice> = self.slices.iter().filter(is_known).cloned().collect();
        let api = self.slice_api(service);
        for (ports, endpoints) in groups {
            let wanted_ports = slice_ports(ports);
            // The slice with the same ports, else any: the ports of a Service may change under it.
            let same =
                known.iter().position(|slice| slice.ports.as_ref() == Some(&wanted_ports)).or_else(|| (!known.is_empty()).then_some(0));
            let written = match same.map(|index| known.remove(index)) {
                Some(slice) if slice.ports.as_ref() == Some(&wanted_ports) && &slice.endpoints == endpoints => continue,
                Some(slice) => {
                    let slice = EndpointSlice { ports: Some(wanted_ports), endpoints: endpoints.clone(), ..slice };
                    answer(&self.env, api.replace(&slice.name_any(), &PostParams::default(), &slice)).await
                }
                None => {
                    let slice = new_slice(service, family, wanted_ports, endpoints.clone(), &suffix(&mut self.env.rng));
                    answer(&self.env, api.create(&PostParams::default(), &slice)).await
                }
            };
            if let Some(slice) = unless_stale(written)? {
                self.slices.wrote(slice);
            }
        }
        for slice in known {
            self.delete_slice(&slice).await?;
        }
        Ok(())
    }

    async fn write_legacy(&mut self, service: &Service, groups: &Groups) -> Result<(), Failure> {
        let subsets = legacy_subsets(groups);
        let subsets = Some(subsets).filter(|subsets| !subsets.is_empty());
        let slot = (service.namespace().unwrap_or_default(), service.name_any());
        let api: Api<Endpoints> = Api::namespaced(self.env.client.clone(), &slot.0);
        let written = match self.legacy.get(&slot) {
            Some(known) if known.subsets == subsets => return Ok(()),
            Some(known) => {
                let wanted = Endpoints { subsets, ..known.clone() };
                answer(&self.env, api.replace(&slot.1, &PostParams::default(), &wanted)).await
            }
            None => {
                let owner_references = service.controller_owner_ref(&()).map(|mut owner| {
                    // Real Endpoints have no owner and go by their name; ours are collected with their Service.
                    owner.controller = None;
                    vec![owner]
                });
                let metadata =
                    ObjectMeta { name: Some(slot.1.clone()), namespace: service.namespace(), owner_references, ..ObjectMeta::default() };
                answer(&self.env, api.create(&PostParams::default(), &Endpoints { metadata, subsets })).await
            }
        };
        if let Some(legacy) = unless_stale(written)? {
            self.legacy.wrote(legacy);
        }
        Ok(())
    }

    /// Slices whose Service is gone, selects nothing any more, or has lost the family.
    async fn collect_orphans(&mut self) -> Result<(), Failure> {
        let ours = |slice: &&EndpointSlice| slice.labels().get(MANAGED_BY.0).is_some_and(|manager| manager == MANAGED_BY.1);
        let has_service = |slice: &EndpointSlice| {
            let wants = |service: &Service| selector(service).is_some() && families(service).contains(&slice.address_type.as_str());
            self.services.iter().any(|service| pods::controls(service, &slice.metadata) && wants(service))
        };
        let orphans: Vec<EndpointSlice> = self.slices.iter().filter(ours).filter(|slice| !has_service(slice)).cloned().collect();
        for slice in &orphans {
            self.delete_slice(slice).await?;
        }
        Ok(())
    }

    async fn delete_slice(&mut self, slice: &EndpointSlice) -> Result<(), Failure> {
        let api: Api<EndpointSlice> = Api::namespaced(self.env.client.clone(), &slice.namespace().unwrap_or_default());
        unless_stale(answer(&self.env, api.delete(&slice.name_any(), &DeleteParams::default())).await)?;
        self.slices.removed(slice);
        Ok(())
    }

    fn slice_api(&self, service: &Service) -> Api<EndpointSlice> {
        Api::namespaced(self.env.client.clone(), &service.namespace().unwrap_or_default())
    }
}

/// Endpoints by the ports that they resolve to.
type Groups = BTreeMap<Vec<ResolvedPort>, Vec<Endpoint>>;

/// A port of a Service as a pod has it: name, protocol, number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ResolvedPort {
    name: String,
    protocol: String,
    port: i32,
}

fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    let spec = service.spec.as_ref().filter(|spec| spec.type_.as_deref() != Some("ExternalName"))?;
    spec.selector.as_ref().filter(|selector| !selector.is_empty())
}

/// The IP families of a Service, as EndpointSlices call them.
fn families(service: &Service) -> Vec<&'static str> {
    let named = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref()).into_iter().flatten();
    let families: Vec<&str> = named.filter_map(|family| [V4, V6].into_iter().find(|known| known == family)).collect();
    if families.is_empty() { vec![V4] } else { families }
}

/// The endpoints of a Service in one family; `None` when it selects no pods and somebody else writes its slices.
fn groups<'a>(service: &Service, family: &str, pods: impl Iterator<Item = &'a Pod>) -> Option<Groups> {
    let selector = selector(service)?;
    let spec = service.spec.as_ref()?;
    let ports: Vec<&ServicePort> = spec.ports.iter().flatten().collect();
    let selects = |pod: &&Pod| selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value));
    let here = |pod: &&Pod| pod.namespace() == service.namespace() && !pods::is_finished(pod);
    let mut groups = Groups::new();
    for pod in pods.filter(here).filter(selects).take(ENDPOINTS_MAX) {
        let resolved: Vec<ResolvedPort> = ports.iter().filter_map(|port| resolve(port, pod)).collect();
        if let Some(endpoint) = endpoint(pod, family, spec.publish_not_ready_addresses.unwrap_or(false)) {
            groups.entry(resolved).or_default().push(endpoint);
        }
    }
    if groups.is_empty() {
        // A Service without endpoints has a slice that says so.
        groups.insert(Vec::new(), Vec::new());
    }
    Some(groups)
}

fn endpoint(pod: &Pod, family: &str, publish_not_ready: bool) -> Option<Endpoint> {
    let status = pod.status.as_ref()?;
    let ips = status.pod_ips.iter().flatten().map(|each| &each.ip).chain(&status.pod_ip);
    let ip = ips.into_iter().find(|ip| ip.contains(':') == (family == V6))?.clone();
    let (serving, terminating) = (pods::is_ready(pod), pods::is_terminating(pod));
    // endpointslice/utils.go podToEndpoint: publishNotReadyAddresses makes an endpoint ready; whether it serves only the pod can say.
    let conditions = EndpointConditions {
        ready: Some(publish_not_ready || (serving && !terminating)),
        serving: Some(serving),
        terminating: Some(terminating),
    };
    Some(Endpoint {
        addresses: vec![ip],
        conditions: Some(conditions),
        node_name: pods::node(pod).map(str::to_owned),
        target_ref: Some(target(pod)),
        ..Endpoint::default()
    })
}

fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.namespace(),
        name: Some(pod.name_any()),
        uid: pod.uid(),
        ..ObjectReference::default()
    }
}

/// The number behind a `targetPort`, which may be the name of a container's port. `None` if the pod has no port of that name.
fn resolve(port: &ServicePort, pod: &Pod) -> Option<ResolvedPort> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => {
            let mut declared = pods::spec(pod)?.containers.iter().flat_map(|container| container.ports.iter().flatten());
            let same_protocol = |other: &str| other == protocol;
            declared
                .find(|port| port.name.as_ref() == Some(name) && same_protocol(port.protocol.as_deref().unwrap_or("TCP")))?
                .container_port
        }
    };
    Some(ResolvedPort { name: port.name.clone().unwrap_or_default(), protocol, port: number })
}

fn slice_ports(ports: &[ResolvedPort]) -> Vec<EndpointPort> {
    let port = |port: &ResolvedPort| EndpointPort {
        name: Some(port.name.clone()),
        protocol: Some(port.protocol.clone()),
        port: Some(port.port),
        ..EndpointPort::default()
    };
    ports.iter().map(port).collect()
}

fn new_slice(service: &Service, family: &str, ports: Vec<EndpointPort>, endpoints: Vec<Endpoint>, suffix: &str) -> EndpointSlice {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), service.name_any());
    labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    let prefix = format!("{}-", service.name_any());
    let metadata = ObjectMeta {
        name: Some(format!("{prefix}{suffix}")),
        generate_name: Some(prefix),
        namespace: service.namespace(),
        labels: Some(labels),
        owner_references: service.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    };
    EndpointSlice { metadata, address_type: family.to_owned(), ports: Some(ports), endpoints }
}

/// The same in the form of core/v1: one subset per group of ports, without pods that are going away.
fn legacy_subsets(groups: &Groups) -> Vec<EndpointSubset> {
    let address = |endpoint: &Endpoint| EndpointAddress {
        ip: endpoint.addresses.first().cloned().unwrap_or_default(),
        node_name: endpoint.node_name.clone(),
        target_ref: endpoint.target_ref.clone(),
        ..EndpointAddress::default()
    };
    let is = |endpoint: &&Endpoint, ready: bool| endpoint.conditions.as_ref().is_some_and(|conditions| conditions.ready == Some(ready));
    let stays = |endpoint: &&Endpoint| endpoint.conditions.as_ref().is_none_or(|conditions| conditions.terminating != Some(true));
    let subset = |(ports, endpoints): (&Vec<ResolvedPort>, &Vec<Endpoint>)| {
        let collect = |ready: bool| endpoints.iter().filter(stays).filter(|endpoint| is(endpoint, ready)).map(address).collect::<Vec<_>>();
        let port = |port: &ResolvedPort| LegacyPort {
            name: Some(port.name.clone()).filter(|name| !name.is_empty()),
            port: port.port,
            protocol: Some(port.protocol.clone()),
            ..LegacyPort::default()
        };
        let some = |addresses: Vec<EndpointAddress>| Some(addresses).filter(|addresses| !addresses.is_empty());
        let subset = EndpointSubset {
            addresses: some(collect(true)),
            not_ready_addresses: some(collect(false)),
            ports: Some(ports.iter().map(port).collect()),
        };
        (subset.addresses.is_some() || subset.not_ready_addresses.is_some()).then_some(subset)
    };
    groups.iter().filter_map(subset).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ServiceSpec;

    use super::*;
    use crate::testing::pod;

    fn service(target_port: IntOrString) -> Service {
        let port = ServicePort { name: Some("http".into()), port: 80, target_port: Some(target_port), ..ServicePort::default() };
        let selector = Some([("app".to_owned(), "web".to_owned())].into());
        let metadata = ObjectMeta { name: Some("web".into()), namespace: Some("default".into()), ..ObjectMeta::default() };
        Service { metadata, spec: Some(ServiceSpec { selector, ports: Some(vec![port]), ..ServiceSpec::default() }), status: None }
    }

    fn conditions(groups: &Groups) -> Vec<(Option<bool>, Option<bool>, Option<bool>)> {
        let conditions = groups.values().flatten().filter_map(|endpoint| endpoint.conditions.as_ref());
        conditions.map(|conditions| (conditions.ready, conditions.serving, conditions.terminating)).collect()
    }

    #[test]
    fn a_pod_that_is_going_away_serves_and_is_not_ready() {
        let web = pod("a").label("app", "web").ip("10.233.1.2").ready().terminating().build();
        let groups = groups(&service(IntOrString::Int(8080)), V4, [&web].into_iter()).expect("selects");
        assert_eq!(conditions(&groups), [(Some(false), Some(true), Some(true))]);
        assert_eq!(legacy_subsets(&groups), []);
    }

    #[test]
    fn each_family_has_its_own_endpoints_and_a_service_that_names_none_has_ipv4() {
        let mut web = pod("a").label("app", "web").ip("10.233.1.2").ready().build();
        let ips = ["10.233.1.2", "fd00:10:233:1::2"].map(|ip| k8s_openapi::api::core::v1::PodIP { ip: ip.to_owned() });
        web.status.get_or_insert_default().pod_ips = Some(ips.to_vec());
        let mut service = service(IntOrString::Int(8080));
        assert_eq!(families(&service), [V4]);
        service.spec.get_or_insert_default().ip_families = Some(vec!["IPv6".to_owned(), "IPv4".to_owned()]);
        assert_eq!(families(&service), [V6, V4]);
        let addresses = |family| {
            let groups = groups(&service, family, [&web].into_iter()).expect("selects");
            groups.into_values().flatten().flat_map(|endpoint| endpoint.addresses).collect::<Vec<_>>()
        };
        assert_eq!((addresses(V4), addresses(V6)), (vec!["10.233.1.2".to_owned()], vec!["fd00:10:233:1::2".to_owned()]));
    }

    #[test]
    fn a_named_port_is_looked_up_in_each_pod() {
        let web = pod("a").label("app", "web").ip("10.233.1.2").ready().build();
        let mut other = pod("b").label("app", "web").ip("10.233.1.3").ready().build();
        other.spec.as_mut().and_then(|spec| spec.containers[0].ports.as_mut()).expect("built with one")[0].container_port = 9090;
        let groups = groups(&service(IntOrString::String("web".into())), V4, [&web, &other].into_iter()).expect("selects");
        assert_eq!(groups.keys().map(|ports| ports[0].port).collect::<Vec<_>>(), [8080, 9090]);
    }

    #[test]
    fn pods_of_others_finished_ones_and_those_without_address_are_left_out() {
        let other = pod("a").label("app", "db").ip("10.233.1.2").ready().build();
        let starting = pod("b").label("app", "web").build();
        let mut finished = pod("c").label("app", "web").ip("10.233.1.3").ready().build();
        finished.status.get_or_insert_default().phase = Some("Failed".into());
        let groups = groups(&service(IntOrString::Int(8080)), V4, [&other, &starting, &finished].into_iter()).expect("selects");
        assert_eq!(groups, Groups::from([(vec![], vec![])]));
    }

    #[test]
    fn publish_not_ready_addresses_makes_every_pod_ready_and_none_serving() {
        let starting = pod("a").label("app", "web").ip("10.233.1.2").build();
        let mut service = service(IntOrString::Int(8080));
        service.spec.get_or_insert_default().publish_not_ready_addresses = Some(true);
        let groups = groups(&service, V4, [&starting].into_iter()).expect("selects");
        assert_eq!(conditions(&groups), [(Some(true), Some(false), Some(false))]);
    }

    #[test]
    fn a_service_without_selector_is_left_to_its_owner() {
        let mut service = service(IntOrString::Int(8080));
        service.spec.get_or_insert_default().selector = None;
        assert_eq!(groups(&service, V4, [].into_iter()), None);
    }
}
