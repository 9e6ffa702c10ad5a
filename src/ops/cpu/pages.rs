//! Large pages for what is read from end to end: fewer look-ups of addresses.

/// Page size that Linux calls huge on the hosts we know.
#[cfg(target_os = "linux")]
const HUGE_PAGE: usize = 2 << 20;

/// Asks the system to back `values` with huge pages; only a wish.
#[cfg(target_os = "linux")]
pub fn advise_huge<T>(values: &mut [T]) {
    let range = values.as_mut_ptr_range();
    let start = (range.start as usize).next_multiple_of(HUGE_PAGE);
    let end = range.end as usize / HUGE_PAGE * HUGE_PAGE;
    if start < end {
        // SAFETY: whole pages of memory that is borrowed mutably; the advice changes no content.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE) };
    }
}

/// No such wish is known here.
#[cfg(not(target_os = "linux"))]
pub fn advise_huge<T>(_values: &mut [T]) {}

/// `len` times `value`, in huge pages from the first write on: one that comes before the advice leaves small
/// pages behind for good.
pub fn huge<T: Clone>(value: T, len: usize) -> Vec<T> {
    let mut values = Vec::with_capacity(len);
    advise_huge(values.spare_capacity_mut());
    values.resize(len, value);
    values
}
