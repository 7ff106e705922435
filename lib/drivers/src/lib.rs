//! packet drivers
