//! A name that stands for a port: `--map NAME=PATH`.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

/// A path that a program opens, and the port that it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameMap {
    /// The path as the program knows it.
    pub(crate) from: String,
    /// The port in the path space.
    pub(crate) to: String,
}

impl FromStr for NameMap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((from, to))
                if from.starts_with('/') && to.starts_with('/') && !from.contains(':') =>
            {
                Ok(Self {
                    from: from.to_owned(),
                    to: to.to_owned(),
                })
            }
            _ => {
                let expected = "expected NAME=PATH such as /dev/ttyS0=/net/lab2/dev/ser1";
                Err(format!("found '{text}', {expected}"))
            }
        }
    }
}

impl Display for NameMap {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_path_are_both_absolute() {
        let map: NameMap = "/dev/ttyS0=/net/lab2/dev/ser1".parse().unwrap();
        assert_eq!(map.to_string(), "/dev/ttyS0=/net/lab2/dev/ser1");
        for bad in [
            "/dev/ttyS0",
            "ttyS0=/dev/ser1",
            "/dev/ttyS0=ser1",
            "/a:b=/c",
        ] {
            assert!(bad.parse::<NameMap>().is_err_and(|why| why.contains(bad)));
        }
    }
}
