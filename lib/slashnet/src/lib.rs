//! the crate users depend on: client, resmgr, ipc
