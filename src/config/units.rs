//! How durations and sizes are written.

use std::time::Duration;

/// The longest duration that can be configured: longer ones are mistakes.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// `250ms`, `90s`, `5m`, `1h`, `2d`; whole numbers; a unit is needed unless it is 0.
///
/// # Errors
/// What is accepted instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a duration such as 250ms, 90s, 5m or 1h".to_owned();
    let (number, unit) = split(text);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let seconds = |factor: u64| number.checked_mul(factor).map(Duration::from_secs);
    let duration = match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        "d" => seconds(24 * 3600),
        "" if number == 0 => Some(Duration::ZERO),
        _ => return Err(expected()),
    };
    duration.filter(|duration| *duration <= DURATION_MAX).ok_or_else(|| "expected at most 366d".to_owned())
}

/// The same, but not zero.
///
/// # Errors
/// What is accepted instead.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("expected a duration longer than 0".into()),
        duration => Ok(duration),
    }
}

/// `1000`, `64KiB`, `1MiB`, `2GiB`, and the decimal `kB`, `MB`, `GB`; in bytes.
///
/// # Errors
/// What is accepted instead.
pub fn size(text: &str) -> Result<usize, String> {
    let expected = || "expected a size such as 1000, 64KiB or 1MiB".to_owned();
    let (number, unit) = split(text);
    let number: usize = number.parse().map_err(|_| expected())?;
    let factor = match unit {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(expected()),
    };
    number.checked_mul(factor).ok_or_else(|| "expected a size that fits into memory".to_owned())
}

/// A duration as it is written: the largest unit that fits.
#[must_use]
pub fn show(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis >= length && millis.is_multiple_of(length) {
            return format!("{}{unit}", millis / length);
        }
    }
    format!("{millis}ms")
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, millis) in [("250ms", 250), ("90s", 90_000), ("5m", 300_000), ("1h", 3_600_000), ("0", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1.5s", "1 s", "10x", "5S", "99999999999999999999s", "400d"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(positive_duration("0s").is_err());
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        for (text, bytes) in [("1000", 1_000), ("64KiB", 65_536), ("1MiB", 1 << 20), ("1kB", 1_000), ("0", 0)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "1M", "1mib", "1.5MiB", "-1", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_shows_as_it_was_written() {
        for text in ["250ms", "90s", "5m", "1h", "2d"] {
            assert_eq!(show(duration(text).unwrap()), text);
        }
    }
}
