//! Where a tensor lies in the files of a checkpoint.

use std::ops::Range;

use safetensors::Dtype;

pub(super) struct Entry {
    pub file: usize,
    /// The file's own word.
    pub stored: Dtype,
    pub shape: Vec<usize>,
    /// Of the file.
    pub bytes: Range<u64>,
}
