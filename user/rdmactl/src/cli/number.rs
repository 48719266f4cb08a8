//! Numbers, sizes and times on the command line.

/// A number or a size: 4096, 0x1000, 4KiB. K, KiB and so on are powers of 1024, KB and so on powers of 1000.
pub fn number(text: &str) -> Result<u64, String> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    let end = digits.find(|character: char| !character.is_digit(radix)).unwrap_or(digits.len());
    let (digits, unit) = digits.split_at(end);
    let value = u64::from_str_radix(digits, radix).ok();
    value
        .zip(factor(unit.trim_start()))
        .and_then(|(value, factor)| value.checked_mul(factor))
        .ok_or_else(|| "a number is written like 4096, 0x1000 or 4KiB".into())
}

/// A number that is not 0.
pub fn count(text: &str) -> Result<u64, String> {
    match number(text)? {
        0 => Err("it must be at least 1".into()),
        count => Ok(count),
    }
}

/// The number of repetitions of a measurement.
pub fn rounds(text: &str) -> Result<u32, String> {
    let rounds = u32::try_from(number(text)?).ok().filter(|rounds| (1..=1000).contains(rounds));
    rounds.ok_or_else(|| "it must be from 1 to 1000".into())
}

fn factor(unit: &str) -> Option<u64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    })
}

/// A time in seconds: 2, 0.5, 500ms, 2s.
pub fn seconds(text: &str) -> Result<f64, String> {
    let (number, factor) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1e-3),
        (None, Some(number)) => (number, 1.0),
        (None, None) => (text, 1.0),
    };
    match number.parse::<f64>().map(|number| number * factor) {
        Ok(seconds) if (0.01..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err("a time is a number of seconds like 2, 0.5 or 500ms, from 0.01 on".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, value) in [
            ("0", 0),
            ("4096", 4096),
            ("0x1000", 4096),
            ("4KiB", 4096),
            ("4k", 4096),
            ("1 MiB", 1 << 20),
            ("2kB", 2000),
            ("0x10K", 16384),
        ] {
            assert_eq!(number(text), Ok(value), "{text}");
        }
        for wrong in ["", "-1", "0x", "KiB", "1.5", "4 kibi", "99999999999999999999", "18446744073709551615K"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
        assert!(count("0").is_err());
        for (text, value) in [("1", 1), ("0x10", 16), ("1kB", 1000)] {
            assert_eq!(rounds(text), Ok(value), "{text}");
        }
        for wrong in ["0", "1001", "1KiB", "8GiB", "x"] {
            assert!(rounds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times() {
        for (text, value) in [("0.5", 0.5), ("500ms", 0.5), ("2s", 2.0)] {
            assert_eq!(seconds(text), Ok(value), "{text}");
        }
        for wrong in ["0", "-1", "nan", "inf", "1e7", "x", "", "ms", "s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
