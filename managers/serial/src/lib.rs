//! serial ports
