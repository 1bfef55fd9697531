//! The `Eip` kind: its fields, its schema and its columns.
//!
//! The shape is PorterLB's (reference/porterlb-compat.md §1), so that manifests and scripts go on working: same group, versions, columns and
//! status fields; added are `conditions` and the columns after `total`. The schema refuses only what no program could read. Whether an address makes
//! sense is said by a condition on the object, which a person finds later and an admission error never is.

#![expect(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the schema derive copies the structs into a function; columns repeat `type_`"
)]

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionVersion, CustomResourceSubresources,
    CustomResourceValidation, JSONSchemaProps,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::ApiResource;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};

/// A pool of addresses on the cluster's own LAN.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "network.kubesphere.io",
    version = "v1alpha2",
    kind = "Eip",
    plural = "eips",
    singular = "eip",
    category = "networking",
    status = "EipStatus",
    derive = "PartialEq",
    doc = "A pool of addresses for Services of type LoadBalancer.",
    printcolumn(name = "cidr", type_ = "string", json_path = ".spec.address"),
    printcolumn(name = "usage", type_ = "integer", json_path = ".status.usage"),
    printcolumn(name = "total", type_ = "integer", json_path = ".status.poolSize"),
    printcolumn(name = "Protocol", type_ = "string", json_path = ".spec.protocol"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Interface", type_ = "string", json_path = ".spec.interface", priority = "1"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = "1")
)]
#[serde(rename_all = "camelCase")]
pub struct EipSpec {
    /// The addresses: one address, a CIDR, a range first-last, or a comma list of these; one family.
    #[schemars(length(min = 1, max = 8192))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9A-Fa-f.:/, -]+$')").message("give IP addresses, CIDRs or ranges first-last, separated by commas"))]
    pub address: String,

    /// The protocol that announces the addresses. Bellhop serves layer2; as in PorterLB, an absent protocol means bgp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "protocol_schema")]
    pub protocol: Option<String>,

    /// The NIC to announce on: its name, or can_reach: and an address. Absent: the NIC whose subnet holds the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = Rule::new("!self.contains(':') || self.startsWith('can_reach:')").message("give the name of a NIC, or can_reach:<address>"))]
    pub interface: Option<String>,

    /// Hand out no more addresses. What is assigned stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable: Option<bool>,

    /// Hand out the first and last address of a network of /24 or wider too.
    #[serde(default, rename = "usingKnownIPs", skip_serializing_if = "Option::is_none")]
    pub using_known_ips: Option<bool>,

    /// Among pools that are not named, the lower number is asked first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,

    /// Namespaces that the pool is for: their Services draw from it first, others only if they name it. Absent: it is for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), inner(length(min = 1, max = 63)))]
    pub namespaces: Option<Vec<String>>,

    /// Labels of namespaces that the pool is for, besides those named. All of them must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<BTreeMap<String, String>>,
}

/// What is known of a pool.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EipStatus {
    /// The first address.
    #[serde(default, rename = "firstIP", skip_serializing_if = "Option::is_none")]
    pub first_ip: Option<String>,

    /// The last address.
    #[serde(default, rename = "lastIP", skip_serializing_if = "Option::is_none")]
    pub last_ip: Option<String>,

    /// How many addresses the pool has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_size: Option<i64>,

    /// How many addresses are in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<i64>,

    /// The record of what is assigned: address to namespace/name. Several Services that share an address are joined by a semicolon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub used: Option<BTreeMap<String, String>>,

    /// Every address is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occupied: Option<bool>,

    /// The pool hands out addresses and its NIC is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,

    /// The addresses are IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v4: Option<bool>,

    /// The state in a form that a person and `kubectl wait` can read: Ready, with why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Option<Vec<Condition>>,
}

fn protocol_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "enum": ["bgp", "layer2", "vip"] })
}

/// Where Eips live, for a client that reads them untyped: one malformed Eip must not spoil the list.
pub fn eip_resource() -> ApiResource {
    ApiResource::erase::<Eip>(&())
}

/// All our CustomResourceDefinitions.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut eip = Eip::crd();
    eip.spec.versions.insert(0, v1alpha1());
    vec![eip]
}

/// PorterLB's older version: served, not stored, without a status subresource. There is no conversion: what it has no field for is pruned.
fn v1alpha1() -> CustomResourceDefinitionVersion {
    let string = || of_type("string");
    let boolean = || of_type("boolean");
    let spec = object([
        // PorterLB had an IPv4-only pattern here; the object is the same as v1alpha2's, which takes more.
        ("address", string()),
        ("protocol", string()),
        ("disable", boolean()),
        ("usingKnownIPs", boolean()),
    ]);
    let status = object([("occupied", boolean()), ("poolSize", of_type("integer")), ("usage", of_type("integer"))]);
    let column = |name: &str, type_: &str, json_path: &str| CustomResourceColumnDefinition {
        name: name.into(),
        type_: type_.into(),
        json_path: json_path.into(),
        ..Default::default()
    };
    CustomResourceDefinitionVersion {
        name: "v1alpha1".into(),
        served: true,
        storage: false,
        additional_printer_columns: Some(vec![
            column("cidr", "string", ".spec.address"),
            column("usage", "integer", ".status.usage"),
            column("total", "integer", ".status.poolSize"),
        ]),
        schema: Some(CustomResourceValidation { open_api_v3_schema: Some(object([("spec", spec), ("status", status)])) }),
        subresources: None::<CustomResourceSubresources>,
        ..Default::default()
    }
}

fn of_type(type_: &str) -> JSONSchemaProps {
    JSONSchemaProps { type_: Some(type_.into()), ..Default::default() }
}

fn object<const N: usize>(properties: [(&str, JSONSchemaProps); N]) -> JSONSchemaProps {
    JSONSchemaProps { properties: Some(properties.map(|(name, schema)| (name.into(), schema)).into()), ..of_type("object") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_served_and_v1alpha2_is_stored() {
        let [eip] = &crds()[..] else { panic!("one kind") };
        let versions: Vec<_> = eip.spec.versions.iter().map(|version| (version.name.as_str(), version.served, version.storage)).collect();
        assert_eq!(versions, [("v1alpha1", true, false), ("v1alpha2", true, true)]);
        assert_eq!(eip.spec.scope, "Cluster");
        assert_eq!(eip.spec.names.categories.as_deref(), Some(&["networking".to_owned()][..]));
    }

    #[test]
    fn columns_begin_with_those_that_scripts_parse() {
        let crds = crds();
        let columns = crds[0].spec.versions[1].additional_printer_columns.as_ref().expect("columns");
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["cidr", "usage", "total", "Protocol", "Ready", "Age", "Interface", "Reason"]);
    }
}
