//! Writes numbers and times for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns a number with separators between thousands: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a part of a whole in percent: `12.3 %`. A part that is not all is never shown as 100 %, and one that is not nothing
/// never as 0 %.
pub fn percent(part: f64) -> String {
    match part {
        part if part > 0.0 && part < 0.0005 => "<0.1 %".to_owned(),
        part if part < 1.0 && part > 0.9995 => ">99.9 %".to_owned(),
        part => format!("{:.1} %", part * 100.0),
    }
}

/// Returns a duration in microseconds with three digits: `850 µs`, `1.25 ms`, `12.5 s`, `5m 13s`.
pub fn duration(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..999_500 => three_digits(micros as f64 / 1e3, "ms"),
        999_500..60_000_000 => three_digits(micros as f64 / 1e6, "s"),
        60_000_000..3_600_000_000 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600_000_000..86_400_000_000 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", count(seconds / 86_400), seconds / 3600 % 24),
    }
}

/// Returns a number of bytes with three digits: `512 B`, `64.0 KiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 999.5 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    three_digits(size, UNITS[unit])
}

/// Returns a rate in tasks per second.
pub fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate >= 100.0 => format!("{} tasks/s", count(rate.round() as u64)),
        rate => three_digits(rate, "tasks/s"),
    }
}

fn three_digits(number: f64, unit: &str) -> String {
    let decimals = match number {
        number if number < 9.995 => 2,
        number if number < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.decimals$} {unit}")
}

/// Returns a number of things: `1 task`, `2 tasks`.
pub fn plural(number: u64, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {what}{ending}", count(number))
}

/// Returns a time in UTC, in seconds.
pub fn date(unix_us: u64) -> String {
    humantime::format_rfc3339_seconds(system_time(unix_us)).to_string()
}

/// Returns a time in UTC, in milliseconds.
pub fn date_in_millis(unix_us: u64) -> String {
    humantime::format_rfc3339_millis(system_time(unix_us)).to_string()
}

fn system_time(unix_us: u64) -> SystemTime {
    /// The end of the year 9999, microseconds: later times can't be formatted.
    const LATEST: u64 = 253_402_300_799_000_000;
    UNIX_EPOCH + Duration::from_micros(unix_us.min(LATEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_their_units() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [0.0, 0.0001, 0.123, 0.9999, 1.0].map(percent),
            ["0.0 %", "<0.1 %", "12.3 %", ">99.9 %", "100.0 %"]
        );
        assert_eq!(
            [7, 1_000, 12_345, 999_499, 999_500, 59_999_999].map(duration),
            ["7 µs", "1.00 ms", "12.3 ms", "999 ms", "1.00 s", "60.0 s"]
        );
        assert_eq!(
            [60_000_000, 3_661_000_000, 90_000_000_000].map(duration),
            ["1m 00s", "1h 01m", "1d 01h"]
        );
        assert_eq!(
            [1023, 1024, 1 << 20, 1023 << 10].map(size),
            ["1023 B", "1.00 KiB", "1.00 MiB", "1.00 MiB"]
        );
        assert_eq!(size(u64::MAX), "16.0 EiB");
        assert_eq!(
            [0.5, 99.0, 12_345.6].map(rate),
            ["0.50 tasks/s", "99.0 tasks/s", "12,346 tasks/s"]
        );
    }
}
