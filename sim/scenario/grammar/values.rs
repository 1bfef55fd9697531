//! Small values of the grammar that are more than a text: targets, anchors, MACs, one-or-many.

use std::fmt;
use std::marker::PhantomData;

use bellhop_core::mac::MacAddr;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::action::Target;

/// `{}`: an action without anything to say.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// `worker-p001`, `leader`, `{ node-of: SERVICE }`, `{ same-as: STEP }`.
pub(super) struct TargetText(pub(super) Target);

impl<'de> Deserialize<'de> for TargetText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TargetVisitor;
        impl<'de> Visitor<'de> for TargetVisitor {
            type Value = TargetText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a machine's name, leader, { node-of: SERVICE } or { same-as: STEP }")
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<TargetText, E> {
                Ok(TargetText(if name == "leader" { Target::Leader } else { Target::Machine(name.to_owned()) }))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TargetText, A::Error> {
                #[derive(serde::Deserialize)]
                #[serde(rename_all = "kebab-case", expecting = "{ node-of: SERVICE } or { same-as: STEP }")]
                enum By {
                    NodeOf(String),
                    SameAs(String),
                }
                Ok(TargetText(match By::deserialize(MapAccessDeserializer::new(map))? {
                    By::NodeOf(service) => Target::NodeOf(service),
                    By::SameAs(step) => Target::SameAs(step),
                }))
            }
        }
        deserializer.deserialize_any(TargetVisitor)
    }
}

/// A MAC address, or `{ node-of: SERVICE }`, or `{ mac-of: MACHINE }`.
pub(super) enum MacText {
    /// By value.
    Is(MacAddr),
    /// By whose it is.
    Of(Target),
}

impl<'de> Deserialize<'de> for MacText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MacVisitor;
        impl<'de> Visitor<'de> for MacVisitor {
            type Value = MacText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a MAC address in quotes, { node-of: SERVICE } or { mac-of: MACHINE }")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<MacText, E> {
                text.parse().map(MacText::Is).map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MacText, A::Error> {
                #[derive(serde::Deserialize)]
                #[serde(rename_all = "kebab-case", expecting = "{ node-of: SERVICE } or { mac-of: MACHINE }")]
                enum By {
                    NodeOf(String),
                    MacOf(TargetText),
                }
                Ok(MacText::Of(match By::deserialize(MapAccessDeserializer::new(map))? {
                    By::NodeOf(service) => Target::NodeOf(service),
                    By::MacOf(target) => target.0,
                }))
            }
        }
        deserializer.deserialize_any(MacVisitor)
    }
}

/// `x` or `[x, y]`.
pub(super) struct OneOrMany<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ManyVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ManyVisitor<T> {
            type Value = OneOrMany<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one value or a list of them")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMany<T>, E> {
                T::deserialize(StrDeserializer::new(text)).map(|one| OneOrMany(vec![one]))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMany<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrMany(vec![one]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany<T>, A::Error> {
                let mut many = Vec::new();
                while let Some(one) = list.next_element()? {
                    many.push(one);
                }
                Ok(OneOrMany(many))
            }
        }
        deserializer.deserialize_any(ManyVisitor(PhantomData))
    }
}
