//! What the threads of a rank, and the ranks of a process, wait for each other with: the standard library.
//!
//! `tests/interleavings` builds the files that use this module over a model checker's instead.

pub use std::hint::spin_loop;
pub use std::sync::atomic::{AtomicBool, AtomicUsize};
pub use std::sync::{Arc, Condvar, Mutex, MutexGuard};
pub use std::{thread, thread_local};
