//! The resources that scenarios name, with the names that kubectl takes for them.
//!
//! A real kubectl asks the server; a fixed table says the same for the kinds that matter here.

use super::Failure;

/// One resource.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) singular: &'static str,
    pub(super) plural: &'static str,
    short: &'static str,
    pub(super) namespaced: bool,
}

#[rustfmt::skip]
const RESOURCES: [Resource; 20] = [
    resource("", "v1", "Service", "service", "services", "svc", true),
    resource("", "v1", "Node", "node", "nodes", "no", false),
    resource("", "v1", "Pod", "pod", "pods", "po", true),
    resource("", "v1", "ConfigMap", "configmap", "configmaps", "cm", true),
    resource("", "v1", "Endpoints", "endpoints", "endpoints", "ep", true),
    resource("", "v1", "Event", "event", "events", "ev", true),
    resource("", "v1", "Namespace", "namespace", "namespaces", "ns", false),
    resource("", "v1", "Secret", "secret", "secrets", "", true),
    resource("", "v1", "ServiceAccount", "serviceaccount", "serviceaccounts", "sa", true),
    resource("apps", "v1", "Deployment", "deployment", "deployments", "deploy", true),
    resource("apps", "v1", "ReplicaSet", "replicaset", "replicasets", "rs", true),
    resource("apps", "v1", "DaemonSet", "daemonset", "daemonsets", "ds", true),
    resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslice", "endpointslices", "", true),
    resource("coordination.k8s.io", "v1", "Lease", "lease", "leases", "", true),
    resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinition", "customresourcedefinitions", "crd", false),
    resource("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterrole", "clusterroles", "", false),
    resource("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebinding", "clusterrolebindings", "", false),
    resource("rbac.authorization.k8s.io", "v1", "Role", "role", "roles", "", true),
    resource("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebinding", "rolebindings", "", true),
    resource("network.kubesphere.io", "v1alpha2", "Eip", "eip", "eips", "", false),
];

const fn resource(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    singular: &'static str,
    plural: &'static str,
    short: &'static str,
    namespaced: bool,
) -> Resource {
    Resource { group, version, kind, singular, plural, short, namespaced }
}

impl Resource {
    /// By any of the names that kubectl takes, with or without `.group`.
    pub(super) fn called(name: &str) -> Result<&'static Self, Failure> {
        let lower = name.to_lowercase();
        let (word, group) = lower.split_once('.').map_or((lower.as_str(), None), |(word, group)| (word, Some(group)));
        let matches = |resource: &&Self| {
            let named = [resource.singular, resource.plural, resource.short].contains(&word) && !word.is_empty();
            named && group.is_none_or(|group| group == resource.group)
        };
        RESOURCES.iter().find(matches).ok_or_else(|| Failure(format!("error: the server doesn't have a resource type \"{name}\"")))
    }

    /// The kind of a manifest, with the version that the manifest names.
    pub(super) fn of_kind(api_version: &str, kind: &str) -> Option<(&'static Self, String)> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = RESOURCES.iter().find(|resource| resource.kind == kind && resource.group == group)?;
        Some((resource, version.to_owned()))
    }

    /// `service/web`, `deployment.apps/web`.
    pub(super) fn named(&self, name: &str) -> String {
        format!("{}/{name}", self.long_name())
    }

    /// `service`, `deployment.apps`.
    pub(super) fn long_name(&self) -> String {
        if self.group.is_empty() { self.singular.to_owned() } else { format!("{}.{}", self.singular, self.group) }
    }

    /// The path of an object, or of all of them in a namespace.
    pub(super) fn path(&self, namespace: &str, name: Option<&str>) -> String {
        self.path_in(self.version, namespace, name)
    }

    /// The same in a version. An empty namespace means all of them.
    pub(super) fn path_in(&self, version: &str, namespace: &str, name: Option<&str>) -> String {
        let root = if self.group.is_empty() { format!("/api/{version}") } else { format!("/apis/{}/{version}", self.group) };
        let within = if self.namespaced && !namespace.is_empty() { format!("/namespaces/{namespace}") } else { String::new() };
        let name = name.map(|name| format!("/{name}")).unwrap_or_default();
        format!("{root}{within}/{}{name}", self.plural)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectls_short_names_and_groups_are_known() {
        for (name, path) in [
            ("svc", "/api/v1/namespaces/default/services"),
            ("nodes", "/api/v1/nodes"),
            ("deployments.apps", "/apis/apps/v1/namespaces/default/deployments"),
            ("eip", "/apis/network.kubesphere.io/v1alpha2/eips"),
        ] {
            assert_eq!(Resource::called(name).map(|resource| resource.path("default", None)).unwrap_or_default(), path);
        }
        assert!(Resource::called("").is_err());
        assert!(Resource::called("gadgets").is_err());
    }
}
