//! directory trees
