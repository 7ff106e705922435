//! numbers and layouts both ends agree on
