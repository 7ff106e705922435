//! Routing of messages to open files (`R12`-`R14`, `R20`, section 8.5).

use std::sync::Arc;

use abi::io::{NotifyAction, Request, Watch};
use abi::{Errno, MessageKind};

use crate::dispatch::refuse;
use crate::envelope::Envelope;
use crate::open_file::OpenFile;
use crate::request::{
    AllocateRequest, Answer, Batch, ChmodRequest, ChownRequest, DevctlRequest, InfoRequest,
    LinkTextRequest, LockRequest, NotifyRequest, OwnRequest, PathconfRequest, ReadDirectoryRequest,
    ReadRequest, SeekRequest, SetTimesRequest, StatRequest, StatvfsRequest, SyncRequest,
    TruncateRequest, WriteRequest, XattrRequest,
};
use crate::resource::Resource;
use crate::rights;
use crate::wait_queue::Place;

/// Serves one message to an open file.
pub(crate) fn route(kind: MessageKind, mut envelope: Envelope) -> Answer {
    match kind {
        MessageKind::Close => return close(envelope),
        MessageKind::Dup => return dup(envelope),
        MessageKind::Notify if let Some(watches) = several(&envelope) => {
            return notify_several(envelope, watches);
        }
        _ => {}
    }
    match envelope
        .hub
        .bindings
        .find(envelope.place(), envelope.credentials())
    {
        Ok(opened) => envelope.file = Some(opened),
        Err(errno) => return refuse(envelope, errno),
    }
    dispatch(envelope)
}

/// The last connection takes the file with it, before the client hears of it.
fn close(envelope: Envelope) -> Answer {
    let Some(opened) = envelope.hub.bindings.unbind(envelope.place()) else {
        return refuse(envelope, Errno::EBADF);
    };
    envelope.hub.parked.close(envelope.place());
    drop(opened);
    envelope.reply(0, &[]);
    Answer::given()
}

/// What a message about several files asks after.
type Several = (NotifyAction, Vec<Watch>);

fn several(envelope: &Envelope) -> Option<Several> {
    match Request::parse(envelope.message()) {
        Ok(Request::NotifyMany(watches)) => Some((watches.action, watches.iter().collect())),
        _ => None,
    }
}

/// Asks after several files of the client (`R52`).
fn notify_several(envelope: Envelope, (action, watches): Several) -> Answer {
    let (place, caller) = (envelope.place(), Arc::clone(envelope.credentials()));
    let hub = Arc::clone(&envelope.hub);
    let batch = Batch::new(envelope, watches.len(), action);
    for (index, watch) in watches.into_iter().enumerate() {
        let place = Place {
            connection: watch.connection,
            ..place
        };
        match hub.bindings.find(place, &caller) {
            Ok(opened) => {
                let part = batch.part(index, watch.events, place, Arc::clone(&opened));
                let _ = opened.resource.notify(&opened.file, part);
            }
            Err(_) => batch.invalid(index),
        }
    }
    batch.complete();
    Answer::given()
}

/// One more connection for an open file (`R45`).
fn dup(envelope: Envelope) -> Answer {
    let original = match Request::parse(envelope.message()) {
        Ok(Request::Dup(dup)) => dup.original,
        Ok(_) => return refuse(envelope, Errno::EBADMSG),
        Err(errno) => return refuse(envelope, errno),
    };
    let (place, caller) = (envelope.place(), Arc::clone(envelope.credentials()));
    let from = Place {
        connection: original,
        ..place
    };
    let bindings = &envelope.hub.bindings;
    let bound = bindings
        .find(from, &caller)
        .and_then(|opened| bindings.bind(place, &caller, opened));
    match bound {
        Ok(()) => {
            envelope.reply(0, &[]);
            Answer::given()
        }
        Err(errno) => refuse(envelope, errno),
    }
}

/// Gives the message to the resource of its file.
pub(crate) fn dispatch(envelope: Envelope) -> Answer {
    let Some(opened) = envelope.file.clone() else {
        return refuse(envelope, Errno::EBADF);
    };
    let (resource, file) = (&*opened.resource, &opened.file);
    let request = match Request::parse(envelope.message()) {
        Ok(request) => request,
        Err(errno) => return refuse(envelope, errno),
    };
    if envelope.is_partial() && !matches!(request.kind(), MessageKind::Write | MessageKind::Message)
    {
        return refuse(envelope, Errno::EMSGSIZE);
    }
    if let Some(operation) = rights::operation_of(&request)
        && let Err(errno) = opened.rights.check(&envelope, operation)
    {
        return refuse(envelope, errno);
    }
    match request {
        Request::Read(read) => resource.read(file, ReadRequest::new(envelope, read)),
        Request::Write { offset, .. } => resource.write(file, WriteRequest::new(envelope, offset)),
        Request::Stat => resource.stat(file, StatRequest::new(envelope)),
        Request::Lseek(seek) => resource.seek(file, SeekRequest::new(envelope, seek)),
        Request::Devctl { dcmd, data } => {
            let argument = envelope.range_of(data);
            resource.devctl(file, DevctlRequest::new(envelope, dcmd, argument))
        }
        Request::ReadDirectory(read) => {
            resource.read_directory(file, ReadDirectoryRequest::new(envelope, read))
        }
        Request::Notify(notify) => resource.notify(file, NotifyRequest::new(envelope, notify)),
        Request::Lock(lock) => resource.lock(file, LockRequest::new(envelope, lock)),
        Request::Statvfs => resource.statvfs(file, StatvfsRequest::new(envelope)),
        Request::Pathconf(name) => resource.pathconf(file, PathconfRequest::new(envelope, name)),
        Request::Info => resource.info(file, InfoRequest::new(envelope)),
        Request::Readlink => resource.link_text(file, LinkTextRequest::new(envelope)),
        Request::Chmod(_)
        | Request::Chown(_)
        | Request::Utime(_)
        | Request::Truncate(_)
        | Request::Space(_)
        | Request::Sync(_)
        | Request::Xattr(_) => change(resource, file, envelope),
        Request::Message {
            manager, number, ..
        } => resource.message(file, OwnRequest::new(envelope, manager, number)),
        // A combined close or dup would leave the connection in doubt.
        Request::Close | Request::Dup(_) | Request::NotifyMany(_) => {
            refuse(envelope, Errno::EBADMSG)
        }
    }
}

/// The requests that change the file and that a read-only tree refuses alike.
fn change(resource: &dyn Resource, file: &OpenFile, envelope: Envelope) -> Answer {
    match Request::parse(envelope.message()) {
        Ok(Request::Chmod(chmod)) => resource.chmod(file, ChmodRequest::new(envelope, chmod)),
        Ok(Request::Chown(chown)) => resource.chown(file, ChownRequest::new(envelope, chown)),
        Ok(Request::Utime(utime)) => {
            resource.set_times(file, SetTimesRequest::new(envelope, utime))
        }
        Ok(Request::Truncate(truncate)) => {
            resource.truncate(file, TruncateRequest::new(envelope, truncate))
        }
        Ok(Request::Space(space)) => resource.allocate(file, AllocateRequest::new(envelope, space)),
        Ok(Request::Sync(sync)) => resource.sync(file, SyncRequest::new(envelope, sync)),
        Ok(Request::Xattr(_)) => resource.xattr(file, XattrRequest::new(envelope)),
        Ok(_) => refuse(envelope, Errno::EBADMSG),
        Err(errno) => refuse(envelope, errno),
    }
}
