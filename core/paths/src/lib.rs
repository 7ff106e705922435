//! rules of pathnames: prefix tree, resolve, walk
