//! clusters in one process and the simulated world
