//! Whether a launcher (mpirun, srun) started this program as one process of several, as the environment
//! tells it: MPI itself is not asked, since to ask it is to join.

use std::time::Duration;

/// This process among those of one launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launched {
    /// Its own number.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
}

/// Number of processes and the own number: Open MPI; MPICH's hydra and `srun --mpi=pmi2`; any `srun`.
///
/// `SLURM_NTASKS` and `SLURM_PROCID` alone do not count: a batch script and a login shell have them too.
const VARIABLES: [(&str, &str); 3] = [
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("PMI_SIZE", "PMI_RANK"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
];

/// Rank 0 starts at the same time, and on the same errors.
const RANK_0_SPEAKS: Duration = Duration::from_secs(1);

/// `None` for a program that runs on its own, and for one that was launched alone.
pub fn launched() -> Option<Launched> {
    among(|name| std::env::var(name).ok())
}

/// For a rank that fails as rank 0 does: a launcher ends the others when the first one fails.
pub fn let_rank_0_speak() {
    std::thread::sleep(RANK_0_SPEAKS);
}

fn among(variable: impl Fn(&str) -> Option<String>) -> Option<Launched> {
    let number = |name| variable(name)?.parse::<usize>().ok();
    let told = VARIABLES
        .iter()
        .find_map(|(size, rank)| Some((number(size)?, number(rank)?)));
    let (size, rank) = told?;
    (size > 1).then_some(Launched { rank, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Option<(usize, usize)> {
        let found = among(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        found.map(|Launched { rank, size }| (rank, size))
    }

    #[test]
    fn launchers_are_told_from_shells() {
        assert_eq!(with(&[]), None);
        let open_mpi = [("OMPI_COMM_WORLD_SIZE", "4"), ("OMPI_COMM_WORLD_RANK", "3")];
        assert_eq!(with(&open_mpi), Some((3, 4)));
        assert_eq!(with(&[("PMI_SIZE", "2"), ("PMI_RANK", "0")]), Some((0, 2)));
        let alone = [("OMPI_COMM_WORLD_SIZE", "1"), ("OMPI_COMM_WORLD_RANK", "0")];
        assert_eq!(with(&alone), None);
        // The shell of a batch script with four tasks; then a task of srun in it.
        let batch = [("SLURM_NTASKS", "4"), ("SLURM_PROCID", "0")];
        assert_eq!(with(&batch), None);
        let task = [("SLURM_STEP_NUM_TASKS", "4"), ("SLURM_PROCID", "2")];
        assert_eq!(with(&task), Some((2, 4)));
        let odd = [("PMI_SIZE", "many"), ("PMI_RANK", "0")];
        assert_eq!(with(&odd), None);
    }
}
