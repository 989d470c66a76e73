//! `--legacy-sunset`: a day, or an HTTP date.

use std::time::{Duration, SystemTime};

const DAY: u64 = 24 * 3600;

/// Parses `2027-01-31` (its first moment, UTC) or `Sun, 31 Jan 2027 00:00:00 GMT`.
///
/// # Errors
/// What is accepted instead.
pub(super) fn parse(text: &str) -> Result<SystemTime, String> {
    let expected = || "expected a day such as 2027-01-31, or an HTTP date".to_owned();
    if let Ok(date) = httpdate::parse_http_date(text) {
        return Ok(date);
    }
    let mut parts = text.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let mut next = || parts.next().flatten().ok_or_else(expected);
    let (year, month, day) = (next()?, next()?, next()?);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let february = if is_leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month_index =
        usize::try_from(month).ok().and_then(|month| month.checked_sub(1)).ok_or_else(expected)?;
    let length = *lengths.get(month_index).ok_or_else(expected)?;
    if !(1970..10_000).contains(&year) || !(1..=length).contains(&day) {
        return Err(expected());
    }
    let years: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let months: u64 = lengths[..month_index].iter().sum();
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs((years + months + day - 1) * DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_its_first_moment() {
        for (text, shown) in [
            ("2027-01-31", "Sun, 31 Jan 2027 00:00:00 GMT"),
            ("2028-02-29", "Tue, 29 Feb 2028 00:00:00 GMT"),
            ("Tue, 01 Feb 2028 10:00:00 GMT", "Tue, 01 Feb 2028 10:00:00 GMT"),
        ] {
            assert_eq!(httpdate::fmt_http_date(parse(text).unwrap()), shown);
        }
        for text in
            ["", "2027", "2027-13-01", "2027-02-29", "2027-00-01", "2027-01-00", "soon", "2027-01-31T00:00Z"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
