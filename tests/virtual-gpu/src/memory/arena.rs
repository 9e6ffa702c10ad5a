//! Host memory behind a device: reserved at once, given by the system page by page.

use std::ptr::null_mut;

const PAGE: usize = 4096;
/// Freed ranges from here on are given back to the system.
const WORTH_RETURNING: usize = 16 * PAGE;

pub struct Arena {
    start: *mut u8,
    bytes: usize,
}

// SAFETY: the arena is an address range; what is read and written in it is arranged by its users.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    pub fn reserve(bytes: usize) -> std::io::Result<Self> {
        // SAFETY: a new private mapping at an address of the system's choice touches nothing else.
        let start = unsafe {
            libc::mmap(
                null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        Ok(Self {
            start: start.cast(),
            bytes,
        })
    }

    pub fn at(&self, offset: usize) -> *mut u8 {
        assert!(
            offset <= self.bytes,
            "offset {offset} is outside an arena of {} bytes",
            self.bytes
        );
        // SAFETY: the offset is within the mapping.
        unsafe { self.start.add(offset) }
    }

    /// Makes a range zero again, and gives its pages back where that is worth a system call.
    pub fn clear(&self, offset: usize, bytes: usize) {
        assert!(
            offset + bytes <= self.bytes,
            "a range to clear ends outside its arena"
        );
        let (first, last) = (
            offset.next_multiple_of(PAGE),
            (offset + bytes) / PAGE * PAGE,
        );
        if bytes < WORTH_RETURNING || last <= first {
            // SAFETY: the range is within the mapping and nobody uses it: it is not allocated.
            unsafe { self.at(offset).write_bytes(0, bytes) };
            return;
        }
        // SAFETY: as above; whole pages go back to the system, which shows them as zero from now on.
        unsafe {
            self.at(offset).write_bytes(0, first - offset);
            self.at(last).write_bytes(0, offset + bytes - last);
            libc::madvise(self.at(first).cast(), last - first, libc::MADV_DONTNEED);
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `reserve` and is not used after this.
        unsafe { libc::munmap(self.start.cast(), self.bytes) };
    }
}
