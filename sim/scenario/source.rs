//! A scenario's text as data: read into a value, changed, and printed as YAML that a person reads.
//!
//! What draws scenarios, and what shrinks them, works on the lists of such a value (`timeline`, `expect`) and reads the text again with
//! [`crate::parse_in`]: so everything that is played went through the one grammar. Comments are lost.

use std::path::Path;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;
use serde_saphyr::{FlowMap, FlowSeq};

use crate::grammar::{Refusal, read_value};

/// Reads a text as data. What the grammar says of it is not asked, except for its bounds.
pub fn from_yaml(text: &str) -> Result<Value, Refusal> {
    read_value(Path::new("scenario.yaml"), text)
}

/// Prints data as YAML: keys in the order in which people write them, small maps and lists on one line.
pub fn to_yaml(value: &Value) -> String {
    serde_saphyr::to_string(&Ordered { value, depth: 0 }).expect("JSON values are YAML, and a String takes every write")
}

/// Keys in the order of a file; others follow, in order of name.
const ORDER: [&str; 40] = [
    "version",
    "name",
    "about",
    "why",
    "extends",
    "folder",
    "seed",
    "stop",
    "topology",
    "cluster",
    "timeline",
    "expect",
    "at",
    "id",
    "what",
    "eventually",
    "always",
    "never",
    "machine",
    "replica",
    "between",
    "nic",
    "from",
    "to",
    "client",
    "dst",
    "address",
    "deployment",
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    "status",
    "segments",
    "switches",
    "uplinks",
    "routers",
    "nodes",
    "clients",
    "for",
];
/// `for` closes a fault.
const LAST: &str = "for";
/// Entries of a map or list on one line.
const MOST_ON_ONE_LINE: usize = 5;
/// Letters of one line.
const LONGEST_LINE: usize = 100;
/// The file itself, its parts and the entries of a list in them are never on one line.
const NEVER_ON_ONE_LINE: usize = 2;

/// A value that is printed in that order.
struct Ordered<'a> {
    value: &'a Value,
    depth: usize,
}

impl Ordered<'_> {
    /// Whether it is small enough for one line.
    fn on_one_line(&self) -> bool {
        let scalar = |value: &Value| !value.is_object() && !value.is_array();
        let small = match self.value {
            Value::Object(fields) => fields.len() <= MOST_ON_ONE_LINE && fields.values().all(scalar),
            Value::Array(items) => items.len() <= MOST_ON_ONE_LINE && items.iter().all(scalar),
            _ => false,
        };
        small && self.depth > NEVER_ON_ONE_LINE && self.value.to_string().len() <= LONGEST_LINE
    }
}

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let plain = Plain { value: self.value, depth: self.depth };
        match self.value {
            Value::Object(_) if self.on_one_line() => FlowMap(plain).serialize(serializer),
            Value::Array(_) if self.on_one_line() => FlowSeq(plain).serialize(serializer),
            _ => plain.serialize(serializer),
        }
    }
}

/// The same without the question whether it fits one line.
struct Plain<'a> {
    value: &'a Value,
    depth: usize,
}

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let below = |value| Ordered { value, depth: self.depth + 1 };
        match self.value {
            Value::Object(fields) => {
                let rank = |key: &str| match key {
                    LAST => ORDER.len() + 1,
                    key => ORDER.iter().position(|known| *known == key).unwrap_or(ORDER.len()),
                };
                let mut sorted: Vec<_> = fields.iter().collect();
                sorted.sort_by_key(|(key, _)| rank(key));
                let mut map = serializer.serialize_map(Some(sorted.len()))?;
                for (key, value) in sorted {
                    map.serialize_entry(key, &below(value))?;
                }
                map.end()
            }
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&below(item))?;
                }
                list.end()
            }
            scalar => scalar.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{files, parse, parse_in};

    #[test]
    fn every_scenario_file_is_the_same_after_a_way_through_data() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
        for file in files(&folder).unwrap() {
            let text = std::fs::read_to_string(&file).unwrap();
            let again = to_yaml(&from_yaml(&text).unwrap());
            let theirs = parse(&file, &again).unwrap_or_else(|refusal| panic!("{refusal}\n{again}"));
            assert_eq!(theirs, parse(&file, &text).unwrap(), "{again}");
            assert_eq!(theirs, parse_in(file.parent().unwrap(), &again).unwrap());
            assert_eq!(from_yaml(&again).unwrap(), from_yaml(&text).unwrap());
        }
    }

    #[test]
    fn it_prints_what_a_person_would_write() {
        let value = json!({
            "stop": "40s", "version": 1, "name": "probe",
            "timeline": [{ "freeze": { "for": "3s", "machine": "leader" }, "at": "0s" }, { "at": "2s", "apply": "all" }],
            "expect": [{ "what": "it is so", "node-of": { "service": "web", "is": ["worker-p001"] }, "always": {} }],
        });
        insta::assert_snapshot!(to_yaml(&value));
    }

    proptest! {
        #[test]
        fn any_text_in_a_value_comes_back(text in any::<String>(), key in "[ -~]{1,20}") {
            // What YAML itself cannot hold (control characters, unassigned line ends) is escaped by the printer.
            let value = json!({ "about": text, key: [text, { "k": text }, 0.5, -1, u64::MAX, null, true] });
            prop_assert_eq!(from_yaml(&to_yaml(&value)).ok(), Some(value));
        }
    }
}
