//! The operators and functions that rules may call, by name: the standard ones on JSON's types, text, lists, and Kubernetes' `ip` and `cidr`.
//!
//! An address or a network is text in its canonical form here, checked when it is made.

use std::net::IpAddr;

use super::value::Value;

type Result = std::result::Result<Value, String>;

/// Name, and whether it is called on something, of everything that [`call`] knows, beside operators.
const KNOWN: [(&str, bool); 36] = [
    ("size", false),
    ("size", true),
    ("int", false),
    ("double", false),
    ("string", false),
    ("contains", true),
    ("startsWith", true),
    ("endsWith", true),
    ("matches", true),
    ("lowerAscii", true),
    ("upperAscii", true),
    ("trim", true),
    ("split", true),
    ("join", true),
    ("replace", true),
    ("indexOf", true),
    ("lastIndexOf", true),
    ("substring", true),
    ("isSorted", true),
    ("sum", true),
    ("min", true),
    ("max", true),
    ("isIP", false),
    ("ip", false),
    ("isCIDR", false),
    ("cidr", false),
    ("family", true),
    ("isLoopback", true),
    ("isUnspecified", true),
    ("prefixLength", true),
    ("masked", true),
    ("ip", true),
    ("containsIP", true),
    ("hasValue", true),
    ("value", true),
    ("orValue", true),
];

/// Whether rules may call it.
pub(super) fn is_known(name: &str, member: bool) -> bool {
    let operator = !name.starts_with(|first: char| first.is_ascii_alphabetic()) && !matches!(name, "_?._" | "_[?_]");
    operator || KNOWN.contains(&(name, member))
}

/// Whether its value is surely no truth.
pub(super) fn is_no_truth(name: &str) -> bool {
    let truths = [
        "contains",
        "startsWith",
        "endsWith",
        "matches",
        "isSorted",
        "isIP",
        "isCIDR",
        "isLoopback",
        "isUnspecified",
        "containsIP",
        "hasValue",
    ];
    let arithmetic = matches!(name, "_+_" | "_-_" | "_*_" | "_/_" | "_%_" | "-_");
    let open = matches!(name, "value" | "orValue" | "min" | "max");
    arithmetic || (!truths.contains(&name) && !open && KNOWN.iter().any(|(known, _)| *known == name))
}

/// Calls an operator or a function; the first value is what a member is called on.
pub(super) fn call(name: &str, member: bool, values: &[Value]) -> Result {
    use Value::{Bool, Double, Int, List, Map, Optional, Text};
    match (name, values) {
        ("_==_", [left, right]) => Ok(Bool(left.equals(right))),
        ("_!=_", [left, right]) => Ok(Bool(!left.equals(right))),
        ("_<_" | "_<=_" | "_>_" | "_>=_", [left, right]) => compare(name, left, right),
        ("!_", [Bool(flag)]) => Ok(Bool(!flag)),
        ("-_", [Int(number)]) => number.checked_neg().map(Int).ok_or_else(|| "integer overflow".to_owned()),
        ("-_", [Double(number)]) => Ok(Double(-number)),
        ("_+_", [Text(left), Text(right)]) => Ok(Text(format!("{left}{right}"))),
        ("_+_", [List(left), List(right)]) => Ok(List(left.iter().chain(right).cloned().collect())),
        ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [left, right]) => arithmetic(name, left, right),
        ("@in", [item, List(list)]) => Ok(Bool(list.iter().any(|other| other.equals(item)))),
        ("@in", [Text(key), Map(map)]) => Ok(Bool(map.contains_key(key))),
        ("_[_]", [List(list), Int(index)]) => {
            let item = usize::try_from(*index).ok().and_then(|index| list.get(index));
            item.cloned().ok_or_else(|| format!("index out of bounds: {index}"))
        }
        ("_[_]", [Map(map), Text(key)]) => map.get(key).cloned().ok_or_else(|| format!("no such key: {key}")),
        ("size", [Text(text)]) => count(text.chars().count()),
        ("size", [List(list)]) => count(list.len()),
        ("size", [Map(map)]) => count(map.len()),
        ("hasValue", [Optional(value)]) => Ok(Bool(value.is_some())),
        ("value", [Optional(value)]) => value.as_deref().cloned().ok_or_else(|| "optional.none() dereference".to_owned()),
        ("orValue", [Optional(value), other]) => Ok(value.as_deref().cloned().unwrap_or_else(|| other.clone())),
        ("int" | "double" | "string", [value]) => convert(name, value),
        ("isSorted" | "sum" | "min" | "max", [List(list)]) => over(name, list),
        ("join", [List(list), rest @ ..]) => join(list, rest),
        (_, [Text(text), rest @ ..]) => of_text(name, member, text, rest),
        _ => Err(no_overload(name, values)),
    }
}

fn no_overload(name: &str, values: &[Value]) -> String {
    let types: Vec<&str> = values.iter().map(Value::type_name).collect();
    format!("found no matching overload for '{name}' applied to '({})'", types.join(", "))
}

fn count(size: usize) -> Result {
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

fn compare(name: &str, left: &Value, right: &Value) -> Result {
    use Value::{Bool, Double, Int, Text};
    let order = match (left, right) {
        (Int(left), Int(right)) => Some(left.cmp(right)),
        (Text(left), Text(right)) => Some(left.cmp(right)),
        (Bool(left), Bool(right)) => Some(left.cmp(right)),
        (Double(left), Double(right)) => left.partial_cmp(right),
        (Int(left), Double(right)) => (*left as f64).partial_cmp(right),
        (Double(left), Int(right)) => left.partial_cmp(&(*right as f64)),
        _ => return Err(no_overload(name, &[left.clone(), right.clone()])),
    };
    Ok(Bool(order.is_some_and(|order| match name {
        "_<_" => order.is_lt(),
        "_<=_" => order.is_le(),
        "_>_" => order.is_gt(),
        _ => order.is_ge(),
    })))
}

fn arithmetic(name: &str, left: &Value, right: &Value) -> Result {
    use Value::{Double, Int};
    match (left, right) {
        (Int(_), Int(0)) if matches!(name, "_/_" | "_%_") => Err("division by zero".to_owned()),
        (Int(left), Int(right)) => {
            let result = match name {
                "_+_" => left.checked_add(*right),
                "_-_" => left.checked_sub(*right),
                "_*_" => left.checked_mul(*right),
                "_/_" => left.checked_div(*right),
                _ => left.checked_rem(*right),
            };
            result.map(Int).ok_or_else(|| "integer overflow".to_owned())
        }
        (Double(left), Double(right)) if name != "_%_" => Ok(Double(match name {
            "_+_" => left + right,
            "_-_" => left - right,
            "_*_" => left * right,
            _ => left / right,
        })),
        _ => Err(no_overload(name, &[left.clone(), right.clone()])),
    }
}

fn convert(name: &str, value: &Value) -> Result {
    use Value::{Bool, Double, Int, Text};
    match (name, value) {
        ("int", Int(number)) => Ok(Int(*number)),
        ("int", Double(number)) if number.abs() < 9.0e18 => Ok(Int(number.trunc() as i64)),
        ("int", Text(text)) => text.parse().map(Int).map_err(|error| format!("type conversion error: {error}")),
        ("double", Int(number)) => Ok(Double(*number as f64)),
        ("double", Double(number)) => Ok(Double(*number)),
        ("double", Text(text)) => text.parse().map(Double).map_err(|error| format!("type conversion error: {error}")),
        ("string", Text(text)) => Ok(Text(text.clone())),
        ("string", Int(number)) => Ok(Text(number.to_string())),
        ("string", Double(number)) => Ok(Text(number.to_string())),
        ("string", Bool(flag)) => Ok(Text(flag.to_string())),
        _ => Err(no_overload(name, std::slice::from_ref(value))),
    }
}

fn over(name: &str, list: &[Value]) -> Result {
    let less = |left: &Value, right: &Value| compare("_<_", left, right).map(|less| less == Value::Bool(true));
    match name {
        "isSorted" => {
            for pair in list.windows(2) {
                if less(&pair[1], &pair[0])? {
                    return Ok(Value::Bool(false));
                }
            }
            Ok(Value::Bool(true))
        }
        "sum" => list
            .iter()
            .try_fold(None, |sum: Option<Value>, item| {
                Ok::<_, String>(Some(match sum {
                    None => item.clone(),
                    Some(sum) => arithmetic("_+_", &sum, item)?,
                }))
            })
            .map(|sum| sum.unwrap_or(Value::Int(0))),
        _ => {
            let mut items = list.iter();
            let mut best = items.next().ok_or_else(|| format!("{name} called on empty list"))?;
            for item in items {
                let better = if name == "min" { less(item, best)? } else { less(best, item)? };
                best = if better { item } else { best };
            }
            Ok(best.clone())
        }
    }
}

fn join(list: &[Value], rest: &[Value]) -> Result {
    let separator = match rest {
        [] => "",
        [Value::Text(separator)] => separator,
        _ => return Err(no_overload("join", rest)),
    };
    let text = |value: &Value| if let Value::Text(text) = value { Ok(text.clone()) } else { Err(no_overload("join", list)) };
    Ok(Value::Text(list.iter().map(text).collect::<std::result::Result<Vec<_>, _>>()?.join(separator)))
}

fn of_text(name: &str, member: bool, text: &str, rest: &[Value]) -> Result {
    use Value::{Bool, Int, List, Text};
    let found = |at: Option<usize>| Ok(Int(at.map_or(-1, |at| text[..at].chars().count() as i64)));
    match (name, rest) {
        ("contains", [Text(part)]) => Ok(Bool(text.contains(part.as_str()))),
        ("startsWith", [Text(part)]) => Ok(Bool(text.starts_with(part.as_str()))),
        ("endsWith", [Text(part)]) => Ok(Bool(text.ends_with(part.as_str()))),
        ("matches", [Text(pattern)]) => {
            regex::Regex::new(pattern).map(|regex| Bool(regex.is_match(text))).map_err(|error| error.to_string())
        }
        ("lowerAscii", []) => Ok(Text(text.to_ascii_lowercase())),
        ("upperAscii", []) => Ok(Text(text.to_ascii_uppercase())),
        ("trim", []) => Ok(Text(text.trim().to_owned())),
        // As Go does: by nothing, into the letters.
        ("split", [Text(separator)]) if separator.is_empty() => Ok(List(text.chars().map(|letter| Text(letter.to_string())).collect())),
        ("split", [Text(separator)]) => Ok(List(text.split(separator.as_str()).map(|part| Text(part.to_owned())).collect())),
        ("replace", [Text(from), Text(to)]) => Ok(Text(text.replace(from.as_str(), to))),
        ("indexOf", [Text(part)]) => found(text.find(part.as_str())),
        ("lastIndexOf", [Text(part)]) => found(text.rfind(part.as_str())),
        ("substring", [Int(start)]) => substring(text, *start, i64::MAX),
        ("substring", [Int(start), Int(end)]) => substring(text, *start, *end),
        ("isIP", []) => Ok(Bool(address(text).is_ok())),
        ("isCIDR", []) => Ok(Bool(network(text).is_ok())),
        ("ip", []) if member => network(text).map(|(address, _)| Text(address.to_string())),
        ("ip", []) => address(text).map(|address| Text(address.to_string())),
        ("cidr", []) => network(text).map(|(address, length)| Text(format!("{address}/{length}"))),
        ("family", []) => address(text).map(|address| Int(if address.is_ipv4() { 4 } else { 6 })),
        ("isLoopback", []) => address(text).map(|address| Bool(address.is_loopback())),
        ("isUnspecified", []) => address(text).map(|address| Bool(address.is_unspecified())),
        ("prefixLength", []) => network(text).map(|(_, length)| Int(i64::from(length))),
        ("masked", []) => network(text).map(|(address, length)| Text(format!("{}/{length}", mask(address, length)))),
        ("containsIP", [Text(other)]) => {
            let ((own, length), other) = (network(text)?, address(other)?);
            Ok(Bool(own.is_ipv4() == other.is_ipv4() && mask(own, length) == mask(other, length)))
        }
        _ => Err(no_overload(name, rest)),
    }
}

fn substring(text: &str, start: i64, end: i64) -> Result {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let end = if end == i64::MAX { length } else { end };
    if start < 0 || end < start || end > length {
        return Err("index out of range".to_owned());
    }
    let (skip, take) = (usize::try_from(start).unwrap_or_default(), usize::try_from(end - start).unwrap_or_default());
    Ok(Value::Text(text.chars().skip(skip).take(take).collect()))
}

fn address(text: &str) -> std::result::Result<IpAddr, String> {
    let address = text.parse().map_err(|_| format!("IP Address {text:?} parse error during conversion from string"))?;
    unmapped(address)
}

/// An IPv4 address in the dress of IPv6 is none to Kubernetes.
fn unmapped(address: IpAddr) -> std::result::Result<IpAddr, String> {
    match address {
        IpAddr::V6(mapped) if mapped.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {:?} is not allowed", mapped.to_string()))
        }
        address => Ok(address),
    }
}

fn network(text: &str) -> std::result::Result<(IpAddr, u8), String> {
    let refuse = || format!("network address parse error during conversion from string: {text:?}");
    let (address, length) = text.split_once('/').ok_or_else(refuse)?;
    let address = unmapped(address.parse().map_err(|_| refuse())?)?;
    let canonical = length == "0" || !length.starts_with(['0', '+']);
    let length: u8 = length.parse().ok().filter(|_| canonical).ok_or_else(refuse)?;
    if length > if address.is_ipv4() { 32 } else { 128 } { Err(refuse()) } else { Ok((address, length)) }
}

fn mask(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let kept = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4((u32::from(address) & kept).into())
        }
        IpAddr::V6(address) => {
            let kept = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6((u128::from(address) & kept).into())
        }
    }
}
