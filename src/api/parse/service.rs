//! `Service` to the core's [`Service`]: whether it is ours, what it asks for and what stands on it.
//!
//! The contract is PorterLB's (reference/porterlb-compat.md §2) with the decisions of design §5: `spec.loadBalancerClass` decides where it is
//! set, `spec.loadBalancerIP` goes before the annotation. Which pool then serves it is the core's business.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bellhop_core::by_family::ByFamily;
use bellhop_core::name::ServiceKey;
use bellhop_core::object::{Family, Protocol, Request, Service, ServiceStatus, TrafficPolicy};
use bellhop_core::text;
use k8s_openapi::api::core::v1::{Service as ApiService, ServiceSpec, ServiceStatus as ApiServiceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::keys;

/// Pools that a Service may name: one of each family, and some to fall back on. What is beyond is not read.
const POOLS_MAX: usize = 16;

/// Reads a Service, whoever it belongs to.
pub fn service(object: &ApiService) -> Service {
    let meta = &object.metadata;
    let finalizers = meta.finalizers.as_deref().unwrap_or_default();
    Service {
        key: ServiceKey::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default()),
        version: super::version(meta),
        created: super::created(meta),
        request: object.spec.as_ref().filter(|spec| is_ours(meta, spec)).map(|spec| request(meta, spec)),
        status: status(meta, object.status.as_ref()),
        // Of a Service that opted in only: another's finalizer is another's business. A deleted one counts, or it would wait for ever.
        has_foreign_finalizer: object.spec.as_ref().is_some_and(|spec| opts_in(meta, spec))
            && finalizers.iter().any(|finalizer| finalizer == keys::FOREIGN_SERVICE_FINALIZER),
    }
}

fn is_ours(meta: &ObjectMeta, spec: &ServiceSpec) -> bool {
    meta.deletion_timestamp.is_none() && spec.type_.as_deref() == Some("LoadBalancer") && opts_in(meta, spec)
}

/// The class decides where it is set, else the annotation.
fn opts_in(meta: &ObjectMeta, spec: &ServiceSpec) -> bool {
    match spec.load_balancer_class.as_deref() {
        Some(class) => class == keys::LOAD_BALANCER_CLASS,
        None => super::first_of(meta.annotations.as_ref(), &[keys::OPT_IN]).is_some_and(|value| keys::OPT_IN_VALUES.contains(&value)),
    }
}

fn request(meta: &ObjectMeta, spec: &ServiceSpec) -> Request {
    let annotation = |keys: &[&str]| super::first_of(meta.annotations.as_ref(), keys);
    let in_spec = spec.load_balancer_ip.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let addresses = in_spec.or_else(|| annotation(&keys::ADDRESS)).map_or_else(|| Ok(ByFamily::NONE), addresses);
    // Thousands may be compared with thousands: they are kept in order.
    let ports = spec.ports.iter().flatten().map(|port| (port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), port.port));
    let ports: BTreeSet<(String, i32)> = ports.collect();
    Request {
        invalid_address: addresses.as_ref().err().cloned(),
        addresses: addresses.unwrap_or_default(),
        pools: annotation(&keys::POOL).into_iter().flat_map(listed).take(POOLS_MAX).map(|name| super::name(name).into()).collect(),
        protocol: annotation(&keys::PROTOCOL).map(|text| match text {
            "layer2" => Protocol::Layer2,
            other => Protocol::Other(text::quoted(other).into_owned()),
        }),
        policy: match spec.external_traffic_policy.as_deref() {
            Some("Local") => TrafficPolicy::Local,
            _ => TrafficPolicy::Cluster,
        },
        families: spec.ip_families.iter().flatten().filter_map(|family| self::family(family)).collect(),
        all_families: spec.ip_family_policy.as_deref() == Some("RequireDualStack"),
        sharing_key: annotation(&[keys::ALLOW_SHARED_IP]).map(str::to_owned),
        ports: ports.into_iter().collect(),
        selector: spec.selector.iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect(),
    }
}

/// The parts of a comma list.
fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// One address, or one of each family; or what is wrong with the text.
fn addresses(text: &str) -> Result<ByFamily<IpAddr>, String> {
    let mut addresses = ByFamily::NONE;
    for part in listed(text) {
        let address: IpAddr = part.parse().map_err(|_| format!("`{}` is not an IP address", text::quoted(part)))?;
        let family = Family::of(address);
        if let Some(other) = addresses.insert(family, address) {
            return Err(format!("{other} and {address} are both {family}: give one address, or one of each family"));
        }
    }
    Ok(addresses)
}

fn family(text: &str) -> Option<Family> {
    match text {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        _ => None,
    }
}

fn status(meta: &ObjectMeta, status: Option<&ApiServiceStatus>) -> ServiceStatus {
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ingress = status.and_then(|status| status.load_balancer.as_ref()?.ingress.as_deref()).unwrap_or_default();
    ServiceStatus {
        ingress: ingress.iter().filter_map(|ingress| ingress.ip.as_deref()?.parse::<IpAddr>().ok()).collect(),
        node: super::first_of(meta.annotations.as_ref(), &keys::LAYER2).map(|node| super::name(node).into()),
        pool: super::first_of(meta.labels.as_ref(), &keys::POOL).map(Into::into),
        assigned: super::condition(conditions, keys::CONDITION_ASSIGNED),
        announced: super::condition(conditions, keys::CONDITION_ANNOUNCED),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parsed(annotations: Value, spec: Value) -> Service {
        let object = json!({"metadata": {"namespace": "default", "name": "web", "annotations": annotations}, "spec": spec});
        service(&serde_json::from_value(object).expect("a Service"))
    }

    fn request_of(annotations: Value, spec: Value) -> Request {
        parsed(annotations, spec).request.expect("ours")
    }

    #[test]
    fn the_tutorials_service_is_ours_and_names_its_pool() {
        let request = request_of(
            json!({
                "lb.kubesphere.io/v1alpha1": "porter",
                "protocol.porter.kubesphere.io/v1alpha1": "layer2",
                "eip.porter.kubesphere.io/v1alpha2": "porter-layer2-eip",
            }),
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}),
        );
        assert_eq!(request.pools, ["porter-layer2-eip".into()]);
        assert_eq!((request.protocol, request.policy), (Some(Protocol::Layer2), TrafficPolicy::Local));
    }

    #[test]
    fn openelbs_spelling_says_the_same() {
        let of = |generation: &str| {
            let annotations = json!({
                "lb.kubesphere.io/v1alpha1": generation,
                format!("protocol.{generation}.kubesphere.io/v1alpha1"): "bgp",
                format!("eip.{generation}.kubesphere.io/v1alpha2"): "pool",
                format!("eip.{generation}.kubesphere.io/v1alpha1"): "192.0.2.7",
            });
            request_of(annotations, json!({"type": "LoadBalancer"}))
        };
        assert_eq!(of("porter"), of("openelb"));
        assert_eq!(of("porter").addresses, ByFamily::from_iter([(Family::V4, [192, 0, 2, 7].into())]));
    }

    #[test]
    fn whose_a_service_is_follows_its_class_then_its_annotation() {
        let porter = json!({"lb.kubesphere.io/v1alpha1": "porter"});
        let other = json!({"lb.kubesphere.io/v1alpha1": "metallb"});
        let with_class = |class: &str| json!({"type": "LoadBalancer", "loadBalancerClass": class});
        for (annotations, spec, ours) in [
            (porter.clone(), json!({"type": "LoadBalancer"}), true),
            (porter.clone(), json!({"type": "NodePort"}), false),
            (porter.clone(), json!({}), false),
            (other.clone(), json!({"type": "LoadBalancer"}), false),
            (json!({}), json!({"type": "LoadBalancer"}), false),
            (json!({}), with_class("bellhop.dev/layer2"), true),
            (other, with_class("bellhop.dev/layer2"), true),
            (porter, with_class("example.com/another"), false),
        ] {
            assert_eq!(parsed(annotations.clone(), spec.clone()).request.is_some(), ours, "{annotations} {spec}");
        }
    }

    #[test]
    fn the_spec_goes_before_the_annotation_and_what_is_no_address_is_kept_as_written() {
        let annotations = json!({"lb.kubesphere.io/v1alpha1": "porter", "eip.porter.kubesphere.io/v1alpha1": "192.0.2.300"});
        let request = |spec| request_of(annotations.clone(), spec);
        let in_spec = request(json!({"type": "LoadBalancer", "loadBalancerIP": "192.0.2.9"}));
        assert_eq!((in_spec.addresses.get(Family::V4), in_spec.invalid_address), (Some(&[192, 0, 2, 9].into()), None));
        let in_annotation = request(json!({"type": "LoadBalancer", "loadBalancerIP": ""}));
        assert_eq!(in_annotation.invalid_address.as_deref(), Some("`192.0.2.300` is not an IP address"));
    }

    #[test]
    fn of_a_dual_stack_service_an_address_and_a_pool_of_each_family_may_be_named() {
        let annotations = |address: &str| {
            json!({
                "lb.kubesphere.io/v1alpha1": "porter", "eip.porter.kubesphere.io/v1alpha1": address,
                "eip.porter.kubesphere.io/v1alpha2": "four, six,",
            })
        };
        let spec = json!({"type": "LoadBalancer", "ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "RequireDualStack"});
        let request = request_of(annotations("192.0.2.9, fd00::9"), spec.clone());
        assert_eq!((request.families.as_slice(), request.all_families), (&[Family::V6, Family::V4][..], true));
        assert_eq!(request.pools, ["four".into(), "six".into()]);
        assert_eq!(request.addresses.values().count(), 2);
        let twice = request_of(annotations("192.0.2.9,192.0.2.10"), spec);
        assert!(twice.invalid_address.is_some_and(|what| what.contains("both IPv4")) && twice.addresses.is_empty());
    }

    #[test]
    fn what_sharing_stands_on_is_read() {
        let request = request_of(
            json!({"lb.kubesphere.io/v1alpha1": "porter", "bellhop.dev/allow-shared-ip": "k"}),
            json!({"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}, {"port": 53}]}),
        );
        assert_eq!(request.sharing_key.as_deref(), Some("k"));
        assert_eq!(request.ports, [("TCP".to_owned(), 53), ("UDP".to_owned(), 53)]);
        assert_eq!(request.selector, [("app".to_owned(), "web".to_owned())]);
    }

    #[test]
    fn a_message_quotes_only_the_beginning_of_a_long_text() {
        let request = request_of(
            json!({"lb.kubesphere.io/v1alpha1": "porter", "eip.porter.kubesphere.io/v1alpha1": "é".repeat(100_000)}),
            json!({"type": "LoadBalancer"}),
        );
        assert!(request.invalid_address.is_some_and(|what| what.chars().count() < 100));
    }

    #[test]
    fn what_stands_on_a_service_reads_back() {
        let object = json!({
            "metadata": {
                "namespace": "default", "name": "web", "finalizers": ["finalizer.lb.kubesphere.io/v1alpha1"],
                "labels": {"eip.porter.kubesphere.io/v1alpha2": "pool"},
                "annotations": {"layer2.porter.kubesphere.io/v1alpha1": "worker", "lb.kubesphere.io/v1alpha1": "porter"},
            },
            "spec": {"type": "LoadBalancer"},
            "status": {
                "loadBalancer": {"ingress": [{"ip": "192.0.2.7"}, {"hostname": "example.com"}]},
                "conditions": [{"type": "bellhop.dev/Announced", "status": "True", "reason": "Announced", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            },
        });
        let service = service(&serde_json::from_value(object).expect("a Service"));
        assert_eq!(service.status.ingress, [IpAddr::from([192, 0, 2, 7])]);
        assert_eq!((service.status.node, service.status.pool), (Some("worker".into()), Some("pool".into())));
        assert!(service.status.announced.is_some_and(|condition| condition.status) && service.has_foreign_finalizer);
    }

    #[test]
    fn the_finalizer_of_a_service_that_never_opted_in_is_not_ours_to_take_off() {
        let object =
            json!({"metadata": {"name": "web", "finalizers": ["finalizer.lb.kubesphere.io/v1alpha1"]}, "spec": {"type": "LoadBalancer"}});
        assert!(!service(&serde_json::from_value(object).expect("a Service")).has_foreign_finalizer);
    }

    #[test]
    fn a_service_that_is_being_deleted_asks_for_nothing() {
        let object = json!({
            "metadata": {"name": "web", "deletionTimestamp": "2026-01-01T00:00:00Z", "annotations": {"lb.kubesphere.io/v1alpha1": "porter"}},
            "spec": {"type": "LoadBalancer"},
        });
        assert_eq!(service(&serde_json::from_value(object).expect("a Service")).request, None);
    }
}
