//! An output that threads fill in disjoint parts which are not contiguous.

#[derive(Clone, Copy)]
pub(super) struct SharedOut {
    start: *mut f32,
    len: usize,
}

// SAFETY: access goes through `slice` and `at`, whose callers answer for disjointness.
unsafe impl Send for SharedOut {}
// SAFETY: as above.
unsafe impl Sync for SharedOut {}

impl SharedOut {
    /// The caller keeps `out` borrowed for as long as copies of the result are used.
    pub fn new(out: &mut [f32]) -> Self {
        Self {
            start: out.as_mut_ptr(),
            len: out.len(),
        }
    }

    /// # Safety
    /// The memory behind `new` is still borrowed, and no other reference to this range exists.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice<'a>(&self, start: usize, len: usize) -> &'a mut [f32] {
        // SAFETY: in bounds by `at`; the caller answers for the rest.
        unsafe { std::slice::from_raw_parts_mut(self.at(start, len), len) }
    }

    /// Where `start..start + len` begins.
    pub fn at(&self, start: usize, len: usize) -> *mut f32 {
        assert!(start <= self.len && len <= self.len - start, "output range");
        self.start.wrapping_add(start)
    }
}
