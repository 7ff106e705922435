//! messages between two processes over several lanes
