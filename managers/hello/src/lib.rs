//! the smallest resource manager
