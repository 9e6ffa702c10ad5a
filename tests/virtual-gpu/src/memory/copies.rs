//! Whole ranges: copies and fills.

use super::regions::Fault;
use super::view::{POISON, View};
use super::written::{all_written, mark, set, written};

impl View {
    /// A range's bytes for the host or a library; unwritten ones are poison.
    pub fn copy_out(&mut self, address: u64, out: &mut [u8]) -> Result<(), Fault> {
        if out.is_empty() {
            return Ok(());
        }
        let region = self.locate(address, out.len() as u64)?;
        let offset = address - region.start;
        // SAFETY: the range lies in the region; `out` is the caller's own memory.
        unsafe {
            region
                .host
                .add(offset as usize)
                .copy_to_nonoverlapping(out.as_mut_ptr(), out.len())
        };
        if !region.written.is_null() && !all_written(&region, offset, out.len() as u64) {
            for (at, byte) in out.iter_mut().enumerate() {
                if !written(&region, offset + at as u64) {
                    self.unwritten += 1;
                    *byte = POISON;
                }
            }
        }
        Ok(())
    }

    pub fn copy_in(&mut self, address: u64, from: &[u8]) -> Result<(), Fault> {
        if from.is_empty() {
            return Ok(());
        }
        let region = self.locate(address, from.len() as u64)?;
        let offset = address - region.start;
        // SAFETY: as in `copy_out`.
        unsafe {
            region
                .host
                .add(offset as usize)
                .copy_from_nonoverlapping(from.as_ptr(), from.len())
        };
        mark(&region, offset, from.len() as u64);
        Ok(())
    }

    /// A copy within device memory, which carries along what was never written.
    pub fn copy(&mut self, to: u64, from: u64, bytes: u64) -> Result<(), Fault> {
        if bytes == 0 {
            return Ok(());
        }
        let source = self.locate(from, bytes)?;
        let target = self.locate(to, bytes)?;
        let (source_at, target_at) = (from - source.start, to - target.start);
        // SAFETY: both ranges lie in their regions; they may overlap.
        unsafe {
            source
                .host
                .add(source_at as usize)
                .copy_to(target.host.add(target_at as usize), bytes as usize);
        }
        if source.written.is_null() || all_written(&source, source_at, bytes) {
            mark(&target, target_at, bytes);
        } else {
            for at in 0..bytes {
                set(&target, target_at + at, written(&source, source_at + at));
            }
        }
        Ok(())
    }

    pub fn fill(&mut self, to: u64, value: &[u8], count: u64) -> Result<(), Fault> {
        let bytes = value.len() as u64 * count;
        if bytes == 0 {
            return Ok(());
        }
        let region = self.locate(to, bytes)?;
        let offset = to - region.start;
        // SAFETY: the range lies in the region.
        unsafe {
            let at = region.host.add(offset as usize);
            if let [byte] = value {
                at.write_bytes(*byte, bytes as usize);
            } else {
                for n in 0..count as usize {
                    at.add(n * value.len())
                        .copy_from_nonoverlapping(value.as_ptr(), value.len());
                }
            }
        }
        mark(&region, offset, bytes);
        Ok(())
    }
}
