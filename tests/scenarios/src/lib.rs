//! stories on real nodes
