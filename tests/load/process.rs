//! This process, as the system sees it.

const MIB: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pub resident_mib: usize,
    pub threads: usize,
    pub files: usize,
}

impl Process {
    pub fn now() -> Self {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
        let entries = |path| std::fs::read_dir(path).unwrap().count();
        Self {
            // Pages of 4 KiB: larger ones make the bounds of the tests narrower, not wider.
            resident_mib: pages * 4096 / MIB,
            threads: entries("/proc/self/task"),
            files: entries("/proc/self/fd"),
        }
    }
}
