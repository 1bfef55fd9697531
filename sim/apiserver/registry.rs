//! The kinds that the server knows: names, scope, subresources and the few ways in which they behave differently.
//!
//! The built-in table is here; CRDs add to it at run time (`crd.rs` builds their [`Kind`]s). What a kind's objects must look like is
//! `schema` and `admission`; how they print is `table`.

use std::sync::{Arc, LazyLock};

use crate::names::NameRule;
use crate::schema::Schema;
use crate::store::GroupResource;

/// One resource in one version.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    /// Group and plural together, as messages spell them.
    pub(crate) resource: GroupResource,
    /// Where its objects are stored; differs for events.k8s.io, which are the core events.
    pub(crate) storage: GroupResource,
    pub(crate) storage_version: String,
    /// Has a status subresource: the main resource ignores `status`, and `/status` changes nothing else.
    pub(crate) status: bool,
    pub(crate) scale: Option<Scale>,
    /// Bumps `metadata.generation` on a change of its specification.
    pub(crate) generation: bool,
    /// An update without a resourceVersion is taken.
    pub(crate) unconditional_update: bool,
    /// A PUT of what does not exist creates it.
    pub(crate) create_on_update: bool,
    pub(crate) name_rule: NameRule,
    /// Fields that field selectors may name, beside name and namespace.
    pub(crate) fields: Vec<String>,
    pub(crate) schema: Option<Schema>,
    /// The OpenAPI name of a built-in kind, or the one made up for a custom one.
    pub(crate) schema_name: String,
    pub(crate) custom: Option<Custom>,
}

/// What only kinds from CRDs have.
#[derive(Debug, Clone)]
pub(crate) struct Custom {
    pub(crate) columns: Vec<PrinterColumn>,
    /// The CRD version's `openAPIV3Schema`, for `kubectl explain`.
    pub(crate) openapi: serde_json::Value,
}

/// One of a CRD's `additionalPrinterColumns`.
#[derive(Debug, Clone)]
pub(crate) struct PrinterColumn {
    pub(crate) name: String,
    pub(crate) column_type: String,
    pub(crate) format: String,
    pub(crate) description: String,
    pub(crate) priority: i64,
    pub(crate) json_path: String,
}

/// Where a scale subresource finds its numbers, as paths of keys.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    pub(crate) spec_replicas: Vec<String>,
    pub(crate) status_replicas: Vec<String>,
    /// Path of the selector; `None` reads `spec.selector` as a label selector.
    pub(crate) selector: Option<Vec<String>>,
}

impl Kind {
    /// `v1`, `apps/v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `Service`, `Deployment.apps`, as 422 messages begin.
    pub(crate) fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.clone() } else { format!("{}.{}", self.kind, self.group) }
    }

    /// Whether field selectors may name this path.
    pub(crate) fn selectable(&self, path: &str) -> bool {
        self.fields.iter().any(|field| field == path)
    }
}

/// The built-in kinds, in the order discovery lists them.
pub(crate) fn builtins() -> &'static [Arc<Kind>] {
    &BUILTINS
}

/// A built-in kind by group, version and plural.
pub(crate) fn builtin(group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
    BUILTINS.iter().find(|kind| kind.group == group && kind.version == version && kind.plural == plural).cloned()
}

/// The verbs of a main resource, in discovery's order.
pub(crate) const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

// Built once from the table below and never changed.
static BUILTINS: LazyLock<Vec<Arc<Kind>>> = LazyLock::new(|| TABLE.iter().map(|row| Arc::new(row.kind())).collect());

/// A row of the built-in table: short, so that the table can be read as one.
struct Row {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    /// Letters: n namespaced, s status, c scale, g generation, u unconditional update, k create on update, a in category "all".
    flags: &'static str,
    name_rule: NameRule,
    fields: &'static [&'static str],
    module: &'static str,
}

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];
const POD_FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];
const CORE: &str = "io.k8s.api.core.v1";
const APPS: &str = "io.k8s.api.apps.v1";
const RBAC: &str = "io.k8s.api.rbac.v1";
const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

const fn row(group: &'static str, kind: &'static str, plural: &'static str, flags: &'static str, module: &'static str) -> Row {
    Row { group, kind, plural, short: &[], flags, name_rule: NameRule::Subdomain, fields: &[], module }
}

#[rustfmt::skip]
static TABLE: [Row; 21] = [
    Row { short: &["cm"], ..row("", "ConfigMap", "configmaps", "nu", CORE) },
    Row { short: &["ep"], ..row("", "Endpoints", "endpoints", "nuk", CORE) },
    Row { short: &["ev"], fields: EVENT_FIELDS, ..row("", "Event", "events", "nuk", CORE) },
    Row { short: &["ns"], name_rule: NameRule::Label, fields: &["status.phase"], ..row("", "Namespace", "namespaces", "su", CORE) },
    Row { short: &["no"], fields: &["spec.unschedulable"], ..row("", "Node", "nodes", "su", CORE) },
    Row { short: &["po"], fields: POD_FIELDS, ..row("", "Pod", "pods", "nsuga", CORE) },
    Row { fields: &["type"], ..row("", "Secret", "secrets", "nu", CORE) },
    Row { short: &["sa"], ..row("", "ServiceAccount", "serviceaccounts", "nu", CORE) },
    Row { short: &["svc"], name_rule: NameRule::Label, fields: &["spec.clusterIP", "spec.type"], ..row("", "Service", "services", "nsua", CORE) },
    Row { short: &["crd", "crds"], ..row("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", "sg", "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1") },
    Row { short: &["ds"], ..row("apps", "DaemonSet", "daemonsets", "nsgua", APPS) },
    Row { short: &["deploy"], ..row("apps", "Deployment", "deployments", "nscgua", APPS) },
    Row { short: &["rs"], fields: &["status.replicas"], ..row("apps", "ReplicaSet", "replicasets", "nscgua", APPS) },
    row("coordination.k8s.io", "Lease", "leases", "nk", "io.k8s.api.coordination.v1"),
    row("discovery.k8s.io", "EndpointSlice", "endpointslices", "ngu", "io.k8s.api.discovery.v1"),
    Row { short: &["ev"], fields: EVENT_FIELDS, ..row("events.k8s.io", "Event", "events", "nuk", "io.k8s.api.events.v1") },
    Row { short: &["pdb"], ..row("policy", "PodDisruptionBudget", "poddisruptionbudgets", "nsg", "io.k8s.api.policy.v1") },
    Row { name_rule: NameRule::PathSegment, ..row(RBAC_GROUP, "ClusterRoleBinding", "clusterrolebindings", "uk", RBAC) },
    Row { name_rule: NameRule::PathSegment, ..row(RBAC_GROUP, "ClusterRole", "clusterroles", "uk", RBAC) },
    Row { name_rule: NameRule::PathSegment, ..row(RBAC_GROUP, "RoleBinding", "rolebindings", "nuk", RBAC) },
    Row { name_rule: NameRule::PathSegment, ..row(RBAC_GROUP, "Role", "roles", "nuk", RBAC) },
];

impl Row {
    fn kind(&self) -> Kind {
        let flag = |letter: char| self.flags.contains(letter);
        let resource = GroupResource::new(self.group, self.plural);
        let is_event = self.kind == "Event";
        let schema_name = format!("{}.{}", self.module, self.kind);
        let keys = |path: [&str; 2]| path.map(str::to_owned).to_vec();
        let scale = flag('c').then(|| Scale {
            spec_replicas: keys(["spec", "replicas"]),
            status_replicas: keys(["status", "replicas"]),
            selector: None,
        });
        Kind {
            group: self.group.to_owned(),
            version: "v1".to_owned(),
            kind: self.kind.to_owned(),
            list_kind: format!("{}List", self.kind),
            plural: self.plural.to_owned(),
            singular: self.kind.to_lowercase(),
            short_names: self.short.iter().map(|name| (*name).to_owned()).collect(),
            categories: if flag('a') {
                vec!["all".to_owned()]
            } else if self.kind == "CustomResourceDefinition" {
                vec!["api-extensions".to_owned()]
            } else {
                Vec::new()
            },
            namespaced: flag('n'),
            storage: if is_event { GroupResource::new("", "events") } else { resource.clone() },
            storage_version: if is_event || self.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", self.group) },
            resource,
            status: flag('s'),
            scale,
            generation: flag('g'),
            unconditional_update: flag('u'),
            create_on_update: flag('k'),
            name_rule: self.name_rule,
            fields: self.fields.iter().map(|field| (*field).to_owned()).collect(),
            schema: Schema::builtin(&schema_name),
            schema_name,
            custom: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_kind_has_a_schema() {
        let without: Vec<_> = builtins().iter().filter(|kind| kind.schema.is_none()).map(|kind| &kind.schema_name).collect();
        assert!(without.is_empty(), "{without:?}");
    }
}
