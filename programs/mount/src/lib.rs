//! the path space as a FUSE file system
