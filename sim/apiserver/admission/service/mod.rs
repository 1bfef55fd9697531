//! Services: defaults, cluster IPs and node ports, and which fields go with which type.
//!
//! Follows kubernetes `pkg/apis/core/v1/defaults.go` (`SetDefaults_Service`), `pkg/registry/core/service/strategy.go`
//! (`patchAllocatedValues`, `dropTypeDependentFields`), `.../storage/alloc.go` and `pkg/apis/core/validation` (`ValidateService`).
//! An update that leaves out what was allocated keeps it. Who holds which address is `addresses`.

mod allocate;
mod judge;
mod keep;
mod ports;

use serde_json::{Value, json};

use crate::engine::Engine;
use crate::object::{at, list, map_mut, set_default, set_default_text, text};
use crate::status::FieldError;
use allocate::{allocate_cluster_ips, allocate_node_ports};
pub(crate) use judge::update_status;
use judge::{judge, judge_change};
use keep::{drop_what_the_type_lost, keep_allocated};

/// What depends on nothing but the Service.
pub(crate) fn defaults(service: &mut Value) {
    let spec = map_mut(service, "spec");
    set_default_text(spec, "sessionAffinity", "None");
    set_default_text(spec, "type", "ClusterIP");
    if spec["sessionAffinity"] == "ClientIP" && spec.get("sessionAffinityConfig").is_none() {
        // Three hours: `DefaultClientIPServiceAffinitySeconds`.
        spec.insert("sessionAffinityConfig".to_owned(), json!({"clientIP": {"timeoutSeconds": 10_800}}));
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
        set_default_text(port, "protocol", "TCP");
        let unset = port.get("targetPort").is_none_or(|target| target == 0 || target == "");
        if let (true, Some(number)) = (unset, port.get("port").cloned()) {
            port.insert("targetPort".to_owned(), number);
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || !list(service, &["spec", "externalIPs"]).is_empty() {
        set_default_text(map_mut(service, "spec"), "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        set_default_text(map_mut(service, "spec"), "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set_default(map_mut(service, "spec"), "allocateLoadBalancerNodePorts", true);
    }
    let status = map_mut(service, "status");
    set_default(status, "loadBalancer", json!({}));
    for ingress in
        status["loadBalancer"].get_mut("ingress").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
    {
        if kind == "LoadBalancer" && ingress.get("ip").is_some() {
            set_default_text(ingress, "ipMode", "VIP");
        }
    }
}

/// Judges a new Service and gives it its addresses and ports.
pub(crate) fn create(engine: &Engine, service: &mut Value) -> Vec<FieldError> {
    complete(engine, service, None)
}

/// Judges a change of a Service; what was allocated stays.
pub(crate) fn update(engine: &Engine, service: &mut Value, old: &Value) -> Vec<FieldError> {
    keep_allocated(service, old);
    drop_what_the_type_lost(service, old);
    complete(engine, service, Some(old))
}

fn complete(engine: &Engine, service: &mut Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = allocate_cluster_ips(&engine.addresses, service, old);
    if errors.is_empty() {
        errors = judge(service);
        errors.extend(old.into_iter().flat_map(|old| judge_change(service, old)));
    }
    if errors.is_empty() {
        errors = allocate_node_ports(&engine.addresses, service, old);
    }
    errors
}

fn kind_of(service: &Value) -> &str {
    text(service, &["spec", "type"])
}

fn has_cluster_ip(service: &Value) -> bool {
    kind_of(service) != "ExternalName"
}

fn has_node_ports(service: &Value) -> bool {
    let skipped = at(service, &["spec", "allocateLoadBalancerNodePorts"]).is_some_and(|wanted| wanted == false);
    kind_of(service) == "NodePort" || (kind_of(service) == "LoadBalancer" && !skipped)
}

fn may_have_node_ports(service: &Value) -> bool {
    matches!(kind_of(service), "NodePort" | "LoadBalancer")
}

fn has_health_port(service: &Value) -> bool {
    kind_of(service) == "LoadBalancer" && text(service, &["spec", "externalTrafficPolicy"]) == "Local"
}

fn is_headless(service: &Value) -> bool {
    text(service, &["spec", "clusterIP"]) == "None"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::object::number;
    use jiff::Timestamp;

    fn engine() -> Engine {
        Engine::new(&Config::default(), Timestamp::UNIX_EPOCH)
    }

    fn created(spec: Value) -> Result<Value, Vec<String>> {
        let mut service = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec});
        defaults(&mut service);
        let errors = create(&engine(), &mut service);
        if errors.is_empty() { Ok(service) } else { Err(errors.iter().map(FieldError::sentence).collect()) }
    }

    #[test]
    fn a_load_balancer_gets_a_cluster_ip_and_node_ports() {
        let service = created(json!({"type": "LoadBalancer", "ports": [{"port": 80}]})).expect("valid");
        let spec = &service["spec"];
        assert_eq!(spec["clusterIPs"], json!(["10.96.0.1"]));
        assert_eq!(spec["ports"][0]["targetPort"], 80);
        assert!(number(&spec["ports"][0], &["nodePort"]).is_some_and(|port| port >= 30_000));
        assert_eq!(spec["externalTrafficPolicy"], "Cluster");
        assert_eq!(service["status"], json!({"loadBalancer": {}}));
    }

    #[test]
    fn an_update_that_leaves_out_what_was_allocated_keeps_it() {
        let old = created(json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]})).expect("valid");
        let mut new = json!({"metadata": old["metadata"], "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]}});
        defaults(&mut new);
        assert_eq!(update(&engine(), &mut new, &old), []);
        assert_eq!(new, old);
    }

    #[test]
    fn a_cluster_ip_does_not_change() {
        let old = created(json!({"ports": [{"port": 80}]})).expect("valid");
        let mut new = json!({"metadata": old["metadata"], "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}});
        defaults(&mut new);
        let errors = update(&engine(), &mut new, &old);
        assert_eq!(errors[0].sentence(), "spec.clusterIPs[0]: Invalid value: [\"10.96.0.9\"]: may not change once set");
    }

    #[test]
    fn a_load_balancer_that_becomes_a_cluster_ip_service_loses_what_only_the_former_has() {
        let old = created(json!({"type": "LoadBalancer", "loadBalancerClass": "a.b/c", "ports": [{"port": 80}]})).expect("valid");
        let mut new = old.clone();
        new["spec"]["type"] = json!("ClusterIP");
        assert_eq!(update(&engine(), &mut new, &old), []);
        let keys = ["loadBalancerClass", "allocateLoadBalancerNodePorts", "externalTrafficPolicy"];
        assert!(keys.iter().all(|key| at(&new, &["spec", key]).is_none()), "{new}");
        assert_eq!(new["spec"]["ports"][0].get("nodePort"), None);
    }

    #[test]
    fn what_a_real_server_refuses_is_refused() {
        let refused = |spec| created(spec).expect_err("refused");
        assert_eq!(refused(json!({"type": "LoadBalancer"})), ["spec.ports: Required value"]);
        assert_eq!(
            refused(json!({"loadBalancerClass": "x", "ports": [{"port": 1}]})),
            ["spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"]
        );
        assert_eq!(
            refused(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]})),
            ["spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"]
        );
    }
}
