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
    /// RFC 1123 label, up to 63 characters: namespaces, and since 1.36 Services.
    Label,
    /// A path segment: roles and their bindings.
    PathSegment,
}

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

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
        NameRule::Label if name.contains('.') => (false, 63, "must not contain dots"),
        NameRule::Label => (is_label(name), 63, LABEL),
        NameRule::PathSegment if matches!(name, "." | "..") => (false, usize::MAX, "may not be '.' or '..'"),
        NameRule::PathSegment if name.contains('/') => (false, usize::MAX, "may not contain '/'"),
        NameRule::PathSegment => (!name.contains('%'), usize::MAX, "may not contain '%'"),
    };
    let too_long = name.len() > limit;
    let sentence = if too_long { format!("must be no more than {limit} characters") } else { sentence.to_owned() };
    (!fits).then(|| FieldError::invalid(path, &json!(name), sentence))
}

/// Everything that is wrong with a `[prefix/]name` (`IsQualifiedName`).
pub(crate) fn qualified_name_errors(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let name = match text.split('/').collect::<Vec<_>>().as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else if !is_subdomain(prefix) {
                errors.push(format!("prefix part {SUBDOMAIN}"));
            }
            *name
        }
        _ => {
            return vec![format!(
                "a valid label key {QUALIFIED} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        errors.push("name part must be no more than 63 bytes".to_owned());
    }
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let ends = |char: char| char.is_ascii_alphanumeric();
    if !(name.bytes().all(inner) && name.starts_with(ends) && name.ends_with(ends)) {
        errors.push(format!("name part {QUALIFIED}"));
    }
    errors
}

/// RFC 6335 section 5.1, as `IsValidPortName` has it: up to 15 of letters, digits and single hyphens, with a letter.
pub(crate) fn port_name_errors(name: &str) -> Vec<&'static str> {
    let letter = |char: char| char.is_ascii_lowercase();
    let inner = |char: char| letter(char) || char.is_ascii_digit() || char == '-';
    let rules = [
        (name.len() <= 15, "must be no more than 15 characters"),
        (name.chars().all(inner), "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"),
        (name.to_lowercase().contains(letter), "must contain at least one letter (a-z)"),
        (!name.contains("--"), "must not contain consecutive hyphens"),
        (!name.starts_with('-') && !name.ends_with('-'), "must not begin or end with a hyphen"),
    ];
    rules.into_iter().filter(|(fits, _)| !fits).map(|(_, why)| why).collect()
}

/// Addresses that are nobody's endpoint (`ValidateNonSpecialIP`).
pub(crate) fn refuse_special_address(path: &str, value: &Value) -> Option<FieldError> {
    let address: std::net::IpAddr = value.as_str()?.parse().ok()?;
    let link_local = match address {
        std::net::IpAddr::V4(address) => address.is_link_local(),
        std::net::IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let why = match address {
        _ if address.is_unspecified() => format!("may not be unspecified ({address})"),
        _ if address.is_loopback() => "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned(),
        _ if link_local => "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned(),
        _ => return None,
    };
    Some(FieldError::invalid(path, value, why))
}

/// Checks the keys and values of a label map.
pub(crate) fn refuse_labels(path: &str, labels: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        errors.extend(qualified_name_errors(key).into_iter().map(|why| FieldError::invalid(path, &json!(key), why)));
        let text = value.as_str().unwrap_or_default();
        if text.len() > 63 {
            errors.push(FieldError::invalid(path, value, "must be no more than 63 bytes"));
        } else if !is_label_value(text) {
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
    let mut errors = Vec::new();
    for key in map.keys() {
        errors.extend(qualified_name_errors(&key.to_lowercase()).into_iter().map(|why| FieldError::invalid(path, &json!(key), why)));
    }
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
    fn services_have_no_dots_and_nodes_may() {
        assert!(refuse(NameRule::Label, "metadata.name", "web.lan").is_some());
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
