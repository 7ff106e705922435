//! Second sockets of the node, for programs that see only a part of the path space.
//!
//! Each is in a directory of its own, which stands for the node's directory when it is given to programs in `SLASHNET_DIR`
//! or mounted over it. The directory is named for the process whose door it is, so that the process finds the door
//! where it was when the node was restarted. When the process started is part of the name: what an earlier one with its
//! number has left running must not come in by this door.
//! A program that came in by a door itself finds its own in that door's directory: it may see no other.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use abi::Pid;
use abi::system::SOCKET_NAME;
use node::ProgramKey;

use crate::program_socket::{self, started};

/// The directory of all doors, in the node's own.
const DIRECTORY: &str = "views";

/// All doors, by whose they are.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    open: BTreeMap<ProgramKey, Door>,
    /// By whose door programs came in that did not come by the node's own socket.
    came_by: BTreeMap<ProgramKey, ProgramKey>,
}

#[derive(Debug)]
struct Door {
    listener: OwnedFd,
    directory: PathBuf,
}

impl Doors {
    /// Opens a program's door; gives its directory, or why there is none, for a person.
    pub(crate) fn open(
        &mut self,
        program: ProgramKey,
        (process, since): (Pid, u64),
        node: &Path,
    ) -> Result<PathBuf, String> {
        let outer = self.came_by.get(&program);
        let outer = outer.and_then(|owner| self.open.get(owner));
        let all = outer.map_or(node, |door| &door.directory).join(DIRECTORY);
        sweep(&all);
        let directory = all.join(format!("{process}-{since}"));
        fs::create_dir_all(&directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        let listener = program_socket::listen(&directory.join(SOCKET_NAME))
            .map_err(|error| error.to_string())?;
        let door = Door {
            listener,
            directory: directory.clone(),
        };
        self.open.insert(program, door);
        Ok(directory)
    }

    /// A program came in, by the door of `owner` if that was not the node's own socket.
    pub(crate) fn came(&mut self, program: ProgramKey, owner: Option<ProgramKey>) {
        if let Some(owner) = owner {
            self.came_by.insert(program, owner);
        }
    }

    pub(crate) fn listener(&self, program: ProgramKey) -> Option<&OwnedFd> {
        self.open.get(&program).map(|door| &door.listener)
    }

    pub(crate) fn listeners(&self) -> impl Iterator<Item = (ProgramKey, BorrowedFd<'_>)> {
        self.open
            .iter()
            .map(|(&program, door)| (program, door.listener.as_fd()))
    }

    /// A program is gone, and its door with it if it has one.
    pub(crate) fn gone(&mut self, program: ProgramKey) {
        self.came_by.remove(&program);
        self.close(program);
    }

    /// Closes the door of a program, if it has one.
    pub(crate) fn close(&mut self, program: ProgramKey) {
        if let Some(door) = self.open.remove(&program) {
            remove(&door.directory);
        }
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        for door in self.open.values() {
            // The directory stays: whoever has it mounted finds the next node's socket there.
            let _ = fs::remove_file(door.directory.join(SOCKET_NAME));
        }
    }
}

fn remove(directory: &Path) {
    // Doors within it go with their own programs, and are swept with those that are gone.
    let within = directory.join(DIRECTORY);
    sweep(&within);
    let _ = fs::remove_dir(within);
    let _ = fs::remove_file(directory.join(SOCKET_NAME));
    let _ = fs::remove_dir(directory);
}

/// Removes what an earlier node has left of processes that are gone.
fn sweep(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let named = name.to_str().and_then(|name| name.split_once('-'));
        let named = named
            .and_then(|(pid, since)| Some((pid.parse::<i32>().ok()?, since.parse::<u64>().ok()?)));
        if named.is_some_and(|(pid, since)| started(pid) != since) {
            remove(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this_process() -> (Pid, u64) {
        let pid = std::process::id();
        (Pid(pid), started(pid.cast_signed()))
    }

    #[test]
    fn doors_of_dead_processes_are_swept_and_those_of_the_living_stay() {
        let node = tempfile::tempdir().unwrap();
        let all = node.path().join(DIRECTORY);
        let own = this_process();
        let dead = [
            all.join("4194305-7"),
            all.join(format!("{}-{}", own.0, own.1 - 1)),
        ];
        for dead in &dead {
            fs::create_dir_all(dead).unwrap();
            fs::write(dead.join(SOCKET_NAME), b"").unwrap();
        }
        let mut doors = Doors::default();
        let directory = doors.open(ProgramKey(1), own, node.path()).unwrap();
        assert!(directory.join(SOCKET_NAME).exists());
        assert!(dead.iter().all(|dead| !dead.exists()));
        let again = doors.open(ProgramKey(2), own, node.path()).unwrap();
        assert_eq!(again, directory);
        doors.gone(ProgramKey(2));
        assert!(!directory.exists());
    }

    #[test]
    fn a_process_does_not_get_the_door_of_an_earlier_one_with_its_number() {
        let node = tempfile::tempdir().unwrap();
        let (pid, since) = this_process();
        let mut doors = Doors::default();
        let earlier = doors.open(ProgramKey(1), (pid, since - 1), node.path());
        let later = doors.open(ProgramKey(2), (pid, since), node.path());
        assert_ne!(earlier.unwrap(), later.unwrap());
    }

    #[test]
    fn a_door_of_a_program_that_came_by_a_door_is_behind_that_door() {
        let node = tempfile::tempdir().unwrap();
        let mut doors = Doors::default();
        let [outer, inner] = [ProgramKey(1), ProgramKey(2)];
        let own = this_process();
        let first = doors.open(outer, own, node.path()).unwrap();
        doors.came(inner, Some(outer));
        let second = doors.open(inner, own, node.path()).unwrap();
        assert_eq!(
            second,
            first.join(DIRECTORY).join(format!("{}-{}", own.0, own.1))
        );
        doors.gone(inner);
        assert!(!second.exists());
        doors.gone(outer);
        assert!(!first.exists());
    }
}
