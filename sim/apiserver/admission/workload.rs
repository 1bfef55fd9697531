//! Deployments, ReplicaSets and DaemonSets: defaults, selectors that fit the template, and selectors that do not change.
//!
//! Follows kubernetes `pkg/apis/apps/v1/defaults.go` and `pkg/apis/apps/validation`. The template's rules are `pod`'s.

use serde_json::{Value, json};

use super::pod;
use crate::names;
use crate::object::{at, list, map_mut, number, set_default, set_default_text, text};
use crate::registry::Kind;
use crate::status::FieldError;

/// Fills in what the kind's `SetDefaults_*` fills in.
pub(crate) fn defaults(kind: &Kind, object: &mut Value) {
    let spec = map_mut(object, "spec");
    match kind.kind.as_str() {
        "Deployment" => {
            set_default(spec, "replicas", 1);
            set_default(spec, "revisionHistoryLimit", 10);
            set_default(spec, "progressDeadlineSeconds", 600);
            let strategy = map_mut(&mut object["spec"], "strategy");
            set_default_text(strategy, "type", "RollingUpdate");
            if strategy["type"] == "RollingUpdate" {
                let rolling = map_mut(&mut object["spec"]["strategy"], "rollingUpdate");
                set_default(rolling, "maxSurge", "25%");
                set_default(rolling, "maxUnavailable", "25%");
            }
        }
        "DaemonSet" => {
            set_default(spec, "revisionHistoryLimit", 10);
            let strategy = map_mut(&mut object["spec"], "updateStrategy");
            set_default_text(strategy, "type", "RollingUpdate");
            if strategy["type"] == "RollingUpdate" {
                let rolling = map_mut(&mut object["spec"]["updateStrategy"], "rollingUpdate");
                set_default(rolling, "maxSurge", 0);
                set_default(rolling, "maxUnavailable", 1);
            }
        }
        _ => set_default(spec, "replicas", 1),
    }
    if let Some(template) = object["spec"].get_mut("template").and_then(|template| template.get_mut("spec")) {
        pod::template_defaults(template);
    }
    let status = map_mut(object, "status");
    match kind.kind.as_str() {
        "ReplicaSet" => set_default(status, "replicas", 0),
        "DaemonSet" => ["currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"]
            .into_iter()
            .for_each(|key| set_default(status, key, 0)),
        _ => {}
    }
}

/// Judges a new workload.
pub(crate) fn create(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for key in ["replicas", "revisionHistoryLimit", "minReadySeconds", "progressDeadlineSeconds"] {
        if let Some(value) = number(object, &["spec", key]).filter(|value| *value < 0) {
            errors.push(FieldError::invalid(format!("spec.{key}"), &json!(value), "must be greater than or equal to 0"));
        }
    }
    let (selector, labels) = (&object["spec"]["selector"], &object["spec"]["template"]["metadata"]["labels"]);
    if selector.is_null() {
        errors.push(FieldError::required("spec.selector", ""));
        // Nothing selects nothing.
        errors.push(FieldError::invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"));
    } else if is_empty(selector) {
        let kind = text(object, &["kind"]).to_lowercase();
        errors.push(FieldError::invalid("spec.selector", selector, format!("empty selector is invalid for {kind}")));
    } else if !selects(selector, labels) {
        errors.push(FieldError::invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"));
    }
    errors.extend(names::refuse_labels("spec.selector.matchLabels", selector.get("matchLabels")));
    errors.extend(names::refuse_labels("spec.template.metadata.labels", Some(labels)));
    let template = &object["spec"]["template"]["spec"];
    errors.extend(pod::judge_spec(template, "spec.template.spec"));
    if text(template, &["restartPolicy"]) != "Always" {
        errors.push(FieldError::unsupported("spec.template.spec.restartPolicy", &json!(text(template, &["restartPolicy"])), &["Always"]));
    }
    for (field, known) in [("strategy", &["Recreate", "RollingUpdate"][..]), ("updateStrategy", &["OnDelete", "RollingUpdate"])] {
        let given = text(object, &["spec", field, "type"]);
        if at(object, &["spec", field]).is_some() && !known.contains(&given) {
            errors.push(FieldError::unsupported(format!("spec.{field}.type"), &json!(given), known));
        }
        if given != "RollingUpdate" && at(object, &["spec", field, "rollingUpdate"]).is_some() {
            errors.push(FieldError::forbidden(
                format!("spec.{field}.rollingUpdate"),
                format!("may not be specified when strategy `type` is '{given}'"),
            ));
        }
    }
    errors
}

/// Judges a change of a workload.
pub(crate) fn update(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = create(object);
    errors.extend(super::immutable("spec.selector", object, old, &["spec", "selector"]));
    errors
}

fn is_empty(selector: &Value) -> bool {
    let labels = selector.get("matchLabels").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty);
    labels && list(selector, &["matchExpressions"]).is_empty()
}

/// Whether a `LabelSelector` fits labels.
fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let fits = |expression: &Value| {
        let (value, values) = (labels.get(text(expression, &["key"])), list(expression, &["values"]));
        match text(expression, &["operator"]) {
            "In" => value.is_some_and(|value| values.contains(value)),
            "NotIn" => value.is_none_or(|value| !values.contains(value)),
            "Exists" => value.is_some(),
            _ => value.is_none(),
        }
    };
    wanted.into_iter().all(|(key, value)| labels.get(key) == Some(value)) && list(selector, &["matchExpressions"]).iter().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    fn deployment() -> Value {
        let kind = registry::builtin("apps", "v1", "deployments").expect("deployments are built in");
        let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}});
        let mut object = json!({"kind": "Deployment", "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template}});
        defaults(&kind, &mut object);
        object
    }

    #[test]
    fn a_deployment_rolls_a_quarter_at_a_time_unless_it_says_otherwise() {
        let deployment = deployment();
        assert_eq!(deployment["spec"]["replicas"], 1);
        assert_eq!(
            deployment["spec"]["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
        );
        assert_eq!(deployment["spec"]["template"]["spec"]["restartPolicy"], "Always");
        assert_eq!(create(&deployment), []);
    }

    #[test]
    fn a_selector_fits_its_template_and_does_not_change() {
        let old = deployment();
        let mut new = old.clone();
        new["spec"]["selector"]["matchLabels"]["app"] = json!("b");
        let said: Vec<String> = update(&new, &old).iter().map(FieldError::sentence).collect();
        assert_eq!(said.len(), 2);
        assert!(said[0].ends_with("`selector` does not match template `labels`"), "{said:?}");
        assert!(said[1].ends_with("field is immutable"), "{said:?}");
    }
}
