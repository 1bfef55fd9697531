//! Quantities of faults: `5%`, `0.0001%`, `10mbit`.

use serde::de::{Deserialize, Deserializer, Error};

use crate::fault::Chance;

/// Percent with up to four decimals, more than none and at most all.
#[derive(Clone, Copy, Debug)]
pub(super) struct PercentText(pub(super) Chance);

/// Decimal digits of a percentage: what a [`Chance`] can hold.
const DECIMALS: usize = 4;

impl PercentText {
    fn read(text: &str) -> Result<Self, String> {
        let refused =
            || format!("`{text}` is not a share: expected more than 0% and at most 100%, with at most four decimals, as in 5% or 0.1%");
        let number = text.strip_suffix('%').ok_or_else(refused)?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || whole.len() > 3 || decimals.len() > DECIMALS {
            return Err(refused());
        }
        let value: u32 = format!("{whole}{decimals:0<DECIMALS$}").parse().map_err(|_| refused())?;
        let chance = Chance(value);
        if chance == Chance::default() || chance > Chance::CERTAIN { Err(refused()) } else { Ok(Self(chance)) }
    }
}

impl<'de> Deserialize<'de> for PercentText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(&String::deserialize(deserializer)?).map_err(Error::custom)
    }
}

/// Bits a second: `64kbit`, `10mbit`, `1gbit`, in units of 1000 as `tc` has them.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateText(pub(super) u64);

/// As fast as an Ethernet gets: 400GBASE-R.
const FASTEST: u64 = 400_000_000_000;

impl RateText {
    fn read(text: &str) -> Result<Self, String> {
        let refused =
            || format!("`{text}` is not a rate: expected a whole number and a unit from 1kbit to 400gbit, as in 64kbit, 10mbit or 1gbit");
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
        let (number, unit) = text.split_at(split);
        let unit: u64 = match unit {
            "kbit" => 1_000,
            "mbit" => 1_000_000,
            "gbit" => 1_000_000_000,
            _ => return Err(refused()),
        };
        let rate = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        rate.filter(|rate| (1..=FASTEST).contains(rate)).map(Self).ok_or_else(refused)
    }
}

impl<'de> Deserialize<'de> for RateText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(&String::deserialize(deserializer)?).map_err(Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_up_to_four_decimals() {
        for (text, millionths) in
            [("5%", 50_000), ("0.1%", 1_000), ("0.0001%", 1), ("100%", 1_000_000), ("100.0%", 1_000_000), ("12.5%", 125_000)]
        {
            assert_eq!(PercentText::read(text).map(|share| share.0), Ok(Chance(millionths)), "{text}");
        }
        for text in
            ["", "%", "5", "0%", "0.0000%", "101%", "100.0001%", "-1%", ".5%", "5.%", "0.00001%", "1e1%", "5 %", "٥%", "4294967295%"]
        {
            assert!(PercentText::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_has_a_unit() {
        for (text, rate) in [("64kbit", 64_000), ("10mbit", 10_000_000), ("1gbit", 1_000_000_000)] {
            assert_eq!(RateText::read(text).map(|rate| rate.0), Ok(rate), "{text}");
        }
        for text in ["", "10", "10Mbit", "0kbit", "401gbit", "1.5mbit", "18446744073709551615gbit", "mbit"] {
            assert!(RateText::read(text).is_err(), "{text}");
        }
    }
}
