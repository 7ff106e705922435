//! `slashnet invite`, `join` and `forget`: which nodes trust each other.

use std::io::Read;
use std::time::Duration;

use abi::system::{Forget, Invite, Join, Reply, Request};

use crate::command::{ForgetOptions, GlobalOptions, InviteOptions, JoinOptions};
use crate::daemon::{Daemon, parsed_name, unexpected};
use crate::failure::{During, Outcome};
use crate::notation::sentence;
use crate::output;

/// Longer than any code, so that a wrong file on standard input is not read to its end.
const CODE_MAX: u64 = 4096;

/// Prints a one-time code.
pub(crate) fn invite(global: &GlobalOptions, options: &InviteOptions) -> Outcome {
    let ttl = Duration::from_secs(options.ttl.into());
    match Daemon::of(global)?.ask("invite", &Request::Invite(Invite { ttl }))? {
        Reply::Code(code) => output::line(sentence(&code.code)),
        _ => Err(unexpected("invite")),
    }
}

/// Joins the node that made a code.
pub(crate) fn join(global: &GlobalOptions, options: &JoinOptions) -> Outcome {
    let mut code = options.code.clone();
    if code == "-" {
        code.clear();
        std::io::stdin()
            .take(CODE_MAX)
            .read_to_string(&mut code)
            .during("standard input")?;
    }
    let code = code.trim().as_bytes().to_vec();
    match Daemon::of(global)?.ask("join", &Request::Join(Join { code }))? {
        Reply::Joined(joined) => {
            output::line(format!("joined {}: /net/{}", joined.node, joined.node))
        }
        _ => Err(unexpected("join")),
    }
}

/// Ends the trust in a node.
pub(crate) fn forget(global: &GlobalOptions, options: &ForgetOptions) -> Outcome {
    let node = parsed_name(&options.node)?;
    Daemon::of(global)?.ask(&options.node, &Request::Forget(Forget { node }))?;
    output::line(format!("forgot {}", options.node))
}
