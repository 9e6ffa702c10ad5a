//! Which GPUs the processes of a job take: each the first that it may see and no process before it has, where they share a
//! machine. What a launcher lets each process see (`CUDA_VISIBLE_DEVICES`) is respected, shared or not.

use crate::ground::GpuIdentity;

/// Of each process so many GPUs as it has ranks: `each`. `seen`: the machine of each process, and the GPUs that it may see.
///
/// # Errors
/// A process sees too few that are free, as a sentence.
pub fn assign(
    seen: &[(&str, Vec<GpuIdentity>)],
    each: usize,
) -> Result<Vec<Vec<GpuIdentity>>, String> {
    let mut taken: Vec<(&str, String)> = Vec::new();
    let mut all = Vec::new();
    for (process, (host, gpus)) in seen.iter().enumerate() {
        let is_free = |gpu: &&GpuIdentity| {
            let place = (*host, &gpu.pci_bus_id);
            !taken.iter().any(|(host, bus)| (*host, bus) == place)
        };
        let own: Vec<GpuIdentity> = gpus.iter().filter(is_free).take(each).cloned().collect();
        if own.len() < each {
            let (there, rank) = (gpus.len(), process * each + own.len());
            return Err(format!(
                "no GPU is left for rank {rank} on {host}: its process sees {there}, and the ranks before it have all of them; start fewer ranks on a machine, or see CUDA_VISIBLE_DEVICES"
            ));
        }
        taken.extend(own.iter().map(|gpu| (*host, gpu.pci_bus_id.clone())));
        all.push(own);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GPUs at these places on the bus, in the order of CUDA's ordinals.
    fn gpus(places: &[&str]) -> Vec<GpuIdentity> {
        let gpu = |(index, place): (usize, &&str)| GpuIdentity {
            index,
            pci_bus_id: (*place).to_owned(),
            ..GpuIdentity::default()
        };
        places.iter().enumerate().map(gpu).collect()
    }

    fn ordinals(seen: &[(&str, &[&str])], each: usize) -> Result<Vec<Vec<usize>>, String> {
        let seen: Vec<_> = seen
            .iter()
            .map(|(host, places)| (*host, gpus(places)))
            .collect();
        let all = assign(&seen, each)?;
        let of = |gpus: Vec<GpuIdentity>| gpus.into_iter().map(|gpu| gpu.index).collect();
        Ok(all.into_iter().map(of).collect())
    }

    #[test]
    fn processes_that_see_all_take_one_after_the_other() {
        let four: &[&str] = &["1", "2", "3", "4"];
        let seen = [("a", four), ("a", four), ("b", four), ("a", four)];
        assert_eq!(
            ordinals(&seen, 1).unwrap(),
            [vec![0], vec![1], vec![0], vec![2]]
        );
        let seen = [("a", four), ("a", four), ("b", four)];
        assert_eq!(
            ordinals(&seen, 2).unwrap(),
            [vec![0, 1], vec![2, 3], vec![0, 1]]
        );
    }

    /// As `srun --gpus-per-task=1`, and as a launcher that only turns their order.
    #[test]
    fn what_a_launcher_shows_is_taken() {
        let seen: [(&str, &[&str]); 3] = [("a", &["1"]), ("a", &["2"]), ("b", &["1"])];
        assert_eq!(ordinals(&seen, 1).unwrap(), [vec![0], vec![0], vec![0]]);
        let seen: [(&str, &[&str]); 2] = [("a", &["2", "1"]), ("a", &["1", "2"])];
        assert_eq!(ordinals(&seen, 1).unwrap(), [vec![0], vec![0]]);
    }

    #[test]
    fn more_ranks_than_cards_are_refused_with_the_numbers() {
        let two: &[&str] = &["1", "2"];
        let error = ordinals(&[("a", two), ("b", two), ("a", two)], 2).unwrap_err();
        assert!(
            error.starts_with("no GPU is left for rank 4 on a: its process sees 2, "),
            "{error}"
        );
        assert!(ordinals(&[("a", &[])], 1).is_err());
    }
}
