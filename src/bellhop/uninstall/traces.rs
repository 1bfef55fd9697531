//! What Bellhop leaves on objects that are not its own, and the patches that take it off.
//!
//! Pure: an object in, patches out. Only what Bellhop wrote goes: an address that it did not give, a condition, finalizer, label or annotation that is
//! somebody else's stays as it is. Whether and when to send the patches is not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bellhop_api::{keys, parse, render};
use bellhop_core::name::ServiceKey;
use bellhop_core::object::{Family, ServiceStatus};
use k8s_openapi::api::core::v1::Service;
use kube::api::DynamicObject;
use serde_json::{Value, json};

/// Which addresses each Service has been given, as the Eips' records say.
pub(super) type Given = BTreeMap<ServiceKey, BTreeSet<IpAddr>>;

/// What to send for one object, and what a person is told of it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Removal {
    /// A merge patch for the status subresource.
    pub(super) status: Option<Value>,
    /// A merge patch for the object itself.
    pub(super) metadata: Option<Value>,
    /// In a few words.
    pub(super) what: Vec<String>,
}

/// Reads the records of these Eips.
pub(super) fn given(eips: &[DynamicObject]) -> Given {
    let mut given = Given::new();
    for (address, services) in eips.iter().flat_map(|eip| parse::pool(eip).status.used) {
        for service in &services {
            given.entry(service.clone()).or_default().insert(address);
        }
    }
    given
}

/// What stands on a Service because of us. Nothing, for one that we never had to do with.
pub(super) fn of_service(object: &Service, given: &Given) -> Removal {
    let service = parse::service(object);
    let recorded = given.get(&service.key);
    if recorded.is_none() && service.status.assigned.is_none() && service.status.announced.is_none() {
        return Removal::default();
    }
    // Without a record (its Eip is gone) what stands there while our condition says that it is assigned is what we assigned. Of a dual-stack Service
    // one Eip may be gone and the other not.
    let assigned = service.status.assigned.as_ref().is_some_and(|condition| condition.status);
    let asked_for = |family: Family| service.request.as_ref().is_some_and(|request| request.families.contains(&family));
    let ours = |address: IpAddr| {
        let family = Family::of(address);
        recorded.map_or(assigned, |recorded| {
            let is_lost = asked_for(family) && recorded.iter().all(|other| Family::of(*other) != family);
            recorded.contains(&address) || (assigned && is_lost)
        })
    };
    let mut removal = Removal::default();
    let value = json!(object);
    let ingress = value["status"]["loadBalancer"]["ingress"].as_array().cloned().unwrap_or_default();
    let (gone, kept): (Vec<Value>, Vec<Value>) = ingress.into_iter().partition(|entry| address_of(entry).is_some_and(ours));
    let conditions = value["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let (ended, other): (Vec<Value>, Vec<Value>) = conditions
        .into_iter()
        .partition(|condition| [keys::CONDITION_ASSIGNED, keys::CONDITION_ANNOUNCED].iter().any(|ours| condition["type"] == *ours));
    removal.what.extend(gone.iter().filter_map(address_of).map(|address| format!("address {address}")));
    if !ended.is_empty() {
        removal.what.push("conditions".to_owned());
    }
    if !gone.is_empty() || !ended.is_empty() {
        let list = |values: Vec<Value>| if values.is_empty() { Value::Null } else { Value::Array(values) };
        removal.status = Some(json!({
            "metadata": {"resourceVersion": object.metadata.resource_version},
            "status": {"loadBalancer": {"ingress": list(kept)}, "conditions": list(other)},
        }));
    }
    removal.metadata = render::service_metadata_patch(object, &ServiceStatus::default(), false).map(|mut patch| {
        // The status is patched first, and that changes the version.
        patch["metadata"].as_object_mut().map(|metadata| metadata.remove("resourceVersion"));
        patch
    });
    for (part, word) in [("annotations", "annotation"), ("labels", "label")] {
        if removal.metadata.as_ref().is_some_and(|patch| patch["metadata"].get(part).is_some()) {
            removal.what.push(word.to_owned());
        }
    }
    removal
}

/// The record and our finalizer on an Eip. What the user wrote stays.
pub(super) fn of_eip(object: &DynamicObject) -> Removal {
    let mut removal = Removal::default();
    if object.data["status"].as_object().is_some_and(|status| !status.is_empty()) {
        removal.status = Some(json!({"status": null}));
        removal.what.push("record".to_owned());
    }
    if object.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == keys::EIP_FINALIZER) {
        let mut patch = render::pool_finalizer_patch(object, false);
        patch["metadata"].as_object_mut().map(|metadata| metadata.remove("resourceVersion"));
        removal.metadata = Some(patch);
        removal.what.push("finalizer".to_owned());
    }
    removal
}

fn address_of(ingress: &Value) -> Option<IpAddr> {
    ingress["ip"].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(value: Value) -> Service {
        serde_json::from_value(value).expect("a Service")
    }

    fn web(conditions: Value, ingress: Value) -> Service {
        service(json!({
            "metadata": {
                "namespace": "default", "name": "web", "resourceVersion": "5",
                "labels": {"app": "web", keys::POOL_LABEL: "pool"},
                "annotations": {keys::OPT_IN: "porter", keys::NODE_ANNOTATION: "worker"},
            },
            "spec": {"type": "LoadBalancer"},
            "status": {"conditions": conditions, "loadBalancer": {"ingress": ingress}},
        }))
    }

    fn condition(type_: &str, status: &str) -> Value {
        json!({"type": type_, "status": status, "reason": "Because", "message": "so", "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    fn record(address: &str) -> Given {
        Given::from([(ServiceKey::new("default", "web"), BTreeSet::from([address.parse().expect("an address")]))])
    }

    #[test]
    fn what_we_gave_goes_and_what_others_gave_stays() {
        let other = condition("example.com/Other", "True");
        let object =
            web(json!([other, condition(keys::CONDITION_ASSIGNED, "True")]), json!([{"ip": "192.0.2.7"}, {"hostname": "example.com"}]));
        let removal = of_service(&object, &record("192.0.2.7"));
        assert_eq!(removal.what, ["address 192.0.2.7", "conditions", "annotation", "label"]);
        let status = removal.status.expect("a change");
        assert_eq!(status["status"]["loadBalancer"]["ingress"], json!([{"hostname": "example.com"}]));
        assert_eq!(status["status"]["conditions"][0]["type"], "example.com/Other");
        let metadata = removal.metadata.expect("a change");
        assert_eq!(metadata, json!({"metadata": {"labels": {keys::POOL_LABEL: null}, "annotations": {keys::NODE_ANNOTATION: null}}}));
    }

    #[test]
    fn an_address_that_another_gave_is_not_ours_to_take() {
        let object = web(json!([condition(keys::CONDITION_ASSIGNED, "False")]), json!([{"ip": "203.0.113.9"}]));
        let removal = of_service(&object, &Given::new());
        assert_eq!(removal.what, ["conditions", "annotation", "label"]);
        assert_eq!(removal.status.expect("a change")["status"]["loadBalancer"]["ingress"], json!([{"ip": "203.0.113.9"}]));
    }

    #[test]
    fn a_service_that_porterlb_serves_is_left_alone() {
        assert_eq!(of_service(&web(json!([]), json!([{"ip": "192.0.2.7"}])), &Given::new()), Removal::default());
    }

    #[test]
    fn an_address_whose_eip_is_gone_is_ours_by_our_condition() {
        let object = web(json!([condition(keys::CONDITION_ASSIGNED, "True")]), json!([{"ip": "192.0.2.7"}]));
        assert_eq!(of_service(&object, &Given::new()).what[0], "address 192.0.2.7");
    }

    #[test]
    fn of_two_addresses_the_one_whose_eip_is_gone_goes_with_the_one_on_record() {
        let ingress = json!([{"ip": "192.0.2.7"}, {"ip": "2001:db8::7"}]);
        let mut object = web(json!([condition(keys::CONDITION_ASSIGNED, "True")]), ingress);
        let left = |object: &Service| {
            of_service(object, &record("192.0.2.7")).status.expect("a change")["status"]["loadBalancer"]["ingress"].clone()
        };
        assert_eq!(left(&object), json!([{"ip": "2001:db8::7"}]), "it asks for one family: the other is somebody else's");
        object.spec.as_mut().expect("it has one").ip_families = Some(vec!["IPv4".to_owned(), "IPv6".to_owned()]);
        assert_eq!(left(&object), Value::Null);
        object.status.as_mut().expect("it has one").conditions = None;
        assert_eq!(left(&object), json!([{"ip": "2001:db8::7"}]), "without our word it may be anybody's");
    }

    #[test]
    fn beside_an_address_on_record_one_of_its_family_is_another_s() {
        let object = web(json!([condition(keys::CONDITION_ASSIGNED, "True")]), json!([{"ip": "192.0.2.7"}, {"ip": "203.0.113.9"}]));
        let removal = of_service(&object, &record("192.0.2.7"));
        assert_eq!(removal.status.expect("a change")["status"]["loadBalancer"]["ingress"], json!([{"ip": "203.0.113.9"}]));
    }

    #[test]
    fn of_an_eip_go_the_record_and_our_finalizer_and_no_other() {
        let eip: DynamicObject = serde_json::from_value(json!({
            "metadata": {"name": "pool", "finalizers": ["example.com/other", keys::EIP_FINALIZER]},
            "spec": {"address": "192.0.2.7"}, "status": {"used": {"192.0.2.7": "default/web"}},
        }))
        .expect("an Eip");
        let removal = of_eip(&eip);
        assert_eq!(removal.status, Some(json!({"status": null})));
        assert_eq!(removal.metadata, Some(json!({"metadata": {"finalizers": ["example.com/other"]}})));
        assert_eq!(given(&[eip])[&ServiceKey::new("default", "web")].len(), 1);
    }
}
