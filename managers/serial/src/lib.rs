//! Serial ports of this machine, offered under pathnames.
