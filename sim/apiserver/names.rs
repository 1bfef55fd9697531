//! Names that Kubernetes accepts: RFC 1123 and RFC 1035 labels, subdomains, qualified names, label values.
//!
//! The rules and the sentences are those of apimachinery `pkg/util/validation`.

use serde_json::{Value, json};

use crate::status::FieldError;

/// What a kind's objects may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameRule {
    /// RFC 1123 subdomain, up to 253 characters: most kinds.
    Subdomain,
    /// RFC 1123 label, up to 63 characters: namespaces.
    Label,
    /// RFC 1035 label, up to 63 characters, begins with a letter: Services.
    Label1035,
    /// A path segment: roles and their bindings.
    PathSegment,
}

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// RFC 1123 label.
pub(crate) fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= 63 && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// RFC 1123 subdomain.
pub(crate) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label_of_any_length)
}

/// RFC 1035 label.
pub(crate) fn is_label_1035(text: &str) -> bool {
    is_label(text) && text.starts_with(|first: char| first.is_ascii_lowercase())
}

/// `[prefix/]name`: label and annotation keys, finalizers, condition types.
pub(crate) fn is_qualified_name(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(|prefix| !prefix.is_empty() && is_subdomain(prefix)) && !name.is_empty() && is_label_value(name)
}

/// A label's value: empty, or at most 63 of `[A-Za-z0-9._-]` with alphanumeric ends.
pub(crate) fn is_label_value(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let ends = |char: char| char.is_ascii_alphanumeric();
    text.is_empty() || (text.len() <= 63 && text.bytes().all(inner) && text.starts_with(ends) && text.ends_with(ends))
}

/// `None` when the name fits the rule, else what kubectl shows.
pub(crate) fn refuse(rule: NameRule, path: &str, name: &str) -> Option<FieldError> {
    let (fits, limit, sentence) = match rule {
        NameRule::Subdomain => (is_subdomain(name), 253, SUBDOMAIN),
        NameRule::Label => (is_label(name), 63, LABEL),
        NameRule::Label1035 => (is_label_1035(name), 63, LABEL_1035),
        NameRule::PathSegment => {
            (!matches!(name, "." | "..") && !name.contains(['/', '%']), usize::MAX, "may not be '.' or '..' or contain '/' or '%'")
        }
    };
    let too_long = name.len() > limit;
    let sentence = if too_long { format!("must be no more than {limit} characters") } else { sentence.to_owned() };
    (!fits).then(|| FieldError::invalid(path, &json!(name), sentence))
}

/// Checks the keys and values of a label map.
pub(crate) fn refuse_labels(path: &str, labels: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        if !is_qualified_name(key) {
            errors.push(FieldError::invalid(path, &json!(key), QUALIFIED));
        }
        if !value.as_str().is_some_and(is_label_value) {
            errors.push(FieldError::invalid(path, value, LABEL_VALUE));
        }
    }
    errors
}

/// Checks the keys and the total size of an annotation map.
pub(crate) fn refuse_annotations(path: &str, annotations: Option<&Value>) -> Vec<FieldError> {
    /// apimachinery `pkg/api/validation`: TotalAnnotationSizeLimitB.
    const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;
    let Some(map) = annotations.and_then(Value::as_object) else { return Vec::new() };
    // Keys are compared in lower case: an annotation's prefix may be written in capitals.
    let bad = map.keys().filter(|key| !is_qualified_name(&key.to_lowercase()));
    let mut errors: Vec<_> = bad.map(|key| FieldError::invalid(path, &json!(key), QUALIFIED)).collect();
    let size: usize = map.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATIONS_MAX_BYTES {
        let detail = format!("Too long: may not be more than {ANNOTATIONS_MAX_BYTES} bytes");
        errors.push(FieldError { path: path.to_owned(), reason: "FieldValueTooLong", detail });
    }
    errors
}

fn is_label_of_any_length(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_may_not_begin_with_a_digit_and_nodes_may() {
        assert!(refuse(NameRule::Label1035, "metadata.name", "1web").is_some());
        assert!(refuse(NameRule::Subdomain, "metadata.name", "1node.lan").is_none());
        assert!(refuse(NameRule::Subdomain, "metadata.name", "Web").is_some());
        assert!(refuse(NameRule::Label, "metadata.name", &"a".repeat(64)).is_some());
    }

    #[test]
    fn label_keys_take_a_domain_prefix() {
        assert!(is_qualified_name("layer2.porter.kubesphere.io/v1alpha1"));
        assert!(!is_qualified_name("/v1"));
        assert!(!is_qualified_name("a b"));
    }
}
