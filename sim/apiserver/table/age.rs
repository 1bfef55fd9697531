//! Ages, as kubectl shows them: apimachinery `pkg/util/duration.HumanDuration`.

use jiff::Timestamp;

/// How long ago an RFC 3339 time was; `<unknown>` where there is none.
pub(super) fn since(time: &str, now: Timestamp) -> String {
    time.parse::<Timestamp>().map_or_else(|_| "<unknown>".to_owned(), |then| human(now.duration_since(then).as_secs()))
}

/// `HumanDuration` of whole seconds.
pub(super) fn human(seconds: i64) -> String {
    const DAY: i64 = 24;
    const YEAR: i64 = 365 * DAY;
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        ..-1 => return "<invalid>".to_owned(),
        -1 => return "0s".to_owned(),
        0..120 => return format!("{seconds}s"),
        _ => {}
    }
    let two = |first: i64, unit: &str, second: i64, small: &str| {
        if second == 0 { format!("{first}{unit}") } else { format!("{first}{unit}{second}{small}") }
    };
    match (minutes, hours) {
        (0..10, _) => two(minutes, "m", seconds % 60, "s"),
        (10..180, _) => format!("{minutes}m"),
        (_, ..8) => two(hours, "h", minutes % 60, "m"),
        (_, 8..48) => format!("{hours}h"),
        (_, hours) if hours < 8 * DAY => two(hours / DAY, "d", hours % DAY, "h"),
        (_, hours) if hours < 2 * YEAR => format!("{}d", hours / DAY),
        (_, hours) if hours < 8 * YEAR => two(hours / YEAR, "y", hours / DAY % 365, "d"),
        (_, hours) => format!("{}y", hours / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_lose_precision_as_they_grow() {
        let cases = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_100, "3h5m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
        ];
        for (seconds, said) in cases {
            assert_eq!(human(seconds), said);
        }
    }
}
