//! write a resource manager
