//! What a theme leaves on a cluster when it is stopped half way, read from its calls: nobody keeps a list.

use crate::call::{Call, Theme};
use crate::run::PREFIX;

/// A custom kind's group is not named by a prefix.
const GROUP: &str = ".conformance.bellhop.test";

/// What a theme may leave, as paths of objects in which `${ns}` stands for the theme's namespace.
#[derive(Debug, PartialEq)]
pub(crate) struct Leftovers {
    /// Has a finalizer that nobody else takes off.
    pub(crate) held: Vec<String>,
    /// Is outside of the theme's namespace, the last made first, for a custom object goes before its kind.
    pub(crate) made: Vec<String>,
}

impl Leftovers {
    /// What the calls of a theme may leave.
    pub(crate) fn of(theme: &Theme) -> Self {
        let has_finalizers = |call: &&Call| call.body.as_ref().is_some_and(|body| body["metadata"]["finalizers"].is_array());
        let held = theme.calls.iter().filter(has_finalizers).filter_map(object).collect();
        let mut made: Vec<String> =
            theme.calls.iter().filter(|call| call.post.is_some()).filter_map(object).filter(|path| ours(path)).collect();
        made.reverse();
        Self { held: once(held), made: once(made) }
    }
}

/// The path of the object that a call makes or changes.
fn object(call: &Call) -> Option<String> {
    let (method, path) = call.request()?;
    let path = path.split('?').next()?;
    match method {
        "POST" => Some(format!("{path}/{}", call.body.as_ref()?["metadata"]["name"].as_str()?)),
        "PUT" | "PATCH" => Some(path.strip_suffix("/status").unwrap_or(path).to_owned()),
        _ => None,
    }
}

/// Whether it is in no namespace, and its name one that only this suite gives.
fn ours(path: &str) -> bool {
    let (kind, name) = path.rsplit_once('/').unwrap_or_default();
    !kind.contains("/namespaces/") && (name.starts_with(PREFIX) || name.ends_with(GROUP))
}

fn once(mut paths: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    paths.retain(|path| seen.insert(path.clone()));
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::read;

    #[test]
    fn what_a_theme_may_leave_is_what_its_calls_make_outside_of_its_namespace_and_what_they_hold() {
        let theme = r#"
about: a theme
calls:
  - { name: a, post: /apis/k/v1/customresourcedefinitions, body: { metadata: { name: gadgets.conformance.bellhop.test } } }
  - { name: b, post: "/apis/g/v1/gadgets?dryRun=All", body: { metadata: { name: bellhop-conformance-one } } }
  - { name: c, post: /apis/g/v1/gadgets, body: { metadata: { name: bellhop-conformance-one, finalizers: [a/b] } } }
  - { name: d, patch: "/api/v1/namespaces/${ns}/services/s/status", body: { metadata: { finalizers: [a/b] } } }
  - { name: e, post: "/api/v1/namespaces/${ns}/services", body: { metadata: { name: bellhop-conformance-s } } }
  - { name: f, post: /api/v1/namespaces, body: { metadata: { name: kube-system } } }
"#;
        let gadget = "/apis/g/v1/gadgets/bellhop-conformance-one".to_owned();
        let left = Leftovers {
            held: vec![gadget.clone(), "/api/v1/namespaces/${ns}/services/s".to_owned()],
            made: vec![gadget, "/apis/k/v1/customresourcedefinitions/gadgets.conformance.bellhop.test".to_owned()],
        };
        assert_eq!(Leftovers::of(&read("t", theme).expect("a theme")), left);
    }
}
