//! A Service in little room: what a write has to look at, as JSON.
//!
//! The structs of one Service take several times the room of their text, most of it empty places, and there may be thousands of Services, each looked at
//! again when it is written, which is seldom. What a write looks at is [`bellhop_api::render`]'s to say.

use bellhop_api::render;
use k8s_openapi::api::core::v1::Service;

/// What a write looks at of a Service.
pub(crate) struct Packed(Box<str>);

impl Packed {
    /// Packs it.
    pub(crate) fn new(service: &Service) -> Self {
        // Keys are strings and numbers are whole: this cannot fail.
        Self(serde_json::to_string(&render::looked_at(service)).unwrap_or_default().into())
    }

    /// The Service without what no write looks at.
    pub(crate) fn unpack(&self) -> Option<Service> {
        serde_json::from_str(&self.0).inspect_err(|error| tracing::error!(%error, "a kept Service does not read back")).ok()
    }
}

#[cfg(test)]
mod tests {
    use bellhop_api::keys;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_packed_gives_the_patches_of_the_whole() {
        let times = "2026-01-01T00:00:00Z";
        let condition =
            json!({"type": keys::CONDITION_ASSIGNED, "status": "True", "reason": "R", "message": "m", "lastTransitionTime": times});
        let whole: Service = serde_json::from_value(json!({
            "metadata": {
                "namespace": "default", "name": "web", "uid": "u", "resourceVersion": "5", "generation": 3, "creationTimestamp": times,
                "labels": {"app": "web", keys::POOL_LABEL: "pool"}, "annotations": {keys::NODE_ANNOTATION: "worker", keys::OPT_IN: "porter"},
                "finalizers": ["example.com/other", keys::FOREIGN_SERVICE_FINALIZER],
            },
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "targetPort": "web"}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7", "ipMode": "VIP"}]}, "conditions": [condition]},
        }))
        .expect("a Service");
        let packed = Packed::new(&whole).unpack().expect("it reads back");
        let nothing = bellhop_core::object::ServiceStatus::default();
        let (status, metadata) = (render::service_status_patch, render::service_metadata_patch);
        assert_eq!(status(&packed, &nothing, jiff::Timestamp::UNIX_EPOCH), status(&whole, &nothing, jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(metadata(&packed, &nothing, true), metadata(&whole, &nothing, true));
    }
}
