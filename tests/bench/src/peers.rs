//! Others who do what Slashnet does, built in a workspace of their own.

use std::error::Error;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use clap::ValueEnum;

use crate::Outcome;
use crate::pair::ChildOptions;

/// Goes on as the program of the other workspace. Returns only if that fails.
pub(crate) fn become_peer(options: &ChildOptions) -> Outcome<Box<dyn Error + Send + Sync>> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers/target/release/peer");
    if !program.exists() {
        return Err("not built: cargo xtask bench --peers".into());
    }
    let name = |value: Option<clap::builder::PossibleValue>| {
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    };
    let error = Command::new(program)
        .arg(name(options.kind.to_possible_value()))
        .arg(name(options.side.to_possible_value()))
        .arg(options.at.as_deref().ok_or("an own address")?)
        .arg(options.to.as_deref().ok_or("a peer address")?)
        .arg(options.size.to_string())
        .arg(options.depth.to_string())
        .arg(options.milliseconds.to_string())
        .arg(options.peer.unwrap_or_default().to_string())
        .exec();
    Ok(error.into())
}
