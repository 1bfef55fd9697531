//! `Eip` to [`Pool`].
//!
//! Reads field by field out of JSON, so that a field of a wrong type spoils nothing but itself.

use std::net::IpAddr;

use bellhop_core::name::ServiceKey;
use bellhop_core::object::{Binding, Condition, Pool, PoolStatus, Protocol};
use bellhop_core::pool::AddressPool;
use bellhop_core::sharers::Sharers;
use bellhop_core::text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::keys;

/// Reads an Eip of any shape.
pub fn pool(object: &DynamicObject) -> Pool {
    let meta: &ObjectMeta = &object.metadata;
    let spec = &object.data["spec"];
    let finalizers = meta.finalizers.as_deref().unwrap_or_default();
    Pool {
        name: meta.name.clone().unwrap_or_default().into(),
        uid: meta.uid.clone().unwrap_or_default(),
        version: super::version(meta),
        created: super::created(meta),
        deleting: meta.deletion_timestamp.is_some(),
        has_finalizer: finalizers.iter().any(|finalizer| finalizer == keys::EIP_FINALIZER),
        addresses: AddressPool::parse(&text(&spec["address"]), is_true(&spec["usingKnownIPs"])),
        protocol: protocol(&text(&spec["protocol"])),
        interface: Some(text(&spec["interface"])).filter(|text| !text.trim().is_empty()).map(|text| text.parse()),
        disabled: is_true(&spec["disable"]),
        is_default: super::first_of(meta.annotations.as_ref(), &keys::DEFAULT_POOL).is_some_and(|value| value.eq_ignore_ascii_case("true")),
        priority: spec["priority"].as_i64().unwrap_or(0),
        binding: binding(spec),
        status: status(&object.data["status"]),
    }
}

/// The namespaces that the pool is for. What is there and cannot be read binds it to nobody: rather too few than too many.
fn binding(spec: &Value) -> Option<Binding> {
    let is_there = |value: &&Value| !matches!(value, Value::Null) && **value != json!([]) && **value != json!({});
    let (namespaces, selector) = (&spec["namespaces"], &spec["namespaceSelector"]);
    [namespaces, selector].iter().any(is_there).then(|| Binding {
        namespaces: namespaces.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
        selector: selector.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect(),
    })
}

/// As written; empty and absent are what they were in PorterLB.
fn protocol(text: &str) -> Protocol {
    match text.trim() {
        "layer2" => Protocol::Layer2,
        "" => Protocol::Other("bgp".to_owned()),
        other => Protocol::Other(text::quoted(other).into_owned()),
    }
}

fn status(status: &Value) -> PoolStatus {
    PoolStatus {
        used: status["used"].as_object().map(|used| used.iter().filter_map(used_entry).collect()).unwrap_or_default(),
        first: address(&status["firstIP"]),
        last: address(&status["lastIP"]),
        size: status["poolSize"].as_u64().unwrap_or(0),
        usage: status["usage"].as_u64().unwrap_or(0),
        occupied: is_true(&status["occupied"]),
        ready: is_true(&status["ready"]),
        v4: is_true(&status["v4"]),
        condition: ready_condition(&status["conditions"]),
    }
}

/// `address: ns/a;ns/b`. What is none of that form is in nobody's record.
fn used_entry((address, services): (&String, &Value)) -> Option<(IpAddr, Sharers)> {
    let services: Sharers = services.as_str()?.split(';').filter_map(|key| ServiceKey::parse(key.trim())).collect();
    let entry = (address.parse().ok()?, services);
    (!entry.1.is_empty()).then_some(entry)
}

fn ready_condition(conditions: &Value) -> Option<Condition> {
    let found = conditions.as_array()?.iter().find(|condition| condition["type"] == keys::CONDITION_READY)?;
    Some(Condition { status: found["status"] == "True", reason: text(&found["reason"]), message: text(&found["message"]) })
}

fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

fn is_true(value: &Value) -> bool {
    value.as_bool().unwrap_or(false)
}

/// Text as it stands; what is no text, as JSON, so that a message can quote it.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use bellhop_core::pool::InvalidPool;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn parsed(object: Value) -> Pool {
        pool(&serde_json::from_value(object).expect("metadata is fine"))
    }

    #[test]
    fn the_tutorials_eip_is_a_layer2_pool_of_ten_on_eth0() {
        let pool = parsed(json!({
            "apiVersion": "network.kubesphere.io/v1alpha2", "kind": "Eip", "metadata": {"name": "porter-layer2-eip"},
            "spec": {"address": "192.168.0.91-192.168.0.100", "interface": "eth0", "protocol": "layer2"},
        }));
        assert_eq!(pool.addresses.map(|addresses| addresses.size()), Ok(10));
        assert_eq!(pool.interface, Some(Ok("eth0".parse().expect("a name"))));
        assert_eq!(pool.protocol, Protocol::Layer2);
    }

    #[test]
    fn an_absent_protocol_is_bgp_as_in_porterlb() {
        assert_eq!(parsed(json!({"metadata": {}, "spec": {"address": "192.0.2.1"}})).protocol, Protocol::Other("bgp".into()));
    }

    #[test]
    fn a_record_of_two_services_at_one_address_reads_back() {
        let pool = parsed(
            json!({"metadata": {}, "status": {"used": {"192.0.2.1": "a/x;b/y", "nonsense": "a/x", "192.0.2.2": "", "192.0.2.3": 5}}}),
        );
        let services = Sharers::from_iter([ServiceKey::new("a", "x"), ServiceKey::new("b", "y")]);
        assert_eq!(pool.status.used, BTreeMap::from([(IpAddr::from([192, 0, 2, 1]), services)]));
    }

    #[test]
    fn either_spelling_makes_the_default_pool() {
        for key in keys::DEFAULT_POOL {
            assert!(parsed(json!({"metadata": {"annotations": {key: "True"}}})).is_default, "{key}");
        }
        assert!(!parsed(json!({"metadata": {"annotations": {keys::DEFAULT_POOL[0]: "false"}}})).is_default);
    }

    #[test]
    fn fields_of_a_wrong_type_are_a_value_that_says_so() {
        let pool = parsed(
            json!({"metadata": {"name": "odd"}, "spec": {"address": 5, "interface": {"name": "eth0"}, "priority": "high", "disable": "yes"}}),
        );
        assert_eq!(pool.addresses, Err(InvalidPool::Syntax("5".into())));
        assert!(matches!(pool.interface, Some(Err(_))));
        assert_eq!((pool.priority, pool.disabled), (0, false));
        assert_eq!(parsed(json!({"metadata": {}})).addresses, Err(InvalidPool::Empty));
    }

    #[test]
    fn the_namespaces_of_a_pool_are_read_and_what_cannot_be_read_binds_it_to_nobody() {
        let binding = |spec: Value| parsed(json!({"metadata": {}, "spec": spec})).binding;
        assert_eq!(binding(json!({"namespaces": [], "namespaceSelector": {}})), None);
        let both = binding(json!({"namespaces": ["shop"], "namespaceSelector": {"team": "a"}})).expect("bound");
        assert!(both.namespaces.contains("shop") && both.selector.contains_key("team"));
        assert_eq!(binding(json!({"namespaces": "shop"})), Some(Binding::default()));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[ -~]{0,40}".prop_map(Value::from),
            "[0-9a-f:.,/-]{0,40}".prop_map(Value::from),
        ];
        let key = prop_oneof![
            "[a-z]{1,8}".boxed(),
            prop::sample::select(vec!["address", "interface", "used", "conditions", "type", "status", "poolSize"])
                .prop_map(str::to_owned)
                .boxed(),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_spec_and_no_status_make_the_parser_panic(spec in any_json(), status in any_json()) {
            let pool = parsed(json!({"metadata": {"name": "any"}, "spec": spec, "status": status}));
            prop_assert_eq!(pool.name.as_str(), "any");
        }
    }
}
