//! What only root and the owner of the node may ask: who is trusted, and when the node stops.

use alloc::format;
use alloc::string::String;

use abi::system::{Code, Reply, Request};
use abi::{Errno, Instant, NodeName};

use super::Node;
use super::requests::{Call, Refused, plainly};
use crate::interface::{Level, ProgramKey};
use crate::limits::INVITE_TTL_MAX;

impl Node {
    /// Does it; joining is answered when it has come to an end.
    pub(super) fn manage(
        &mut self,
        now: Instant,
        call: Call,
        request: &Request,
    ) -> Result<Option<Reply>, Refused> {
        match request {
            Request::Invite(invite) => {
                self.must_manage(call.program, "invite a node")?;
                if invite.ttl.is_zero() || invite.ttl > INVITE_TTL_MAX {
                    let text = "a code can live from 1 second to 7 days";
                    return Err((Errno::EINVAL, String::from(text)));
                }
                let full = "too many codes are open; wait until some expire";
                let code = self.network.invite(now, invite.ttl);
                let code = code.map_err(|errno| (errno, String::from(full)))?;
                self.keep(now, Some(call.program));
                Ok(Some(Reply::Code(Code {
                    code: code.into_bytes(),
                })))
            }
            Request::Join(join) => {
                self.must_manage(call.program, "join a node")?;
                self.network
                    .join(now, call.program, call.serial, &join.code)?;
                Ok(None)
            }
            Request::Forget(forget) => {
                self.must_manage(call.program, "forget a node")?;
                self.forget(now, call.program, &forget.node).map(Some)
            }
            Request::Shutdown => {
                self.must_manage(call.program, "stop the node")?;
                self.stop(now);
                Ok(Some(Reply::Done))
            }
            _ => Err(plainly(Errno::ENOSYS)),
        }
    }

    fn forget(
        &mut self,
        now: Instant,
        program: ProgramKey,
        name: &NodeName,
    ) -> Result<Reply, Refused> {
        let Some(peer) = self.network.number_of_name(name) else {
            return Err((
                Errno::ENOENT,
                format!("no node is called {name}; see `slashnet nodes`"),
            ));
        };
        self.end_trust(now, peer, program);
        self.log(Level::Info, format!("{name} is forgotten"));
        Ok(Reply::Done)
    }
}
