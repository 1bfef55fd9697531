//! The rules that a CRD writes in CEL (`x-kubernetes-validations`): compiled when the CRD is stored, evaluated when an object is.
//!
//! The `cel` crate parses; evaluating is ours ([`eval`]): the crate's maps are hashed by entropy of the system, and this server gives the same
//! answers in every run. What a rule may use is the standard language and the functions in [`functions`]; a rule that uses anything else is
//! refused with its CRD ([`check`]), by name. **Not there:** `uint`, bytes, durations, timestamps (and fields whose format makes them one), quantities,
//! `url`, `format`, cost estimates, and types beyond what a schema says of fields. Read "Common Expression Language in Kubernetes" first.

mod check;
mod eval;
mod functions;
mod value;

use std::sync::Arc;

use cel::IdedExpr;
use serde_json::Value as Json;

use crate::object::text;
use crate::schema::Node;
use crate::status::FieldError;
use eval::Scope;
use value::Value;

/// One compiled rule.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    source: String,
    program: Arc<IdedExpr>,
    message: String,
    computed: Option<Arc<IdedExpr>>,
    reason: String,
    /// Below the place of the rule, for instance `.value`.
    pub(crate) field_path: String,
    /// It speaks of the object before.
    transition: bool,
    /// It is asked without one, too.
    optional_old: bool,
}

/// What a broken rule says, without its place.
pub(crate) struct Broken {
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
}

impl Rule {
    /// Compiles a schema's rules; those that do not compile are no rules (their CRD was refused).
    pub(crate) fn all(schema: &Json) -> Vec<Self> {
        let rules = schema.get("x-kubernetes-validations").and_then(Json::as_array).into_iter().flatten();
        rules.filter_map(|rule| Self::read(rule).ok()).collect()
    }

    fn read(rule: &Json) -> Result<Self, String> {
        let program = parse(text(rule, &["rule"]))?;
        let computed = match text(rule, &["messageExpression"]) {
            "" => None,
            source => Some(Arc::new(parse(source)?)),
        };
        Ok(Self {
            source: text(rule, &["rule"]).to_owned(),
            transition: check::mentions(&program, "oldSelf"),
            program: Arc::new(program),
            message: text(rule, &["message"]).to_owned(),
            computed,
            reason: text(rule, &["reason"]).to_owned(),
            field_path: text(rule, &["fieldPath"]).to_owned(),
            optional_old: rule["optionalOldSelf"] == true,
        })
    }

    /// Asks the rule of a value; `old` is the same place of the object before.
    pub(crate) fn judge(&self, value: &Json, old: Option<&Json>) -> Option<Broken> {
        if self.transition && old.is_none() && !self.optional_old {
            return None;
        }
        let own = Value::read(value);
        let before = old.map(Value::read);
        let before = if self.optional_old { Some(Value::Optional(before.map(Box::new))) } else { before };
        let scope = Scope::new(&own, before.as_ref());
        match scope.eval(&self.program) {
            Ok(Value::Bool(true)) => None,
            Ok(Value::Bool(false)) => Some(self.broken(value, &scope)),
            Ok(_) => Some(self.failed(value, "the rule is neither true nor false")),
            Err(why) => Some(self.failed(value, &why)),
        }
    }

    fn broken(&self, value: &Json, scope: &Scope<'_>) -> Broken {
        let computed = self.computed.as_ref().and_then(|program| match scope.eval(program) {
            Ok(Value::Text(text)) if !text.trim().is_empty() => Some(text),
            _ => None,
        });
        let said = computed.unwrap_or_else(|| match self.message.as_str() {
            "" => format!("failed rule: {}", self.source),
            message => message.to_owned(),
        });
        // apiextensions-apiserver names a value only where it is no object and no list.
        let shown = if value.is_object() || value.is_array() { String::new() } else { format!("{value}: ") };
        let (reason, detail) = match self.reason.as_str() {
            "FieldValueRequired" => ("FieldValueRequired", format!("Required value: {said}")),
            "FieldValueForbidden" => ("FieldValueForbidden", format!("Forbidden: {said}")),
            "FieldValueDuplicate" => ("FieldValueDuplicate", format!("Duplicate value: {value}")),
            _ => ("FieldValueInvalid", format!("Invalid value: {shown}{said}")),
        };
        Broken { reason, detail }
    }

    fn failed(&self, value: &Json, why: &str) -> Broken {
        let rule = if self.message.is_empty() { &self.source } else { &self.message };
        let detail = format!("Invalid value: {:?}: {why} evaluating rule: {rule}", crate::schema::type_of(value));
        Broken { reason: "FieldValueInvalid", detail }
    }
}

/// What is wrong with the rules of a schema, at `path`.
pub(crate) fn refuse(schema: &Json, path: &str) -> Vec<FieldError> {
    let node = Node::read(schema, true);
    let rules = schema.get("x-kubernetes-validations").and_then(Json::as_array).into_iter().flatten();
    rules.enumerate().flat_map(|(index, rule)| refuse_rule(rule, &node, &format!("{path}.x-kubernetes-validations[{index}]"))).collect()
}

fn refuse_rule(rule: &Json, node: &Node, path: &str) -> Vec<FieldError> {
    if text(rule, &["rule"]).trim().is_empty() {
        return vec![FieldError::required(format!("{path}.rule"), "rule is not specified")];
    }
    let optional_old = rule["optionalOldSelf"] == true;
    let wrong = |key: &str, said: &str, check: fn(&IdedExpr, &Node, bool) -> Result<(), String>| {
        let checked = parse(text(rule, &[key])).and_then(|program| check(&program, node, optional_old));
        checked.err().map(|why| FieldError::invalid(format!("{path}.{key}"), rule, format!("{said} failed: {why}")))
    };
    // Empty is as if it were not there; blanks are not.
    let message = match text(rule, &["messageExpression"]) {
        "" => None,
        blank if blank.trim().is_empty() => {
            Some(FieldError::required(format!("{path}.messageExpression"), "must be non-empty if specified"))
        }
        _ => wrong("messageExpression", "messageExpression compilation", check::message),
    };
    wrong("rule", "compilation", check::rule).into_iter().chain(message).collect()
}

fn parse(source: &str) -> Result<IdedExpr, String> {
    // The one of the crate's two parsers that hashes nothing by the system's entropy.
    cel::parser::PrattParser::new().parse(source).map_err(|errors| errors.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(rule: &str, own: Json) -> Option<String> {
        Rule::read(&json!({"rule": rule})).expect("it compiles").judge(&own, None).map(|broken| broken.detail)
    }

    #[test]
    fn rules_speak_the_language() {
        let object = json!({"low": 1, "high": 3, "names": ["a", "bc"], "labels": {"x-a": "1"}, "address": "192.0.2.1", "ratio": 0.5});
        for rule in [
            "self.low < self.high && self.high - self.low == 2",
            "!has(self.missing) || self.missing == 'x'",
            "self.names.all(n, n.size() < 3) && self.names.exists(n, n == 'a') && self.names.exists_one(n, n == 'a')",
            "self.names.map(n, n + '!') == ['a!', 'bc!'] && self.names.filter(n, n.startsWith('b')).size() == 1",
            "self.labels.all(k, k.startsWith('x-') && self.labels[k] == '1')",
            "'a' in self.names && !('z' in self.names) && 'x-a' in self.labels",
            "isIP(self.address) && ip(self.address).family() == 4 && cidr('192.0.2.0/24').containsIP(self.address)",
            "self.ratio * 2.0 == 1.0 && size(self.names) == 2 && self.names[1] == 'bc'",
            "self.address.matches('^[0-9.]+$') && self.address.split('.').size() == 4",
            "self.low > 5 ? false : true",
            "self.missing == 1 || true",
        ] {
            assert_eq!(holds(rule, object.clone()), None, "{rule}");
        }
    }

    #[test]
    fn addresses_and_letters_are_what_kubernetes_takes_them_for() {
        for rule in [
            "!isIP('192.0.2.0/24') && isCIDR('192.0.2.0/24') && !isCIDR('192.0.2.1')",
            "!isIP('::ffff:1.2.3.4') && !isCIDR('::ffff:1.2.3.4/120') && isIP('::1.2.3.4')",
            "cidr('192.0.2.7/24').ip().family() == 4 && cidr('192.0.2.7/24').masked() == cidr('192.0.2.0/24')",
            "'äb'.split('') == ['ä', 'b'] && ''.split('') == [] && ''.split(',') == ['']",
        ] {
            assert_eq!(holds(rule, json!({})), None, "{rule}");
        }
        for rule in
            ["ip('192.0.2.0/24').family() == 4", "ip('::ffff:1.2.3.4').family() == 6", "cidr('192.0.2.0/24').containsIP('192.0.2.0/32')"]
        {
            assert!(holds(rule, json!({})).is_some_and(|said| said.to_lowercase().contains("address")), "{rule}");
        }
    }

    #[test]
    fn a_rule_that_fails_says_what_was_missing() {
        assert_eq!(
            holds("self.a != self.b", json!({"a": 1})).as_deref(),
            Some("Invalid value: \"object\": no such key: b evaluating rule: self.a != self.b")
        );
    }

    /// What is said of a schema with this rule.
    fn refused(rule: &Json) -> Vec<String> {
        let properties = json!({
            "a": {"type": "string"}, "n": {"type": "integer"}, "since": {"type": "string", "format": "date-time"},
            "times": {"type": "array", "items": {"type": "string", "format": "duration"}},
        });
        let schema = json!({"type": "object", "properties": properties, "x-kubernetes-validations": [rule]});
        refuse(&schema, "s").iter().map(FieldError::sentence).collect()
    }

    #[test]
    fn a_rule_over_what_there_is_not_is_refused_with_its_crd() {
        assert_eq!(refused(&json!({"rule": "self.a == 'x'"})), [""; 0]);
        for rule in ["self.b == 'x'", "self.a ==", "self.a + 'x'", "other.a == 'x'", ""] {
            assert_eq!(refused(&json!({"rule": rule})).len(), 1, "{rule}");
        }
    }

    #[test]
    fn what_a_real_server_has_and_this_one_has_not_is_refused_by_name() {
        for (rule, name) in [
            ("invented(self.a)", "'invented'"),
            ("type(self.a) == string", "'type'"),
            ("duration('1h') > duration(self.a)", "'duration'"),
            ("timestamp(self.a).getHours() < 5", "'timestamp'"),
            ("self.a.isLessThan(quantity('1Gi'))", "'quantity'"),
            ("true || isQuantity(self.a)", "'isQuantity'"),
            ("self.n == 1 ? true : url(self.a).getHost() == 'x'", "'url'"),
            ("[1, 2].all(n, uint(n) > uint(0))", "'uint'"),
            ("self.n > 5u", "5u"),
            ("b'x' == b'x'", "bytes"),
            ("has(self.since) && self.since > '2026'", "'date-time'"),
            ("self.times.all(time, time != '0s')", "'duration'"),
            ("self.times[0] != '0s'", "'duration'"),
        ] {
            let said = refused(&json!({"rule": rule})).join(" ");
            assert!(said.starts_with("s.x-kubernetes-validations[0].rule: ") && said.contains(name), "{rule}: {said}");
        }
        assert_eq!(refused(&json!({"rule": "has(self.since) && self.times.size() < 3"})), [""; 0], "their values are not asked for");
    }

    #[test]
    fn a_message_that_could_never_be_computed_is_refused_with_its_crd() {
        let message = |message: &str| refused(&json!({"rule": "self.a == 'x'", "messageExpression": message})).join(" ");
        assert_eq!((message("'it is ' + self.a"), message("")), (String::new(), String::new()));
        assert!(message(" ").contains("must be non-empty if specified"));
        for (wrong, why) in
            [("'it is ' + self.b", "'b'"), ("format(self.a)", "'format'"), ("1", "string"), ("self.n", "string"), ("'", "compilation")]
        {
            let said = message(wrong);
            assert!(said.starts_with("s.x-kubernetes-validations[0].messageExpression: ") && said.contains(why), "{wrong}: {said}");
        }
    }

    #[test]
    fn a_rule_that_would_never_end_is_ended() {
        let long = json!((0..300).collect::<Vec<_>>());
        let rule = "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))";
        assert!(holds(rule, long).is_some_and(|said| said.contains("cost")), "it is ended");
    }
}
