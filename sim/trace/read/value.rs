//! Values of a trace's lines, as what they should be: each says which key is wrong, and with what.

use std::collections::BTreeMap;

use bellhop_fabric::FRAME_LENGTH_MAX;
use serde_json::Value;

use crate::trace::record::{ObjectKey, ProgramChange};

pub(super) fn named(names: &BTreeMap<String, usize>, value: &Value, key: &str) -> Result<usize, String> {
    let name = value[key].as_str().ok_or_else(|| format!("`{key}`: expected a text"))?;
    names.get(name).copied().ok_or_else(|| format!("`{key}`: the first line knows no {name}"))
}

pub(super) fn number(value: &Value, key: &str) -> Result<u64, String> {
    value[key].as_u64().ok_or_else(|| format!("`{key}`: expected a whole number"))
}

/// A number of fewer bits.
pub(super) fn small<N: TryFrom<u64>>(value: &Value, key: &str) -> Result<N, String> {
    N::try_from(number(value, key)?).map_err(|_| format!("`{key}`: the number is too large"))
}

pub(super) fn index(value: &Value, key: &str) -> Result<usize, String> {
    small(value, key)
}

pub(super) fn flag(value: &Value, key: &str) -> Result<bool, String> {
    value[key].as_bool().ok_or_else(|| format!("`{key}`: expected true or false"))
}

pub(super) fn text(value: &Value, key: &str) -> Result<String, String> {
    value[key].as_str().map(str::to_owned).ok_or_else(|| format!("`{key}`: expected a text"))
}

pub(super) fn optional(value: &Value, key: &str) -> Result<Option<String>, String> {
    if value[key].is_null() { Ok(None) } else { text(value, key).map(Some) }
}

pub(super) fn parsed<T: std::str::FromStr>(value: &Value, key: &str) -> Result<T, String> {
    let text = value[key].as_str().ok_or_else(|| format!("`{key}`: expected a text"))?;
    text.parse().map_err(|_| format!("`{key}`: `{text}` is not what stands there: expected an address"))
}

pub(super) fn object_key(value: &Value) -> Result<ObjectKey, String> {
    Ok(ObjectKey { resource: text(value, "resource")?, namespace: text(value, "namespace")?, name: text(value, "name")? })
}

pub(super) fn change(value: &Value) -> Result<ProgramChange, String> {
    Ok(match value["change"].as_str() {
        Some("started") => ProgramChange::Started,
        Some("ended") => ProgramChange::Ended,
        Some("failed") => ProgramChange::Failed(text(value, "words")?),
        Some("killed") => ProgramChange::Killed,
        Some("frozen") => ProgramChange::Frozen,
        Some("thawed") => ProgramChange::Thawed,
        _ => return Err("`change`: expected started, ended, failed, killed, frozen or thawed".to_owned()),
    })
}

pub(super) fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let wrong = || "`bytes`: expected pairs of hexadecimal digits".to_owned();
    if hex.len() > 2 * FRAME_LENGTH_MAX {
        return Err(format!("`bytes`: longer than a frame of {FRAME_LENGTH_MAX} bytes"));
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?)).collect::<Option<_>>().ok_or_else(wrong)
}
