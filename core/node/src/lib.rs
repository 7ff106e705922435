//! one node: process manager and network manager
