//! A value of a file with the place where it stands.
//!
//! serde-saphyr's own type with one thing more: in a schema it is the value that it holds.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer};
use serde_saphyr::Location;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Spanned<T> {
    pub(super) value: T,
    /// Where it is used: for an alias that of the alias.
    pub(super) referenced: Location,
    /// Where it is written.
    pub(super) defined: Location,
}

impl<T> Spanned<T> {
    pub(super) fn new(value: T, referenced: Location, defined: Location) -> Self {
        Self { value, referenced, defined }
    }

    /// Another value in the same place.
    pub(super) fn with<U>(&self, value: U) -> Spanned<U> {
        Spanned { value, referenced: self.referenced, defined: self.defined }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { value: spanned.value, referenced: spanned.referenced, defined: spanned.defined })
    }
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
