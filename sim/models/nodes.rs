//! Questions about nodes that several models ask: conditions, taints and who tolerates them, selectors.
//!
//! Only looks.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint, Toleration};

/// A condition of a node.
pub(crate) fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// Whether its condition Ready is True.
pub(crate) fn is_ready(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Whether it is cordoned.
pub(crate) fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false)
}

/// Its taints.
pub(crate) fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

/// Whether a `nodeSelector` selects a node.
pub(crate) fn selects(selector: Option<&BTreeMap<String, String>>, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    selector.is_none_or(|selector| selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value)))
}

/// Whether a pod with these tolerations may be bound to a node. `PreferNoSchedule` forbids nothing.
pub(crate) fn tolerates(tolerations: Option<&[Toleration]>, node: &Node) -> bool {
    let forbidding = taints(node).iter().filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
    forbidding.into_iter().all(|taint| toleration(tolerations, taint).is_some())
}

/// The toleration that matches a taint (k8s.io/component-helpers, Toleration.ToleratesTaint).
pub(crate) fn toleration<'a>(tolerations: Option<&'a [Toleration]>, taint: &Taint) -> Option<&'a Toleration> {
    tolerations?.iter().find(|toleration| {
        let effect = toleration.effect.as_deref().filter(|effect| !effect.is_empty());
        let key = toleration.key.as_deref().filter(|key| !key.is_empty());
        let value_fits = match toleration.operator.as_deref() {
            Some("Exists") => true,
            _ => toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default(),
        };
        effect.is_none_or(|effect| effect == taint.effect) && key.is_none_or(|key| key == taint.key) && value_fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;

    fn taint(key: &str, value: &str) -> Taint {
        Taint { key: key.into(), value: Some(value.into()), effect: "NoSchedule".into(), time_added: None }
    }

    #[test]
    fn a_taint_is_tolerated_by_key_and_value_or_by_existence() {
        let mut tainted = node("a");
        tainted.spec.get_or_insert_default().taints = Some(vec![taint("role", "db")]);
        let with = |operator: &str, value: &str| {
            vec![Toleration {
                key: Some("role".into()),
                operator: Some(operator.into()),
                value: Some(value.into()),
                ..Toleration::default()
            }]
        };
        assert!(!tolerates(None, &tainted));
        assert!(!tolerates(Some(&with("Equal", "web")), &tainted));
        assert!(tolerates(Some(&with("Equal", "db")), &tainted));
        assert!(tolerates(Some(&with("Exists", "")), &tainted));
    }
}
