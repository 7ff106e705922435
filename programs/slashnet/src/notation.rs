//! How amounts and times are written for people.

use std::time::Duration;

use serde_json::{Value, json};

/// A duration with three significant digits: `850 ns`, `12.3 us`, `1.50 ms`, `2.00 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => three_digits(nanoseconds as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => three_digits(nanoseconds as f64 / 1e6, "ms"),
        _ => three_digits(nanoseconds as f64 / 1e9, "s"),
    }
}

/// An amount of bytes in powers of 1024: `17 B`, `64.0 KiB`, `1.00 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    three_digits(amount, UNITS[unit])
}

/// A rate given in bytes, in powers of 1000 bits: `640 kbit/s`, `1.00 Gbit/s`.
pub(crate) fn bits_per_second(bytes: u64) -> String {
    let bits = bytes as f64 * 8.0;
    match bits {
        bits if bits < 1e6 => three_digits(bits / 1e3, "kbit/s"),
        bits if bits < 1e9 => three_digits(bits / 1e6, "Mbit/s"),
        bits => three_digits(bits / 1e9, "Gbit/s"),
    }
}

fn three_digits(amount: f64, unit: &str) -> String {
    match amount {
        amount if amount < 10.0 => format!("{amount:.2} {unit}"),
        amount if amount < 100.0 => format!("{amount:.1} {unit}"),
        amount => format!("{amount:.0} {unit}"),
    }
}

/// The ten letters of `ls -l`: type and permissions.
pub(crate) fn mode(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o040_000 => 'd',
        0o120_000 => 'l',
        0o020_000 => 'c',
        0o060_000 => 'b',
        0o010_000 => 'p',
        0o140_000 => 's',
        _ => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift & 7;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (mode & special == 0, bits & 1 == 0) {
            (true, true) => '-',
            (true, false) => 'x',
            (false, true) => letter.to_ascii_uppercase(),
            (false, false) => letter,
        });
    }
    text
}

/// A time in seconds since 1970 as `2026-11-20 07:15:02` in universal time.
pub(crate) fn time(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400);
    let rest = seconds.rem_euclid(86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// The proleptic Gregorian date of a day counted from 1970-01-01. Years begin in March here, so
/// that the leap day is the last day of a year.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A path or name as people read it: bytes that would confuse a terminal are written as `\xNN` and the like, and a
/// backslash as two, so that no two names look the same.
pub(crate) fn printable(bytes: &[u8]) -> String {
    escaped(bytes, |letter| is_treacherous(letter) || letter == '\\')
}

/// A sentence that came from elsewhere; what would confuse a terminal is written as in [`printable`].
pub(crate) fn sentence(bytes: &[u8]) -> String {
    escaped(bytes, is_treacherous)
}

/// What a terminal does not show as it stands: control characters, and marks that turn the direction of the text
/// around them.
fn is_treacherous(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped(bytes: &[u8], is_hidden: impl Fn(char) -> bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if is_hidden(letter) {
                text.extend(letter.escape_default());
            } else {
                text.push(letter);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// A path or name as programs read it in JSON, exactly: text in UTF-8 as a string, everything else as
/// `{"bytes": [...]}` with the number of each byte.
pub(crate) fn exact(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "bytes": bytes }),
    }
}

/// JSON in many lines, with whatever would confuse a terminal by its number: that says the same to programs.
pub(crate) fn json(value: &Value) -> String {
    harmless(&format!("{value:#}"))
}

/// The same in one line.
pub(crate) fn json_line(value: &Value) -> String {
    harmless(&value.to_string())
}

/// Outside of its strings, JSON has no control character but line ends, and within them no line end.
fn harmless(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter == '\n' || !is_treacherous(letter) {
            text.push(letter);
        } else {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_three_digits_and_a_unit() {
        assert_eq!(duration(Duration::from_nanos(850)), "850 ns");
        assert_eq!(duration(Duration::from_nanos(12_345)), "12.3 us");
        assert_eq!(duration(Duration::from_millis(2_000)), "2.00 s");
        assert_eq!(bits_per_second(80_000), "640 kbit/s");
        assert_eq!(bits_per_second(12_500_000), "100 Mbit/s");
        assert_eq!(bytes(17), "17 B");
        assert_eq!(bytes(64 << 10), "64.0 KiB");
        assert_eq!(bytes(1 << 30), "1.00 GiB");
    }

    #[test]
    fn modes_read_as_in_ls() {
        assert_eq!(mode(0o100_644), "-rw-r--r--");
        assert_eq!(mode(0o041_777), "drwxrwxrwt");
        assert_eq!(mode(0o104_644), "-rwSr--r--");
        assert_eq!(mode(0o020_620), "crw--w----");
    }

    #[test]
    fn times_are_calendar_dates() {
        assert_eq!(time(0), "1970-01-01 00:00:00");
        assert_eq!(time(951_827_696), "2000-02-29 12:34:56");
        assert_eq!(time(-1), "1969-12-31 23:59:59");
        assert_eq!(time(4_102_444_800), "2100-01-01 00:00:00");
    }

    #[test]
    fn a_name_cannot_send_escape_sequences_to_the_terminal() {
        assert_eq!(printable(b"a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(printable(b"caf\xe9 \xc3\xa9"), "caf\\xe9 \u{e9}");
        assert_eq!(sentence(b"found 'a\\b'\n"), "found 'a\\b'\\n");
    }

    #[test]
    fn a_name_cannot_turn_the_text_around_it() {
        assert_eq!(
            printable("a\u{202e}b\u{9b}".as_bytes()),
            "a\\u{202e}b\\u{9b}"
        );
        assert_eq!(sentence("\u{2066}x".as_bytes()), "\\u{2066}x");
        assert_eq!(printable("\u{5d0}\u{200b}".as_bytes()), "\u{5d0}\u{200b}");
    }

    #[test]
    fn json_is_safe_to_show_and_says_the_same() {
        let names = "a\x1b[2J\x7f\u{9b}31m\u{202e}\u{2066}\u{e9}\u{1f980}\n";
        let value = json!([{ "name": exact(names.as_bytes()) }]);
        let text = json(&value);
        let shown = text.replace('\n', "");
        assert!(!shown.chars().any(is_treacherous), "{text}");
        assert!(
            text.contains("\\u007f\\u009b31m\\u202e\\u2066\u{e9}\u{1f980}\\n"),
            "{text}"
        );
        for text in [text, json_line(&value)] {
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }

    #[test]
    fn no_two_names_look_the_same_to_people_or_to_programs() {
        let names: [&[u8]; 6] = [
            b"a\nb", b"a\\nb", b"a\\\nb", b"a\xff", b"a\\xff", b"a\\u{a}",
        ];
        for (at, name) in names.iter().enumerate() {
            for other in &names[..at] {
                assert_ne!(printable(name), printable(other));
                assert_ne!(exact(name), exact(other));
            }
        }
        assert_eq!(exact(b"a\n\\b"), "a\n\\b");
        assert_eq!(exact(b"a\xff"), json!({ "bytes": [97, 255] }));
    }
}
