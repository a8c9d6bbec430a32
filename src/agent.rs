//! The loop: turns the world into events, has the controller decide, executes its commands.

mod handle;

pub use handle::*;
