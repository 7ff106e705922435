//! Readiness: one descriptor, several, and those that vanish meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::sync::{Arc, Mutex};

use abi::io::{Events, Notify, NotifyAction, Request, Watch, Watches};
use abi::{ConnectionId, Decode, Errno, OpenFlags};
use resmgr::testing::{Sent, TestFile, TestManager};
use resmgr::{
    Answer, Attributes, Notices, NotifyRequest, OpenFile, OpenRequest, Opening, Resource,
};

/// Paths `0` to `9` are levers; the test pulls them.
#[derive(Clone, Default)]
struct Levers {
    pulled: Arc<Mutex<[bool; 10]>>,
    notices: Arc<[Notices; 10]>,
}

struct Lever(usize);

impl Levers {
    fn pull(&self, index: usize) {
        let mut pulled = self.pulled.lock().unwrap();
        pulled[index] = true;
        self.notices[index].trigger(Events::INPUT);
    }

    fn waiting(&self) -> usize {
        self.notices.iter().map(Notices::len).sum()
    }
}

impl Resource for Levers {
    fn open(&self, open: OpenRequest) -> Answer {
        let index = usize::from(open.path()[0] - b'0');
        let attributes = Arc::new(Attributes::device(0o666));
        open.accept_as(Opening::new().attributes(attributes).state(Lever(index)))
    }

    fn notify(&self, file: &OpenFile, notify: NotifyRequest) -> Answer {
        let index = file.state::<Lever>().unwrap().0;
        let pulled = self.pulled.lock().unwrap();
        let now = if pulled[index] {
            Events::INPUT
        } else {
            Events::empty()
        };
        self.notices[index].watch(notify, now)
    }
}

struct Bench {
    levers: Levers,
    manager: TestManager,
    files: Vec<TestFile>,
}

impl Bench {
    fn new() -> Self {
        let levers = Levers::default();
        let manager = TestManager::new(Attributes::directory(0o777), levers.clone());
        let client = manager.client(5, 5);
        let open = |index: usize| client.open(&index.to_string(), OpenFlags::READ).unwrap();
        Self {
            levers,
            files: (0..10).map(open).collect(),
            manager,
        }
    }

    fn one(&self, index: usize, action: NotifyAction) -> Sent {
        let notify = Notify {
            events: Events::INPUT,
            action,
        };
        self.files[index].start(&Request::Notify(notify))
    }

    fn all(&self, action: NotifyAction) -> Sent {
        let watch = |file: &TestFile| Watch {
            connection: file.id(),
            events: Events::INPUT,
        };
        let list: Vec<_> = self.files.iter().map(watch).collect();
        let bytes = Watches::encode_all(&list).unwrap();
        let watches = Watches::new(action, &bytes).unwrap();
        // The connection that carries it need not be open.
        let carrier = self.files[0].another();
        carrier.start(&Request::NotifyMany(watches))
    }
}

fn events(sent: &Sent) -> Vec<Events> {
    let (_, body) = sent.wait().unwrap();
    let events = body
        .chunks(4)
        .map(|bytes| Events::from_bytes(bytes).unwrap());
    events.collect()
}

// qnx: R50
#[test]
fn a_notice_is_a_report_a_condition_or_a_transition() {
    let bench = Bench::new();
    let none = Events::empty();
    assert_eq!(events(&bench.one(3, NotifyAction::Report)), [none]);
    let armed = bench.one(3, NotifyAction::Arm);
    let turned = bench.one(3, NotifyAction::Transition);
    assert_eq!((armed.answer(), turned.answer()), (None, None));
    bench.levers.pull(3);
    assert_eq!(events(&armed), [Events::INPUT]);
    assert_eq!(events(&turned), [Events::INPUT]);
    assert_eq!(events(&bench.one(3, NotifyAction::Arm)), [Events::INPUT]);
    let turned = bench.one(3, NotifyAction::Transition);
    assert_eq!(turned.answer(), None, "it is true already");
    bench.levers.pull(3);
    assert_eq!(events(&turned), [Events::INPUT]);
}

// qnx: R52
#[test]
fn several_descriptors_wait_in_one_message_and_the_first_answers_all() {
    let bench = Bench::new();
    assert_eq!(
        events(&bench.all(NotifyAction::Report)),
        [Events::empty(); 10]
    );
    let waiting = bench.all(NotifyAction::Arm);
    assert_eq!(waiting.answer(), None);
    assert_eq!(bench.levers.waiting(), 10);
    bench.levers.pull(7);
    let told = events(&waiting);
    assert_eq!(told[7], Events::INPUT);
    assert_eq!(told.iter().filter(|events| !events.is_empty()).count(), 1);
    // qnx: R51, told once and off the list
    assert_eq!(bench.levers.waiting(), 0);
    bench.levers.pull(2);
    let told = bench.all(NotifyAction::Arm);
    assert_eq!(told.wait().unwrap().0, 2, "two are ready at once");
}

#[test]
fn a_descriptor_that_is_closed_or_never_was_is_told_as_invalid() {
    let bench = Bench::new();
    let waiting = bench.all(NotifyAction::Arm);
    bench.files[4].close().unwrap();
    assert_eq!(events(&waiting)[4], Events::INVALID);
    assert_eq!(bench.levers.waiting(), 0);
    assert_eq!(events(&bench.all(NotifyAction::Arm))[4], Events::INVALID);
    let bytes = Watches::encode_all(&[Watch {
        connection: ConnectionId(4711),
        events: Events::INPUT,
    }])
    .unwrap();
    let watches = Watches::new(NotifyAction::Arm, &bytes).unwrap();
    let sent = bench.files[0].start(&Request::NotifyMany(watches));
    assert_eq!(events(&sent), [Events::INVALID]);
}

// qnx: R15
#[test]
fn a_client_that_gives_up_or_dies_leaves_all_lists() {
    let bench = Bench::new();
    let waiting = bench.all(NotifyAction::Arm);
    waiting.interrupt();
    assert_eq!(waiting.wait(), Err(Errno::EINTR));
    assert_eq!(bench.levers.waiting(), 0);
    let _waiting = bench.all(NotifyAction::Arm);
    assert_eq!(bench.levers.waiting(), 10);
    bench.files[0].client().die();
    assert_eq!(bench.levers.waiting(), 0);
    assert_eq!(bench.manager.open_connections(), 0);
}

#[test]
fn files_are_always_ready_and_devices_that_do_not_tell_say_so() {
    struct Plain;
    impl Resource for Plain {}
    let open = |attributes| {
        let client = TestManager::new(attributes, Plain).client(5, 5);
        client.open("", OpenFlags::READ).unwrap()
    };
    let notify = Request::Notify(Notify {
        events: Events::INPUT | Events::URGENT,
        action: NotifyAction::Arm,
    });
    let file = open(Attributes::file(0o444));
    assert_eq!(events(&file.start(&notify)), [Events::INPUT]);
    let device = open(Attributes::device(0o444));
    assert_eq!(device.ask(&notify), Err(Errno::ENOSYS));
    // Among others it counts as ready: nobody would ever say that it is.
    let list = Watches::encode_all(&[Watch {
        connection: device.id(),
        events: Events::INPUT,
    }])
    .unwrap();
    let watches = Watches::new(NotifyAction::Arm, &list).unwrap();
    let several = device.start(&Request::NotifyMany(watches));
    assert_eq!(events(&several), [Events::INPUT]);
}
