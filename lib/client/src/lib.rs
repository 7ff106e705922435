//! open, read, write, devctl, names
