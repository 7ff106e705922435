//! channels, connections, messages, pulses
