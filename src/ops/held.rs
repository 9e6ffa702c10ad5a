//! A value that need not be dropped.

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

/// Dropped like any other value, unless it is kept until the process ends.
pub struct Held<T> {
    value: ManuallyDrop<T>,
    is_kept: bool,
}

impl<T> Held<T> {
    pub fn new(value: T) -> Self {
        Self {
            value: ManuallyDrop::new(value),
            is_kept: false,
        }
    }

    /// What the value has is never given back.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        if !self.is_kept {
            // SAFETY: dropped here alone, and nobody reaches it afterwards.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}
