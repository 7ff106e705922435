//! gives a pure node its sockets, clock, keys and drivers
