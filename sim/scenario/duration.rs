//! Durations as scenario files write them: `500ms`, `2s`, `50us`, `2m`, `1h`, `50us..200us`, and how transcripts print them.
//!
//! A number without a unit is refused, whole numbers and decimals are taken; nothing is longer than a day.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};

use crate::scenario::Latency;

/// Longer than any scenario: a day.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads `500ms`, `2s`, `1.5s`, `2m`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let refused =
        || format!("`{text}` is not a duration: expected a number and a unit, as in 500ms, 2s or 1m (units: ns, us, ms, s, m, h)");
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refused)?;
    let (number, unit) = text.split_at(split);
    let nanoseconds: u64 = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(refused()),
    };
    let total = scaled(number, nanoseconds).ok_or_else(refused)?;
    if total > LONGEST { Err(format!("`{text}` is too long: expected at most 24h")) } else { Ok(total) }
}

/// `number` (digits, perhaps with a fraction) times `nanoseconds`, exactly.
fn scaled(number: &str, nanoseconds: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(nanoseconds)?;
    let divisor = 10u64.pow(u32::try_from(fraction.len()).ok()?);
    // Below 10^9 × 3.6·10^12, which fits u128.
    let fraction = u128::from(fraction.parse::<u64>().ok()?) * u128::from(nanoseconds) / u128::from(divisor);
    Some(Duration::from_nanos(whole.checked_add(u64::try_from(fraction).ok()?)?))
}

/// A [`Duration`] in a file.
pub struct Text(pub Duration);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map(Self).map_err(Error::custom)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (min, max) = text.split_once("..").unwrap_or((&text, &text));
        let (min, max) = (parse(min).map_err(Error::custom)?, parse(max).map_err(Error::custom)?);
        if min > max {
            return Err(Error::custom(format!("`{text}` is reversed: expected the shorter delay first")));
        }
        Ok(Self { min, max })
    }
}

/// `1.25s`, `350ms`: the way reports say a duration; whole milliseconds, rounded up, because a bound that is missed by less is missed.
pub fn words(duration: Duration) -> String {
    let milliseconds = duration.as_nanos().div_ceil(1_000_000);
    if milliseconds < 1000 {
        return format!("{milliseconds}ms");
    }
    let text = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// `t+10.250s`: a moment of the scenario, cut to milliseconds.
pub fn moment(at: Duration) -> String {
    format!("t+{}.{:03}s", at.as_secs(), at.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "5", "s", "-1s", "1.s", ".5s", "1e3s", "1 s", "5d", "25h", "99999999999999999999s", "1..2s", "1.0000000001s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn words_round_up_to_milliseconds() {
        assert_eq!(words(Duration::from_micros(1)), "1ms");
        assert_eq!(words(Duration::from_millis(1250)), "1.25s");
        assert_eq!(words(Duration::from_secs(60)), "60s");
    }
}
