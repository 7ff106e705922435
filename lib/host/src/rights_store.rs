//! Rules that were made while the node ran, on disk: `rights`, one rule in a line.

use std::fmt::Write;
use std::io::ErrorKind;
use std::path::Path;

use rights::Rules;
use rights::text::{self, NoNames};

use crate::{StartError, private_file};

pub(crate) const FILE_NAME: &str = "rights";

const HEADING: &str = "# Rules made by 'slashnet rights', which writes this file: the first one that fits decides.\n\
# Rules of the config file come after these.\n\n";

/// Reads what is there; there is nothing before the first rule.
pub(crate) fn load(state: &Path) -> Result<Rules, StartError> {
    let path = state.join(FILE_NAME);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Rules::default()),
        Err(error) => return Err(StartError::at(&path, error)),
    };
    text::rules(&text, &NoNames)
        .map_err(|(line, bad)| StartError::new(format!("{}:{line}: {bad}", path.display())))
}

/// Replaces what is there. A crash leaves the old or the new, never half of it.
pub(crate) fn save(state: &Path, rules: &Rules) -> std::io::Result<()> {
    let mut text = HEADING.to_owned();
    for rule in rules.list() {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{rule}");
    }
    private_file::replace(state, FILE_NAME, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_saved_is_loaded_and_nobody_else_may_read_it() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(load(state.path()).unwrap(), Rules::default());
        let written = "allow 1000@lab1 read /a\\x20b as 5:6,7\ndeny *@* all /\n";
        let rules = text::rules(written, &NoNames).unwrap();
        save(state.path(), &rules).unwrap();
        save(state.path(), &rules).unwrap();
        assert_eq!(load(state.path()).unwrap(), rules);
        let metadata = std::fs::metadata(state.path().join(FILE_NAME)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_makes_no_sense_is_refused_with_its_line() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join(FILE_NAME), "# mine\nallow pi@lab1\n").unwrap();
        let refused = load(state.path()).err().unwrap().to_string();
        assert!(refused.contains("rights:2: found 'pi'"), "{refused}");
    }
}
