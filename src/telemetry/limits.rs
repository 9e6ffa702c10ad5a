//! What this process may take of the machine's memory: the limits of every cgroup that it is in, from its own up to the
//! root, and of its address space.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

/// Where the kernel shows cgroups, and where a process tells which ones are its own.
const MOUNT: &str = "/sys/fs/cgroup";
const MEMBERSHIP: &str = "/proc/self/cgroup";
const USED_PAGES: &str = "/proc/self/statm";
/// The controller of memory where there is a tree for each, and its limit where none is set: the largest multiple of a page.
const V1_CONTROLLER: &str = "memory";
const V1_UNLIMITED: u64 = 1 << 62;

/// One limit, and what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Bytes.
    pub total: u64,
    pub left: u64,
}

/// Every limit that is set on this process.
pub fn limits() -> Vec<Limit> {
    let membership = fs::read_to_string(MEMBERSHIP).unwrap_or_default();
    let mut limits = cgroups(Path::new(MOUNT), &membership);
    limits.extend(address_space());
    limits
}

/// `ulimit -v`: what is mapped counts, whether it was touched or not.
fn address_space() -> Option<Limit> {
    let total = getrlimit(Resource::As).current?;
    let pages = fs::read_to_string(USED_PAGES).ok()?;
    let pages: u64 = pages.split_whitespace().next()?.parse().ok()?;
    let mapped = pages * rustix::param::page_size() as u64;
    Some(Limit {
        total,
        left: total.saturating_sub(mapped),
    })
}

/// Of the cgroups that `membership` (lines of `id:controllers:path`) names under `mount`, and of those around them.
fn cgroups(mount: &Path, membership: &str) -> Vec<Limit> {
    let mut limits = Vec::new();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (root, read): (PathBuf, fn(&Path) -> Option<Limit>) = match controllers {
            "" => (mount.to_owned(), unified),
            of if of.split(',').any(|name| name == V1_CONTROLLER) => {
                (mount.join(V1_CONTROLLER), of_controller)
            }
            _ => continue,
        };
        // In a container the path may be one of the host, which is not there: the mount itself is then the own cgroup.
        let mut inner = Path::new(path.trim_start_matches('/'));
        loop {
            limits.extend(read(&root.join(inner)));
            match inner.parent() {
                Some(parent) => inner = parent,
                None => break,
            }
        }
    }
    limits
}

/// A cgroup of the one tree for all controllers.
fn unified(dir: &Path) -> Option<Limit> {
    let total = number(&dir.join("memory.max"))?;
    let used = number(&dir.join("memory.current"))?;
    Some(Limit {
        total,
        left: total.saturating_sub(used.saturating_sub(gives_way(dir, "inactive_file"))),
    })
}

/// A cgroup of the tree for memory.
fn of_controller(dir: &Path) -> Option<Limit> {
    let total = number(&dir.join("memory.limit_in_bytes"))?;
    let used = number(&dir.join("memory.usage_in_bytes"))?;
    (total < V1_UNLIMITED).then(|| Limit {
        total,
        left: total.saturating_sub(used.saturating_sub(gives_way(dir, "total_inactive_file"))),
    })
}

/// Page cache counts against a cgroup, and is dropped before anything fails.
fn gives_way(dir: &Path, key: &str) -> u64 {
    let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let values = stat.lines().filter_map(|line| line.split_once(' '));
    let found = values.filter(|(name, _)| *name == key);
    found
        .filter_map(|(_, value)| value.parse::<u64>().ok())
        .sum()
}

/// `None`: there is no such file, or it says `max`.
fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn write(dir: &Path, files: &[(&str, String)]) {
        fs::create_dir_all(dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
    }

    #[test]
    fn the_limit_of_a_cgroup_around_the_own_one_counts() {
        let mount = tempfile::tempdir().unwrap();
        let outer = mount.path().join("slice");
        write(
            &outer,
            &[
                ("memory.max", GIB.to_string()),
                ("memory.current", (GIB / 2).to_string()),
                (
                    "memory.stat",
                    format!("anon 5\ninactive_file {}\n", GIB / 4),
                ),
            ],
        );
        write(
            &outer.join("own"),
            &[
                ("memory.max", "max\n".to_owned()),
                ("memory.current", "9\n".to_owned()),
            ],
        );
        let found = cgroups(mount.path(), "0::/slice/own\n");
        let limit = Limit {
            total: GIB,
            left: GIB - GIB / 4,
        };
        assert_eq!(found, [limit]);
        // A path of the host, in a container: nothing is there, and nothing is refused.
        assert_eq!(cgroups(mount.path(), "0::/elsewhere"), []);
    }

    #[test]
    fn a_tree_for_each_controller_is_read_too() {
        let mount = tempfile::tempdir().unwrap();
        let own = mount.path().join("memory/docker/1");
        write(
            &own,
            &[
                ("memory.limit_in_bytes", (2 * GIB).to_string()),
                ("memory.usage_in_bytes", GIB.to_string()),
            ],
        );
        write(
            &mount.path().join("memory"),
            &[
                ("memory.limit_in_bytes", "9223372036854771712".to_owned()),
                ("memory.usage_in_bytes", GIB.to_string()),
            ],
        );
        let found = cgroups(mount.path(), "5:cpu,cpuacct:/\n4:memory:/docker/1\nodd\n");
        let limit = Limit {
            total: 2 * GIB,
            left: GIB,
        };
        assert_eq!(found, [limit]);
    }
}
