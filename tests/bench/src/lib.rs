//! ratios of medians against a reference in the same run
