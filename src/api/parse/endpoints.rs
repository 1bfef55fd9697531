//! `EndpointSlice` to the core's [`EndpointSlice`].

use bellhop_core::name::ServiceKey;
use bellhop_core::object::{Endpoint, EndpointSlice};
use k8s_openapi::api::discovery::v1::{Endpoint as ApiEndpoint, EndpointSlice as ApiEndpointSlice};

use crate::keys;

/// Reads an EndpointSlice; `None` if it belongs to no Service.
pub fn endpoint_slice(object: &ApiEndpointSlice) -> Option<EndpointSlice> {
    let meta = &object.metadata;
    let service = super::first_of(meta.labels.as_ref(), &[keys::SERVICE_NAME_LABEL])?;
    Some(EndpointSlice {
        name: meta.name.clone().unwrap_or_default().into(),
        service: ServiceKey::new(meta.namespace.clone().unwrap_or_default(), service),
        endpoints: object.endpoints.iter().map(endpoint).collect(),
    })
}

/// What is not said reads as the API's reference has it: ready if nothing else is said, serving as ready, not terminating.
fn endpoint(endpoint: &ApiEndpoint) -> Endpoint {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    Endpoint {
        node: endpoint.node_name.as_deref().filter(|name| !name.is_empty()).map(Into::into),
        ready,
        serving: conditions.and_then(|conditions| conditions.serving).unwrap_or(ready),
        terminating: conditions.and_then(|conditions| conditions.terminating).unwrap_or(false),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parsed(labels: Value, endpoints: Value) -> Option<EndpointSlice> {
        let object =
            json!({"metadata": {"namespace": "default", "name": "web-1", "labels": labels}, "addressType": "IPv4", "endpoints": endpoints});
        endpoint_slice(&serde_json::from_value(object).expect("an EndpointSlice"))
    }

    #[test]
    fn conditions_that_are_not_said_read_as_the_api_defines() {
        let labels = json!({"kubernetes.io/service-name": "web"});
        let slice = parsed(
            labels,
            json!([
                {"addresses": ["10.0.0.1"], "nodeName": "worker"},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": false, "serving": true, "terminating": true}},
            ]),
        );
        let slice = slice.expect("of a Service");
        let flags: Vec<_> = slice.endpoints.iter().map(|endpoint| (endpoint.ready, endpoint.serving, endpoint.terminating)).collect();
        assert_eq!(flags, [(true, true, false), (false, false, false), (false, true, true)]);
        assert_eq!((slice.endpoints[0].node.clone(), slice.endpoints[1].node.clone()), (Some("worker".into()), None));
    }

    #[test]
    fn a_slice_without_the_label_is_nobodys() {
        assert_eq!(parsed(json!({}), json!([])), None);
    }
}
