//! From Services and EndpointSlices to the rules of one node.
//!
//! Pure. The result is ordered by Service, by port as in the spec, by endpoint address: equal states are equal values, so nothing is applied twice.

use std::net::IpAddr;

use bellhop_core::name::{NodeName, ServiceKey};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt;

use crate::endpoints::SERVICE_NAME;
use crate::runner::{EndpointRule, PortRule, Protocol, ProxyMode, ServiceRule, ServiceRules, TrafficPolicy};

/// The rules for `node`.
pub(super) fn rules<'a>(
    mode: ProxyMode,
    node: &NodeName,
    services: impl Iterator<Item = &'a Service>,
    slices: impl Iterator<Item = &'a EndpointSlice>,
) -> ServiceRules {
    let slices: Vec<&EndpointSlice> = slices.collect();
    ServiceRules { mode, services: services.filter_map(|service| rule(node, service, &slices)).collect() }
}

fn rule(node: &NodeName, service: &Service, slices: &[&EndpointSlice]) -> Option<ServiceRule> {
    let spec = service.spec.as_ref()?;
    let cluster_ips = spec.cluster_ips.as_ref().filter(|ips| !ips.is_empty()).map_or(spec.cluster_ip.as_slice(), Vec::as_slice);
    let cluster_ips: Vec<IpAddr> = cluster_ips.iter().filter_map(|ip| ip.parse().ok()).collect();
    // Neither headless nor ExternalName Services have rules.
    if cluster_ips.is_empty() || spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    let key = ServiceKey::new(service.namespace().unwrap_or_default(), service.name_any());
    let of_service = |slice: &&&EndpointSlice| {
        slice.metadata.namespace == service.metadata.namespace && slice.labels().get(SERVICE_NAME).is_some_and(|name| **name == *key.name)
    };
    let slices: Vec<&EndpointSlice> = slices.iter().filter(of_service).copied().collect();
    let local = spec.external_traffic_policy.as_deref() == Some("Local");
    Some(ServiceRule {
        external_ips: external_ips(service, spec),
        policy: if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster },
        ports: spec.ports.iter().flatten().filter_map(|port| port_rule(node, port, &slices)).collect(),
        service: key,
        cluster_ips,
    })
}

/// Ingress addresses (but those that a proxy in front owns: KEP-1860) and `spec.externalIPs`.
fn external_ips(service: &Service, spec: &ServiceSpec) -> Vec<IpAddr> {
    let ingress =
        service.status.iter().filter_map(|status| status.load_balancer.as_ref()).flat_map(|status| status.ingress.iter().flatten());
    let ingress = ingress.filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy")).filter_map(|ingress| ingress.ip.as_ref());
    let mut ips: Vec<IpAddr> = ingress.chain(spec.external_ips.iter().flatten()).filter_map(|ip| ip.parse().ok()).collect();
    ips.sort_unstable();
    ips.dedup();
    ips
}

fn port_rule(node: &NodeName, port: &ServicePort, slices: &[&EndpointSlice]) -> Option<PortRule> {
    let protocol = match port.protocol.as_deref() {
        None | Some("TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        // SCTP is nobody's use here.
        Some(_) => return None,
    };
    let name = port.name.clone().unwrap_or_default();
    let mut endpoints: Vec<EndpointRule> = slices.iter().flat_map(|slice| endpoint_rules(node, &name, slice)).collect();
    endpoints.sort();
    endpoints.dedup_by_key(|endpoint| (endpoint.ip, endpoint.port));
    let number = |port: i32| u16::try_from(port).ok().filter(|port| *port != 0);
    Some(PortRule { protocol, port: number(port.port)?, node_port: port.node_port.and_then(number), endpoints, name })
}

fn endpoint_rules(node: &NodeName, port_name: &str, slice: &EndpointSlice) -> Vec<EndpointRule> {
    let named = |port: &&k8s_openapi::api::discovery::v1::EndpointPort| port.name.as_deref().unwrap_or_default() == port_name;
    let port = slice.ports.iter().flatten().find(named).and_then(|port| u16::try_from(port.port?).ok());
    let Some(port) = port else { return Vec::new() };
    slice.endpoints.iter().filter_map(|endpoint| endpoint_rule(node, port, endpoint)).collect()
}

fn endpoint_rule(node: &NodeName, port: u16, endpoint: &Endpoint) -> Option<EndpointRule> {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    // discovery/v1: absent means ready; serving falls back to ready; terminating to false.
    let ready = conditions.ready.unwrap_or(true);
    let on = endpoint.node_name.as_deref().map(NodeName::from);
    Some(EndpointRule {
        ip: endpoint.addresses.first()?.parse().ok()?,
        port,
        local: on.as_ref() == Some(node),
        node: on,
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service() -> Service {
        let object = json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.10", "externalTrafficPolicy": "Local",
                     "ports": [{"name": "http", "port": 80, "nodePort": 30080}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.168.0.91"}, {"ip": "192.168.0.99", "ipMode": "Proxy"}, {"hostname": "x"}]}},
        });
        serde_json::from_value(object).expect("a Service")
    }

    fn slice(conditions: [(bool, bool, bool); 2]) -> EndpointSlice {
        let endpoint = |ip: &str, node: &str, (ready, serving, terminating): (bool, bool, bool)| json!({"addresses": [ip], "nodeName": node, "conditions": {"ready": ready, "serving": serving, "terminating": terminating}});
        let object = json!({
            "metadata": {"name": "web-abcde", "namespace": "default", "labels": {SERVICE_NAME: "web"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [endpoint("10.233.2.2", "b", conditions[0]), endpoint("10.233.1.2", "a", conditions[1])],
        });
        serde_json::from_value(object).expect("an EndpointSlice")
    }

    fn external(conditions: [(bool, bool, bool); 2], policy: TrafficPolicy) -> Vec<String> {
        let (service, slice) = (service(), slice(conditions));
        let rules = rules(ProxyMode::Iptables, &"a".into(), [&service].into_iter(), [&slice].into_iter());
        rules.services[0].ports[0].external(policy).iter().map(|endpoint| endpoint.ip.to_string()).collect()
    }

    #[test]
    fn a_load_balancer_service_becomes_addresses_ports_and_endpoints() {
        let (service, slice) = (service(), slice([(true, true, false); 2]));
        let rules = rules(ProxyMode::Iptables, &"a".into(), [&service].into_iter(), [&slice].into_iter());
        let rule = &rules.services[0];
        assert_eq!(rule.external_ips, ["192.168.0.91".parse::<IpAddr>().expect("a literal")]);
        assert_eq!(rule.policy, TrafficPolicy::Local);
        let port = &rule.ports[0];
        assert_eq!((port.port, port.node_port), (80, Some(30080)));
        assert_eq!(
            port.endpoints.iter().map(|endpoint| (endpoint.ip.to_string(), endpoint.local)).collect::<Vec<_>>(),
            [("10.233.1.2".to_owned(), true), ("10.233.2.2".to_owned(), false)]
        );
    }

    #[test]
    fn local_means_this_nodes_endpoints_only() {
        assert_eq!(external([(true, true, false); 2], TrafficPolicy::Local), ["10.233.1.2"]);
        assert_eq!(external([(true, true, false); 2], TrafficPolicy::Cluster), ["10.233.1.2", "10.233.2.2"]);
    }

    #[test]
    fn a_terminating_endpoint_serves_only_when_no_other_is_ready() {
        let leaving = (false, true, true);
        assert_eq!(external([(true, true, false), leaving], TrafficPolicy::Cluster), ["10.233.2.2"]);
        assert_eq!(external([(true, true, false), leaving], TrafficPolicy::Local), ["10.233.1.2"]);
        assert_eq!(external([leaving, (false, false, false)], TrafficPolicy::Local), [""; 0]);
    }

    #[test]
    fn a_headless_service_has_no_rule() {
        let mut service = service();
        service.spec.get_or_insert_default().cluster_ip = Some("None".into());
        assert_eq!(rules(ProxyMode::Iptables, &"a".into(), [&service].into_iter(), [].into_iter()).services, []);
    }
}
