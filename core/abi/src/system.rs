//! The protocol between programs and their node daemon.
