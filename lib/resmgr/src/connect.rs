//! Routing of connect messages: everything that is done to a pathname (`R20`, section 8.4).

use abi::connect::{Connect, ConnectType, Extra};
use abi::{Decode, Errno};

use crate::dispatch::{Dispatch, refuse};
use crate::envelope::Envelope;
use crate::request::{
    After, Answer, LinkRequest, MakeNodeRequest, MountRequest, OpenRequest, ReadLinkRequest,
    RenameRequest, SymlinkRequest, Target, UnlinkRequest,
};
use crate::rights;

/// Serves one connect message.
pub(crate) fn route(dispatch: &Dispatch, envelope: Envelope) -> Answer {
    if envelope.is_partial() {
        // A message of legal size fits the buffer.
        return refuse(envelope, Errno::EMSGSIZE);
    }
    let connect = match Connect::from_bytes(envelope.message()) {
        Ok(connect) => connect,
        Err(malformed) => return refuse(envelope, malformed.into()),
    };
    let Some(attachment) = dispatch.attachments.get(connect.handle) else {
        // The prefix was detached meanwhile; the client's search goes on elsewhere (P33).
        return refuse(envelope, Errno::ENXIO);
    };
    if let Extra::Rename { handle, .. } | Extra::Link { handle, .. } = connect.extra
        && handle != connect.handle
    {
        // qnx: P37
        return refuse(envelope, Errno::EXDEV);
    }
    let subtype = connect.subtype;
    let expected = matches!(
        (subtype, connect.extra),
        (ConnectType::Rename, Extra::Rename { .. })
            | (ConnectType::Link, Extra::Link { .. })
            | (ConnectType::Symlink, Extra::Symlink { .. })
            | (ConnectType::Mount, Extra::Mount { .. })
            | (ConnectType::Mknod, Extra::Mknod { .. } | Extra::None)
            | (
                ConnectType::Combine | ConnectType::CombineClose,
                Extra::Combined(_)
            )
            | (
                ConnectType::Open | ConnectType::Unlink | ConnectType::Readlink,
                Extra::None
            )
    );
    if !expected {
        return refuse(envelope, Errno::EBADMSG);
    }
    let after = match connect.extra {
        Extra::Combined(message) => After::Combined {
            message: envelope.range_of(message),
            stays_open: subtype == ConnectType::Combine,
        },
        _ => After::Stay,
    };
    let admitted = match rights::admit(&envelope, &connect, &attachment.path) {
        Ok(admitted) => admitted,
        Err(errno) => return refuse(envelope, errno),
    };
    let target = Target::new(&envelope, &connect, attachment, admitted);
    serve(subtype, envelope, target, after)
}

fn serve(subtype: ConnectType, envelope: Envelope, target: Target, after: After) -> Answer {
    let resource = std::sync::Arc::clone(&target.attachment.resource);
    match subtype {
        ConnectType::Open | ConnectType::Combine | ConnectType::CombineClose => {
            resource.open(OpenRequest::new(envelope, target, after))
        }
        ConnectType::Unlink => resource.unlink(UnlinkRequest::new(envelope, target)),
        ConnectType::Rename => resource.rename(RenameRequest::new(envelope, target)),
        ConnectType::Mknod => resource.make_node(MakeNodeRequest::new(envelope, target)),
        ConnectType::Readlink => resource.read_link(ReadLinkRequest::new(envelope, target)),
        ConnectType::Link => resource.link(LinkRequest::new(envelope, target)),
        ConnectType::Symlink => resource.symlink(SymlinkRequest::new(envelope, target)),
        ConnectType::Mount => resource.mount(MountRequest::new(envelope, target)),
    }
}
