//! The built-in kinds' own schemas, as k8s-openapi writes them down: one source for pruning, validation and OpenAPI.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};

use super::node::Node;

/// Every built-in schema by its OpenAPI name, as it is evaluated.
pub(super) fn definitions() -> &'static Arc<BTreeMap<String, Arc<Node>>> {
    &BUILTIN.definitions
}

/// Every built-in schema by its OpenAPI name, as JSON: what `/openapi/v3` serves and `kubectl explain` reads.
pub(crate) fn components() -> &'static Map<String, Value> {
    &BUILTIN.json
}

struct Builtin {
    json: Map<String, Value>,
    definitions: Arc<BTreeMap<String, Arc<Node>>>,
}

// Computed once and never changed: the same in every run, whoever asks first.
static BUILTIN: LazyLock<Builtin> = LazyLock::new(|| {
    let mut json = generate();
    crate::patch::strategic::tag(&mut json);
    let definitions = json.iter().map(|(name, schema)| (name.clone(), Arc::new(Node::read(schema, false)))).collect();
    Builtin { json, definitions: Arc::new(definitions) }
});

fn generate() -> Map<String, Value> {
    use k8s_openapi::api::{apps, autoscaling, coordination, core, discovery, events, policy, rbac};
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
    let settings = schemars::generate::SchemaSettings::openapi3();
    let mut generator = schemars::SchemaGenerator::new(settings);
    macro_rules! kinds {
        ($($kind:ty),* $(,)?) => { $( generator.subschema_for::<$kind>(); )* };
    }
    kinds!(
        core::v1::Namespace,
        core::v1::Node,
        core::v1::Pod,
        core::v1::Service,
        core::v1::ConfigMap,
        core::v1::Secret,
        core::v1::Endpoints,
        core::v1::Event,
        core::v1::ServiceAccount,
        core::v1::Binding,
        apps::v1::Deployment,
        apps::v1::ReplicaSet,
        apps::v1::DaemonSet,
        autoscaling::v1::Scale,
        policy::v1::Eviction,
        discovery::v1::EndpointSlice,
        coordination::v1::Lease,
        events::v1::Event,
        policy::v1::PodDisruptionBudget,
        rbac::v1::Role,
        rbac::v1::RoleBinding,
        rbac::v1::ClusterRole,
        rbac::v1::ClusterRoleBinding,
        apiextensions::v1::CustomResourceDefinition,
    );
    let mut definitions = generator.take_definitions(true);
    // Upstream these marshal as whatever JSON they hold (custom marshalers); k8s-openapi's schema calls them objects.
    for name in ["JSON", "JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray"] {
        let name = format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.{name}");
        definitions.insert(name, json!({"x-kubernetes-preserve-unknown-fields": true}));
    }
    definitions
}
