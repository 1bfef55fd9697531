//! `Node` to the core's [`Node`].

use std::net::IpAddr;

use bellhop_core::object::Node;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node as ApiNode, NodeStatus};

use crate::keys;

/// Reads a Node.
pub fn node(object: &ApiNode) -> Node {
    let meta = &object.metadata;
    let status = object.status.as_ref();
    let addresses = addresses(status);
    let layer2 = super::first_of(meta.annotations.as_ref(), &keys::LAYER2);
    Node {
        name: meta.name.clone().unwrap_or_default().into(),
        ready: has_condition(status, "Ready", "True") && !has_condition(status, "NetworkUnavailable", "True"),
        deleting: meta.deletion_timestamp.is_some(),
        excluded: meta.labels.as_ref().is_some_and(|labels| labels.contains_key(keys::EXCLUDE_LABEL)),
        layer2_address: layer2.and_then(|text| layer2_address(text, &addresses)),
        addresses,
    }
}

fn has_condition(status: Option<&NodeStatus>, type_: &str, value: &str) -> bool {
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == value)
}

/// Internal addresses, then external ones. Host names are none.
fn addresses(status: Option<&NodeStatus>) -> Vec<IpAddr> {
    let all = status.and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    let of_type =
        |type_: &'static str| all.iter().filter(move |address| address.type_ == type_).filter_map(|address| address.address.parse().ok());
    of_type("InternalIP").chain(of_type("ExternalIP")).collect()
}

/// An address as written, or (OpenELB 0.5.1) a subnet: then the node's own address in it.
fn layer2_address(text: &str, addresses: &[IpAddr]) -> Option<IpAddr> {
    text.parse().ok().or_else(|| {
        let subnet: IpNet = text.parse().ok()?;
        addresses.iter().copied().find(|address| subnet.contains(address))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parsed(annotation: &str, conditions: Value) -> Node {
        let addresses = json!([
            {"type": "ExternalIP", "address": "203.0.113.2"}, {"type": "Hostname", "address": "master1"}, {"type": "InternalIP", "address": "192.168.0.2"},
        ]);
        node(
            &serde_json::from_value(json!({
                "metadata": {"name": "master1", "annotations": {"layer2.porter.kubesphere.io/v1alpha1": annotation}},
                "status": {"addresses": addresses, "conditions": conditions},
            }))
            .expect("a Node"),
        )
    }

    #[test]
    fn internal_addresses_come_first_and_names_are_none() {
        assert_eq!(parsed("", json!([])).addresses, [IpAddr::from([192, 168, 0, 2]), IpAddr::from([203, 0, 113, 2])]);
    }

    #[test]
    fn the_annotation_is_an_address_or_a_subnet_that_holds_one() {
        assert_eq!(parsed("192.168.1.4", json!([])).layer2_address, Some([192, 168, 1, 4].into()));
        assert_eq!(parsed("203.0.113.0/24", json!([])).layer2_address, Some([203, 0, 113, 2].into()));
        assert_eq!(parsed("10.0.0.0/8", json!([])).layer2_address, None);
        assert_eq!(parsed("eth0", json!([])).layer2_address, None);
    }

    #[test]
    fn a_node_is_ready_when_it_says_so_and_has_a_network() {
        let condition = |type_: &str, status: &str| json!({"type": type_, "status": status});
        assert!(parsed("", json!([condition("Ready", "True")])).ready);
        assert!(!parsed("", json!([condition("Ready", "Unknown")])).ready);
        assert!(!parsed("", json!([condition("Ready", "True"), condition("NetworkUnavailable", "True")])).ready);
        assert!(!parsed("", json!([])).ready);
    }
}
