//! How POSIX files behave: one file per operation, with its `default` and, where an author may want
//! the checks without the rest, its `verify`.
//!
//! Source: `R40`-`R47` and the table of section 8.5 in the catalogue.

pub mod access;
pub mod chmod;
pub mod chown;
pub mod devctl;
pub mod info;
pub mod lock;
pub mod names;
pub mod notify;
pub mod open;
pub mod read;
pub mod seek;
pub mod stat;
pub mod times;
pub mod write;
