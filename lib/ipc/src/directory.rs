//! Where nodes are: the directory with a node's socket.

use std::path::{Path, PathBuf};

use abi::system::SOCKET_NAME;

/// Where the node of the machine is, which root starts for everybody.
const MACHINE: &str = "/run/slashnet";

/// Where this user's own node is, running or not: `$SLASHNET_DIR`; else `/run/slashnet` for the superuser and
/// `$XDG_RUNTIME_DIR/slashnet` for others, for whom `/run/user/UID` or, without a login session,
/// `~/.local/state/slashnet/run` take the place of a variable that is not set.
#[must_use]
pub fn own_directory() -> PathBuf {
    named().unwrap_or_else(of_the_user)
}

/// The directory of the node that programs use unless told otherwise: `$SLASHNET_DIR`; else [`own_directory`]; else, if
/// no node was started there, that of the machine, `/run/slashnet`, if one was started there. Looks for sockets, and does
/// not ask whether somebody answers; who does must be root or this process's user.
#[must_use]
pub fn default_directory() -> PathBuf {
    named().unwrap_or_else(|| own_or_machine(of_the_user(), Path::new(MACHINE)))
}

fn named() -> Option<PathBuf> {
    let named = std::env::var_os("SLASHNET_DIR").filter(|directory| !directory.is_empty())?;
    Some(named.into())
}

fn of_the_user() -> PathBuf {
    let user = rustix::process::geteuid();
    if user.is_root() {
        return MACHINE.into();
    }
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(runtime) = variable("XDG_RUNTIME_DIR") {
        return Path::new(&runtime).join("slashnet");
    }
    let session = PathBuf::from(format!("/run/user/{}", user.as_raw()));
    match variable("HOME") {
        Some(home) if !session.exists() => Path::new(&home).join(".local/state/slashnet/run"),
        _ => session.join("slashnet"),
    }
}

fn own_or_machine(own: PathBuf, machine: &Path) -> PathBuf {
    let started = |directory: &Path| directory.join(SOCKET_NAME).exists();
    if !started(&own) && started(machine) {
        machine.to_owned()
    } else {
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_a_node_uses_that_of_the_machine() {
        let place = tempfile::tempdir().unwrap();
        let [own, machine] = ["own", "machine"].map(|name| place.path().join(name));
        let chosen = || own_or_machine(own.clone(), &machine);
        let start = |directory: &Path| {
            std::fs::create_dir(directory).unwrap();
            std::fs::write(directory.join(SOCKET_NAME), "").unwrap();
        };
        assert_eq!(chosen(), own, "where one would be");
        start(&machine);
        assert_eq!(chosen(), machine);
        start(&own);
        assert_eq!(chosen(), own);
    }
}
