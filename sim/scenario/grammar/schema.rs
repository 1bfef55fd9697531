//! The grammar as a JSON Schema, for editors: made from the types that read files, so that it cannot say anything else.
//!
//! It knows shapes and keys. Whether a name exists and a window has a length is known only to the checks.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::file;
use super::quantities::{PercentText, RateText};
use super::values::{MacText, OneOrMany, TargetText};
use crate::duration::Text as DurationText;
use crate::scenario::Latency;

/// The schema of a scenario file, ready to print.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(file::File);
    schema.insert("title".to_owned(), "A scenario of Bellhop".into());
    schema.to_value()
}

/// A type that is written as a text of some form.
macro_rules! texts {
    ($($type:ty, $name:literal, $about:literal, $pattern:literal;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "description": $about, "type": "string", "pattern": $pattern })
            }
        }
    )*};
}

/// A MAC address.
pub(super) struct Mac;
/// An IPv4 prefix.
pub(super) struct Prefix4;
/// An IPv6 prefix.
pub(super) struct Prefix6;
/// An address with its prefix length.
pub(super) struct AddressWithLength;

texts! {
    DurationText, "Duration", "A number and a unit: 500ms, 2s, 1.5m.", r"^[0-9]+(\.[0-9]{1,9})?(ns|us|ms|s|m|h)$";
    Latency, "Latency", "A delay, or a range of them: 50us, 50us..200us.", r"^[0-9]+(\.[0-9]{1,9})?(ns|us|ms|s|m|h)(\.\.[0-9]+(\.[0-9]{1,9})?(ns|us|ms|s|m|h))?$";
    PercentText, "Percent", "A share: 5%, 0.1%; up to four decimals.", r"^[0-9]{1,3}(\.[0-9]{1,4})?%$";
    RateText, "Rate", "Bits a second: 64kbit, 10mbit, 1gbit.", r"^[0-9]+(k|m|g)bit$";
    Mac, "Mac", "A MAC address, in quotes.", r"^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$";
    Prefix4, "Prefix4", "An IPv4 prefix: 192.168.0.0/24.", r"^[0-9.]+/[0-9]+$";
    Prefix6, "Prefix6", "An IPv6 prefix: 2001:db8::/64.", r"^[0-9A-Fa-f:.]+/[0-9]+$";
    AddressWithLength, "AddressWithLength", "An address with its prefix length: 192.168.0.3/24.", r"^[0-9A-Fa-f:.]+/[0-9]+$";
}

impl JsonSchema for TargetText {
    fn schema_name() -> Cow<'static, str> {
        "Target".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A machine's name, leader, { node-of: SERVICE } or { same-as: STEP }.",
            "oneOf": [
                { "type": "string" },
                { "type": "object", "properties": { "node-of": { "type": "string" } }, "required": ["node-of"], "additionalProperties": false },
                { "type": "object", "properties": { "same-as": { "type": "string" } }, "required": ["same-as"], "additionalProperties": false },
            ],
        })
    }
}

impl JsonSchema for MacText {
    fn schema_name() -> Cow<'static, str> {
        "MacOrOwner".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (mac, target) = (generator.subschema_for::<Mac>(), generator.subschema_for::<TargetText>());
        json_schema!({
            "description": "A MAC address in quotes, { node-of: SERVICE } or { mac-of: MACHINE }.",
            "oneOf": [
                mac,
                { "type": "object", "properties": { "node-of": { "type": "string" } }, "required": ["node-of"], "additionalProperties": false },
                { "type": "object", "properties": { "mac-of": target }, "required": ["mac-of"], "additionalProperties": false },
            ],
        })
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "description": "One, or a list of them.", "anyOf": [one, { "type": "array", "items": one }] })
    }
}
