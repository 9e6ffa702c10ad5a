//! Which CPUs the threads of ranks on GPUs run on: those near each rank's GPU. What a thread allocates, page-locked memory
//! too, lies near its CPUs.

use candle_core::{Error, Result};

use crate::exec::{ExecError, Threads};
use crate::ground::GpuIdentity;
use crate::ops::cpu::pin;

/// One rank's CPUs.
#[derive(Debug, PartialEq)]
struct Place {
    /// Empty: wherever the system puts its threads.
    cpus: Vec<usize>,
    /// One for each thread; else all for all.
    pinned: bool,
}

/// Those of all ranks.
#[derive(Debug)]
pub struct Places(Vec<Place>);

impl Places {
    /// Of ranks on `gpus`, which share `threads`.
    ///
    /// # Errors
    /// Threads that are to have a CPU each are more than there are near their GPU.
    pub fn new(gpus: &[GpuIdentity], threads: Threads) -> std::result::Result<Self, ExecError> {
        let allowed = pin::cpus().unwrap_or_default();
        let near: Vec<_> = gpus.iter().map(|gpu| pin::near(&gpu.pci_bus_id)).collect();
        Self::among(&allowed, &near, threads)
    }

    /// `near` names the CPUs near each rank's GPU; none where nobody knows.
    fn among(
        allowed: &[usize],
        near: &[Vec<usize>],
        threads: Threads,
    ) -> std::result::Result<Self, ExecError> {
        let (ranks, mut taken) = (near.len(), Vec::new());
        let places = near.iter().enumerate().map(|(rank, near)| {
            let mut cpus: Vec<usize> = allowed.to_vec();
            if cpus.iter().any(|cpu| near.contains(cpu)) {
                cpus.retain(|cpu| near.contains(cpu));
            }
            if threads.pinned {
                let wanted = threads.seat(rank, ranks).threads;
                cpus.retain(|cpu| !taken.contains(cpu));
                if cpus.len() < wanted {
                    return Err(ExecError::Pin(format!(
                        "rank {rank} has {wanted} threads, and {} CPUs near its GPU are left",
                        cpus.len()
                    )));
                }
                cpus.truncate(wanted);
                taken.extend_from_slice(&cpus);
            } else if cpus.len() == allowed.len() {
                cpus.clear();
            }
            Ok(Place {
                cpus,
                pinned: threads.pinned,
            })
        });
        places.collect::<std::result::Result<_, _>>().map(Self)
    }

    /// Binds the threads of `rank`, from one of them, before it has allocated anything.
    ///
    /// # Errors
    /// The system refuses.
    pub fn bind(&self, rank: usize) -> Result<()> {
        let Some(place) = self.0.get(rank).filter(|place| !place.cpus.is_empty()) else {
            return Ok(());
        };
        let of = |thread: usize| match place.pinned {
            true => &place.cpus[thread..=thread],
            false => &place.cpus[..],
        };
        pin::bind_workers(of).map_err(|error| Error::msg(ExecError::Pin(error.to_string())))
    }

    /// CPUs of each rank, as the system lists them; empty where none is bound.
    pub fn told(&self) -> Vec<String> {
        let listed: Vec<String> = self
            .0
            .iter()
            .map(|place| pin::listed(&place.cpus))
            .collect();
        match listed.iter().all(String::is_empty) {
            true => Vec::new(),
            false => listed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(
        near: &[&[usize]],
        count: usize,
        pinned: bool,
    ) -> std::result::Result<Places, ExecError> {
        let near: Vec<Vec<usize>> = near.iter().map(|cpus| cpus.to_vec()).collect();
        Places::among(&[0, 1, 2, 3, 4, 5, 6, 7], &near, Threads { count, pinned })
    }

    #[test]
    fn ranks_keep_to_the_cpus_near_their_gpus() {
        let near: [&[usize]; 3] = [&[0, 1, 2, 3], &[4, 5, 6, 7, 8], &[]];
        let places = places(&near, 3, false).unwrap();
        assert_eq!(places.told(), ["0-3", "4-7", ""]);
    }

    #[test]
    fn where_all_are_near_or_nobody_knows_nothing_is_bound() {
        let all: [&[usize]; 2] = [&[0, 1, 2, 3, 4, 5, 6, 7], &[64]];
        assert_eq!(places(&all, 2, false).unwrap().told(), [""; 0]);
    }

    #[test]
    fn pinned_threads_have_a_cpu_each_and_near_if_they_can() {
        let near: [&[usize]; 4] = [&[0, 1, 2, 3], &[0, 1, 2, 3], &[4, 5, 6, 7], &[]];
        assert_eq!(
            places(&near, 8, true).unwrap().told(),
            ["0-1", "2-3", "4-5", "6-7"]
        );
        let error = places(&near, 12, true).unwrap_err().to_string();
        assert!(
            error.contains("rank 1 has 3 threads, and 1 CPUs"),
            "{error}"
        );
    }
}
