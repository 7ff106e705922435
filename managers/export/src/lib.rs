//! Directory trees of this machine, offered below a pathname.
