//! Throughput against latency: the points that no other beats in both.

/// Tokens a second that one user sees, and that one GPU (or the machine) gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speeds {
    pub per_user: f64,
    pub per_gpu: f64,
}

/// Indices of the points on the frontier, from the slowest for a user to the fastest; of equal ones the first.
pub fn frontier(points: &[Option<Speeds>]) -> Vec<usize> {
    let known = points.iter().enumerate();
    let mut known: Vec<(usize, Speeds)> = known
        .filter_map(|(index, speeds)| Some((index, (*speeds)?)))
        .collect();
    // The fastest for a user first; whatever follows must give more.
    known.sort_by(|(i, a), (j, b)| {
        let order = b.per_user.total_cmp(&a.per_user);
        order.then(b.per_gpu.total_cmp(&a.per_gpu)).then(i.cmp(j))
    });
    let mut most = f64::NEG_INFINITY;
    let mut frontier = Vec::new();
    for (index, speeds) in known {
        if speeds.per_gpu > most {
            most = speeds.per_gpu;
            frontier.push(index);
        }
    }
    frontier.reverse();
    frontier
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_that_another_beats_in_both_is_not_on_it() {
        let speeds = |per_user, per_gpu| Some(Speeds { per_user, per_gpu });
        let points = [
            speeds(100.0, 100.0),
            None,
            speeds(50.0, 400.0),
            speeds(40.0, 300.0),
            speeds(10.0, 900.0),
            speeds(100.0, 90.0),
            speeds(50.0, 400.0),
        ];
        assert_eq!(frontier(&points), [4, 2, 0]);
        assert_eq!(frontier(&[]), Vec::<usize>::new());
    }
}
