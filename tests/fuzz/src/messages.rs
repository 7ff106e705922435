use abi::connect::{CombinedReply, Connect, Extra, Opened, Redirect, SymlinkReply};
use abi::io::{Entries, Events, Info, LockRange, Request, Stat, Statvfs};
use abi::{Decode, Encode};

/// Takes `data` as a message to a resource manager and as an answer of one. What is taken has no other form than this.
pub fn messages(data: &[u8]) {
    canonical::<Connect<'_>>(data);
    canonical::<Request<'_>>(data);
    if let Ok(Connect {
        extra: Extra::Combined(message),
        ..
    }) = Connect::from_bytes(data)
    {
        canonical::<Request<'_>>(message);
    }
    match Request::parse(data) {
        Ok(Request::NotifyMany(watches)) => {
            let list: Vec<_> = watches.iter().collect();
            assert!(!list.is_empty() && list.len() <= abi::limits::WATCHES_MAX);
        }
        Ok(Request::Lock(lock)) => {
            let _ = lock.range.start.checked_add(lock.range.len);
        }
        _ => {}
    }
    canonical::<Opened>(data);
    canonical::<CombinedReply<'_>>(data);
    canonical::<Redirect>(data);
    canonical::<SymlinkReply>(data);
    canonical::<Stat>(data);
    canonical::<Statvfs>(data);
    canonical::<Info>(data);
    canonical::<LockRange>(data);
    canonical::<Events>(data);
    assert!(Entries::new(data).count() <= data.len());
}

/// What is taken is written as it came.
fn canonical<'a, T: Encode + Decode<'a>>(data: &'a [u8]) {
    if let Ok(value) = T::from_bytes(data) {
        assert_eq!(value.to_bytes().as_deref(), Ok(data));
    }
}
