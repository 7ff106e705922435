//! Loaded into a program by `slashnet run`, so that it can open ports of any node by their paths.
//!
//! A path that is a port is opened as a pseudo terminal whose other side the broker of `slashnet run` joins to the port.
//! What the program holds is a terminal of the kernel, so reading, writing, waiting, duplicating, forking and passing it
//! on need nothing from here. Only what a pseudo terminal cannot do is asked of the broker: line settings that the kernel
//! forgets, breaks, modem lines, exclusive use, and waiting until everything has left.
//!
//! - `real` are the C library's own functions.
//! - `broker` asks.
//! - `paths` are the functions with paths, `terminals` those with terminals, `settings` the C library's words for them.
//!
//! The functions keep no state and allocate nothing: they are as safe between threads, in signal handlers and after
//! `vfork` as those of the C library. They find out that a terminal is the broker's by asking, so descriptors may come
//! from anywhere.
#![allow(
    unsafe_code,
    reason = "functions of the C library, called by programs in C"
)]

mod broker;
pub mod paths;
mod real;
mod settings;
pub mod terminals;
