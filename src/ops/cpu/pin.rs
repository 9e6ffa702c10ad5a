//! Threads bound to cores of their own, for hosts whose scheduler moves them about, or to those near a device.

use std::io;
use std::path::Path;

use super::workers;

/// Binds the threads of the current `workers` to one CPU each, from the `first` on: one of every physical
/// core, then their siblings. What the calling thread starts afterwards shares its CPU.
///
/// # Errors
/// There are more threads than CPUs that this process may use, or the system has no such call.
pub fn pin_workers(first: usize) -> io::Result<()> {
    let (threads, cpus) = (workers::threads(), cpus()?);
    let needed = first + threads;
    if needed > cpus.len() {
        let reason = format!("{needed} threads, and {} CPUs to bind them to", cpus.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    bind_workers(|thread| std::slice::from_ref(&cpus[first + thread]))
}

/// Binds each thread of the current `workers` to the CPUs that `of` names for its number. What the calling thread starts
/// afterwards shares its CPUs.
///
/// # Errors
/// They are none that this process may use, or the system has no such call.
pub fn bind_workers<'a>(of: impl Fn(usize) -> &'a [usize] + Sync) -> io::Result<()> {
    let failed = std::sync::Mutex::new(None);
    workers::each(workers::threads(), |thread| {
        if let Err(error) = pin(of(thread)) {
            let mut failed = failed
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            failed.replace(error);
        }
    });
    let failed = failed.into_inner();
    failed
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .map_or(Ok(()), Err)
}

/// CPUs of the NUMA node of a PCI device, whose bus id is `0000:1A:00.0` or like it; empty where the system does not
/// tell.
pub fn near(bus_id: &str) -> Vec<usize> {
    near_in(Path::new("/sys/bus/pci/devices"), bus_id)
}

fn near_in(devices: &Path, bus_id: &str) -> Vec<usize> {
    let file = devices.join(bus_id.to_lowercase()).join("local_cpulist");
    let listed = std::fs::read_to_string(file).unwrap_or_default();
    let ranges = listed.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

/// As the system lists CPUs: `0-3,8`.
pub fn listed(cpus: &[usize]) -> String {
    let mut sorted = cpus.to_vec();
    sorted.sort_unstable();
    let runs = sorted.chunk_by(|a, b| a + 1 == *b);
    let runs = runs.map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        one => one.iter().map(usize::to_string).collect(),
    });
    runs.collect::<Vec<_>>().join(",")
}

/// CPUs that this process may use, one of each physical core before any sibling.
#[cfg(target_os = "linux")]
pub fn cpus() -> io::Result<Vec<usize>> {
    // SAFETY: a set of bits, for which all zeros are a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a set of the size given; 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let allowed = (0..libc::CPU_SETSIZE as usize).filter(|&cpu| {
        // SAFETY: `cpu` is below the set's size.
        unsafe { libc::CPU_ISSET(cpu, &set) }
    });
    let mut cpus: Vec<usize> = allowed.collect();
    // A stable sort: within the first threads of cores, and within the siblings, in order.
    cpus.sort_by_key(|&cpu| place_among_siblings(cpu));
    Ok(cpus)
}

/// How many lower CPUs share the core of `cpu`; 0 where the system does not tell.
#[cfg(target_os = "linux")]
fn place_among_siblings(cpu: usize) -> usize {
    let file = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    let siblings = std::fs::read_to_string(file).unwrap_or_default();
    // "0,64" or "0-1".
    let numbers = siblings.trim().split([',', '-']);
    let lower = |number: &str| number.parse::<usize>().is_ok_and(|number| number < cpu);
    numbers.filter(|number| lower(number)).count()
}

#[cfg(target_os = "linux")]
fn pin(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: a set of bits, for which all zeros are a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus.iter().filter(|&&cpu| cpu < libc::CPU_SETSIZE as usize) {
        // SAFETY: `cpu` is below the set's size.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the pointer is to a set of the size given; 0 is the calling thread.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(target_os = "linux"))]
pub fn cpus() -> io::Result<Vec<usize>> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn pin(_cpus: &[usize]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::ops::cpu::workers::{Workers, each};

    #[test]
    fn cpus_near_a_device_are_read_and_listed() {
        let devices = tempfile::tempdir().unwrap();
        let of = |list: &str| {
            let device = devices.path().join("0000:1a:00.0");
            std::fs::create_dir_all(&device).unwrap();
            std::fs::write(device.join("local_cpulist"), list).unwrap();
            near_in(devices.path(), "0000:1A:00.0")
        };
        assert_eq!(of("0-3,64-65\n"), [0, 1, 2, 3, 64, 65]);
        assert_eq!(of("7\n"), [7]);
        assert_eq!(of("\n"), [0; 0]);
        assert_eq!(near_in(devices.path(), "0000:1B:00.0"), [0; 0]);
        assert_eq!(listed(&[64, 0, 1, 3, 2, 65, 9]), "0-3,9,64-65");
        assert_eq!(listed(&[]), "");
    }

    #[test]
    fn each_thread_has_a_cpu_of_its_own() {
        // A thread of its own: the test harness's threads stay free.
        let test = || {
            let all = cpus().unwrap();
            let mut workers = Workers::new(all.len(), true).unwrap();
            workers.install(|| {
                pin_workers(0).unwrap();
                let count = all.len();
                each(count, |thread| assert_eq!(cpus().unwrap(), [all[thread]]));
            });
            let mut more = Workers::new(2, false).unwrap();
            // This thread may only use one CPU now.
            let error = more.install(|| pin_workers(0)).unwrap_err();
            assert!(error.to_string().contains("2 threads"), "{error}");
        };
        std::thread::spawn(test).join().unwrap();
    }
}
