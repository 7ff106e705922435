//! What the shell proposes: names that only the node knows.

mod machine;

use std::fs;
use std::process::Command;

use machine::{Lab, text};

/// What bash proposes behind `line`, by our script.
fn bash(lab: &Lab, line: &str) -> Vec<String> {
    let script = lab.path("completion");
    fs::write(&script, lab.lab1(&["completion", "bash"]).stdout).expect("written");
    // As bash does it: a colon is a word of its own.
    let play = format!(
        "source {}; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; \
         IFS=$'\\n' COMP_WORDS=($(sed 's/\\([: ]\\)/\\n\\1\\n/g; s/\\n \\n/\\n/g' <<< \"$COMP_LINE\")); \
         [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=(''); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
         _slashnet_names slashnet; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let own = std::path::Path::new(env!("CARGO_BIN_EXE_slashnet"));
    let directory = own.parent().expect("a directory").display();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("bash")
        .args(["-c", &play])
        .env("PATH", format!("{directory}:{path}"))
        .env("SLASHNET_DIR", lab.path("lab1"))
        .output()
        .expect("bash runs");
    let said = text(&output);
    let proposed = said.lines().filter(|word| !word.is_empty());
    proposed.map(str::to_owned).collect()
}

#[test]
fn bash_proposes_nodes_paths_and_links() {
    let lab = Lab::start();
    fs::write(lab.path("srv/firmware.bin"), "").expect("written");
    fs::create_dir(lab.path("srv/fonts")).expect("made");
    assert_eq!(bash(&lab, "slashnet ls /net/lab2"), ["/net/lab2/"]);
    assert_eq!(bash(&lab, "slashnet forget "), ["lab1", "lab2"]);
    assert_eq!(
        bash(&lab, "slashnet cat /net/lab2/srv/f"),
        ["/net/lab2/srv/firmware.bin", "/net/lab2/srv/fonts/"]
    );
    let links = bash(&lab, "slashnet cat /net/lab2~exclusive:");
    let address = links.first().expect("a link");
    assert!(address.ends_with('/'), "{links:?}");
    assert!(
        !address.contains("exclusive"),
        "only what bash replaces: {links:?}"
    );
    assert!(bash(&lab, "slashnet pref").contains(&"prefixes".to_owned()));
    let nowhere = bash(&lab, "slashnet ls /nowhere/x");
    assert!(
        !nowhere.iter().any(|word| word.starts_with('/')),
        "{nowhere:?}"
    );
}

#[test]
fn without_a_node_nothing_is_proposed_and_nothing_is_said() {
    let empty = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_slashnet"))
        .args(["complete", "--", "ls", "/net/"])
        .env("SLASHNET_DIR", empty.path())
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
}
