//! What a request asks for: its path, query and headers, read once.
//!
//! Follows apiserver's `RequestInfo`: `/api/v1/namespaces/{ns}/{plural}/{name}/{subresource}` and the like. Knows no kind: whether the
//! resource exists is the registry's answer.

use bytes::Bytes;
use http::request::Parts;

use crate::ClientName;
use crate::status::ApiError;

/// One request, whatever way it came in.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) client: ClientName,
    pub(crate) method: http::Method,
    pub(crate) path: String,
    pub(crate) query: Query,
    pub(crate) accept: String,
    pub(crate) content_type: String,
    pub(crate) user_agent: String,
    pub(crate) body: Bytes,
}

/// The query's parameters, decoded, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

/// The part of the path below `/api/v1` or `/apis/{group}/{version}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    /// Empty for cluster scope and for lists over all namespaces.
    pub(crate) namespace: String,
    pub(crate) plural: String,
    /// Empty for collections.
    pub(crate) name: String,
    /// Empty for the main resource.
    pub(crate) subresource: String,
    /// The old way of asking for a watch, `/api/v1/watch/…`.
    pub(crate) watching: bool,
}

impl Request {
    /// Reads the head; the body is already whole.
    pub(crate) fn new(client: ClientName, parts: &Parts, body: Bytes) -> Self {
        let header = |name: http::HeaderName| {
            let all = parts.headers.get_all(name);
            all.iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",")
        };
        Self {
            client,
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            query: Query::parse(parts.uri.query().unwrap_or_default()),
            accept: header(http::header::ACCEPT),
            content_type: header(http::header::CONTENT_TYPE),
            user_agent: header(http::header::USER_AGENT),
            body,
        }
    }

    /// A request that says nothing: for what the server asks itself.
    pub(crate) fn bodiless(client: ClientName) -> Self {
        let (parts, ()) = http::Request::new(()).into_parts();
        Self::new(client, &parts, Bytes::new())
    }

    /// Whether the client asked for server-side tables (`as=Table`, as `kubectl get` does).
    pub(crate) fn wants_table(&self) -> bool {
        self.accept.split(',').next().is_some_and(|first| first.contains("as=Table"))
    }

    /// Whether the client wants metadata only.
    pub(crate) fn wants_partial_metadata(&self) -> bool {
        self.accept.split(',').next().is_some_and(|first| first.contains("as=PartialObjectMetadata"))
    }

    /// Whether the client takes JSON.
    pub(crate) fn accepts_json(&self) -> bool {
        let takes = |one: &str| {
            let one = one.split(';').next().unwrap_or_default().trim();
            one.is_empty() || one == "*/*" || one == "application/*" || one.starts_with("application/json") || one == "application/yaml"
        };
        // Protobuf alone is taken for JSON, which is what a real server's custom kinds answer: every client of it can read that.
        self.accept.split(',').any(takes) || self.accept.contains("protobuf")
    }

    /// Who writes, for `managedFields`: the parameter, else the first word of the user agent.
    pub(crate) fn field_manager(&self) -> String {
        let given = self.query.get("fieldManager");
        let agent = || self.user_agent.split('/').next().filter(|name| !name.is_empty()).unwrap_or("unknown");
        if given.is_empty() { agent().to_owned() } else { given.to_owned() }
    }
}

impl Query {
    /// Splits and decodes a query string.
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(key, value)| (decode(key, true), decode(value, true)))
                .collect(),
        )
    }

    /// The first value of a parameter, empty where it is missing.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Go's `strconv.ParseBool`, with "present but empty" read as true.
    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        let (_, value) = self.0.iter().find(|(name, _)| name == key)?;
        Some(!matches!(value.as_str(), "0" | "f" | "F" | "false" | "FALSE" | "False"))
    }

    /// A whole number, or 400.
    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, ApiError> {
        let text = self.get(key);
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))
    }
}

impl ResourcePath {
    /// Reads a path; `None` when it is not a resource's.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let parts: Vec<String> = path.trim_matches('/').split('/').map(|part| decode(part, false)).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (watching, rest) = match rest {
            ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
            _ => (false, rest),
        };
        let (namespace, rest) = match rest {
            // `/namespaces/{name}/status` is a Namespace's own subresource.
            ["namespaces", _, "status" | "finalize"] => ("", rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            _ => ("", rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, subresource] => (*plural, *name, *subresource),
            _ => return None,
        };
        let [group, version, namespace, plural, name, subresource] =
            [group, version, namespace, plural, name, subresource].map(str::to_owned);
        (!plural.is_empty()).then_some(Self { group, version, namespace, plural, name, subresource, watching })
    }
}

/// Percent-decodes; a broken escape stays as it is.
fn decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        let escaped = (byte == b'%').then(|| text.get(index + 1..index + 3)).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                index += 3;
            }
            None => {
                out.push(if plus_is_space && byte == b'+' { b' ' } else { byte });
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> (String, String, String, String) {
        let path = ResourcePath::parse(text).expect("a resource path");
        (path.namespace, path.plural, path.name, path.subresource)
    }

    fn parts(namespace: &str, plural: &str, name: &str, subresource: &str) -> (String, String, String, String) {
        (namespace.into(), plural.into(), name.into(), subresource.into())
    }

    #[test]
    fn paths_name_namespace_resource_object_and_subresource() {
        assert_eq!(path("/api/v1/namespaces/default/pods/a/status"), parts("default", "pods", "a", "status"));
        assert_eq!(path("/api/v1/namespaces/default"), parts("", "namespaces", "default", ""));
        assert_eq!(path("/api/v1/namespaces/default/finalize"), parts("", "namespaces", "default", "finalize"));
        assert_eq!(path("/apis/apps/v1/deployments"), parts("", "deployments", "", ""));
        assert_eq!(ResourcePath::parse("/healthz"), None);
    }

    #[test]
    fn queries_are_decoded_and_broken_escapes_stay() {
        let query = Query::parse("labelSelector=app%3Dweb&fieldSelector=a+b&x=%zz&watch");
        assert_eq!(query.get("labelSelector"), "app=web");
        assert_eq!(query.get("fieldSelector"), "a b");
        assert_eq!(query.get("x"), "%zz");
        assert_eq!(query.flag("watch"), Some(true));
    }
}
