//! Memory of the machine, within the limits of its control groups and of the process.

use std::fs;
use std::path::Path;

use sysinfo::{MemoryRefreshKind, System};

/// Where control groups are mounted, and where the old kind has its memory.
const GROUPS: &str = "/sys/fs/cgroup";
const OLD_GROUPS: &str = "/sys/fs/cgroup/memory";
const KIB: u64 = 1024;

/// Bytes that this process may count on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub total: u64,
    /// Not in use now.
    pub available: u64,
}

/// Zeros where the system does not tell.
pub fn memory() -> Memory {
    let Ok(mut system) = System::new() else {
        return Memory {
            total: 0,
            available: 0,
        };
    };
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let machine = Memory {
        total: system.total_memory(),
        available: system.available_memory(),
    };
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let groups = read("/proc/self/cgroup");
    let groups = group_limits(&groups, Path::new(GROUPS), Path::new(OLD_GROUPS));
    let address_space = address_space(&read("/proc/self/limits"), &read("/proc/self/status"));
    groups
        .into_iter()
        .chain(address_space)
        .fold(machine, Memory::within)
}

/// A limit, and what counts against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    most: u64,
    used: u64,
}

impl Memory {
    fn within(self, limit: Limit) -> Self {
        Self {
            total: self.total.min(limit.most),
            available: self.available.min(limit.most.saturating_sub(limit.used)),
        }
    }
}

/// Of the groups of the process and of every group around them: `membership` is `/proc/self/cgroup`.
fn group_limits(membership: &str, root: &Path, old_root: &Path) -> Vec<Limit> {
    let memory = |line: &str| -> Option<Vec<Limit>> {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let path = path.trim_start_matches('/');
        match controllers {
            "" => Some(limits_above(root, path, limit)),
            _ if controllers.split(',').any(|name| name == "memory") => {
                Some(limits_above(old_root, path, old_limit))
            }
            _ => None,
        }
    };
    membership.lines().filter_map(memory).flatten().collect()
}

fn limits_above(root: &Path, path: &str, read: fn(&Path) -> Option<Limit>) -> Vec<Limit> {
    let groups = Path::new(path).ancestors();
    groups.filter_map(|group| read(&root.join(group))).collect()
}

/// Page cache counts against a group, but it gives way: what is in use is the rest.
fn limit(group: &Path) -> Option<Limit> {
    let most = number(group, "memory.max")?;
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let used = entry(&stat, "anon").unwrap_or(0) + entry(&stat, "shmem").unwrap_or(0);
    Some(Limit { most, used })
}

fn old_limit(group: &Path) -> Option<Limit> {
    let most = number(group, "memory.limit_in_bytes")?;
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let used = entry(&stat, "total_rss").or(entry(&stat, "rss"));
    Some(Limit {
        most,
        used: used.unwrap_or(0),
    })
}

/// `None` where there is no limit.
fn number(group: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(group.join(file))
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn entry(stat: &str, name: &str) -> Option<u64> {
    let line = stat
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line?.trim().parse().ok()
}

/// What `ulimit -v` set: `/proc/self/limits` and `/proc/self/status`.
fn address_space(limits: &str, status: &str) -> Option<Limit> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max address space"))?;
    let most = line.split_whitespace().next()?.parse().ok()?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kib: Option<u64> = size.and_then(|size| size.split_whitespace().next()?.parse().ok());
    Some(Limit {
        most,
        used: kib.unwrap_or(0) * KIB,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(root: &Path, path: &str, files: &[(&str, &str)]) {
        let group = root.join(path);
        fs::create_dir_all(&group).unwrap();
        for (name, text) in files {
            fs::write(group.join(name), text).unwrap();
        }
    }

    #[test]
    fn the_tightest_group_around_the_process_decides() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let stat = "anon 600\nfile 9000\nshmem 100\n";
        group(
            root,
            "slice",
            &[("memory.max", "1000\n"), ("memory.stat", stat)],
        );
        group(
            root,
            "slice/own",
            &[("memory.max", "max\n"), ("memory.stat", "anon 5\n")],
        );
        let found = group_limits("0::/slice/own\n", root, Path::new("/none"));
        assert_eq!(
            found,
            [Limit {
                most: 1000,
                used: 700
            }]
        );
        let machine = Memory {
            total: 5000,
            available: 4000,
        };
        let inside = machine.within(found[0]);
        assert_eq!((inside.total, inside.available), (1000, 300));
        // A limit wider than the machine is none.
        let wide = machine.within(Limit {
            most: 1 << 60,
            used: 5,
        });
        assert_eq!(wide, machine);
        assert!(group_limits("0::/elsewhere\n", root, Path::new("/none")).is_empty());
    }

    #[test]
    fn groups_of_the_old_kind_are_read() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let files = [
            ("memory.limit_in_bytes", "800\n"),
            ("memory.stat", "rss 3\ntotal_rss 50\n"),
        ];
        group(root, "a/b", &files);
        let membership = "5:cpu,cpuacct:/x\n4:memory:/a/b\n";
        let found = group_limits(membership, Path::new("/none"), root);
        assert_eq!(
            found,
            [Limit {
                most: 800,
                used: 50
            }]
        );
    }

    #[test]
    fn a_limit_on_addresses_is_one_on_memory() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
             Max address space         2097152              unlimited            bytes\n";
        let status = "Name:\tx\nVmSize:\t     512 kB\n";
        let expected = Limit {
            most: 2 << 20,
            used: 512 << 10,
        };
        assert_eq!(address_space(limits, status), Some(expected));
        let none = limits.replace("2097152  ", "unlimited");
        assert_eq!(address_space(&none, status), None);
        assert_eq!(address_space("", ""), None);
    }

    #[test]
    fn this_machine_has_memory() {
        let memory = memory();
        assert!(
            memory.available > 0 && memory.available <= memory.total,
            "{memory:?}"
        );
    }
}
