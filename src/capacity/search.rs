//! Which load to play next, from those that were played: doubled until one fails, then halved in between, then the two
//! beside the edge again until most of their plays agree. One whose plays disagree is decided before another is tried. A
//! pure function of the history.

/// Beside the edge two loads are this near, as a part of the lower one; 1 apart where loads are counted.
const NEAR: f64 = 0.01;
const STEP: f64 = 2.0;

/// Where loads lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    pub min: f64,
    pub max: f64,
    /// The first to be played.
    pub start: f64,
    /// Loads are counted.
    pub is_whole: bool,
    /// Plays of a load beside the edge.
    pub repeats: usize,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Play these, which do not depend on each other.
    Play(Vec<f64>),
    /// The highest load that passed below the lowest that failed; of one that is `None` there is none.
    Done {
        passing: Option<f64>,
        failing: Option<f64>,
    },
}

/// All plays of one load.
#[derive(Debug, Clone, Copy)]
struct Plays {
    value: f64,
    passed: usize,
    failed: usize,
}

impl Plays {
    /// Most of them; of as many, the load fails.
    fn passes(&self) -> bool {
        self.passed > self.failed
    }

    /// Some passed and some failed.
    fn is_disputed(&self) -> bool {
        self.passed.min(self.failed) > 0
    }

    /// Plays until more of them could not change that.
    fn left(&self, repeats: usize) -> usize {
        let most = self.passed.max(self.failed);
        (repeats / 2 + 1).saturating_sub(most)
    }
}

/// The highest load that passed below the lowest that failed, and that one.
fn beside(plays: &[Plays]) -> (Option<&Plays>, Option<&Plays>) {
    let failing = plays.iter().find(|plays| !plays.passes());
    let below = |plays: &&Plays| failing.is_none_or(|failing| plays.value < failing.value);
    let passing = plays.iter().filter(|plays| plays.passes()).rfind(below);
    (passing, failing)
}

/// The loads beside the edge, as far as it is known.
pub fn bracket(history: &[(f64, bool)]) -> (Option<f64>, Option<f64>) {
    let plays = plays(history);
    let (passing, failing) = beside(&plays);
    (
        passing.map(|plays| plays.value),
        failing.map(|plays| plays.value),
    )
}

/// `history`: each load that was played, and whether it passed.
pub fn next(axis: &Axis, history: &[(f64, bool)]) -> Next {
    let plays = plays(history);
    let again = |plays: &Plays| std::iter::repeat_n(plays.value, plays.left(axis.repeats));
    let disputed = plays.iter().filter(|plays| plays.is_disputed());
    let disputed: Vec<f64> = disputed.flat_map(again).collect();
    if !disputed.is_empty() {
        return Next::Play(disputed);
    }
    let (passing, failing) = beside(&plays);
    let one =
        match (passing, failing) {
            (None, None) => Some(axis.start),
            (Some(passing), None) => (passing.value < axis.max)
                .then(|| rounded(axis, passing.value * STEP).min(axis.max)),
            (None, Some(failing)) => (failing.value > axis.min)
                .then(|| rounded(axis, failing.value / STEP).max(axis.min)),
            (Some(passing), Some(failing)) => between(axis, passing.value, failing.value),
        };
    if let Some(one) = one {
        return Next::Play(vec![one]);
    }
    let edge = [passing, failing].into_iter().flatten();
    let again: Vec<f64> = edge.flat_map(again).collect();
    match again.is_empty() {
        false => Next::Play(again),
        true => Next::Done {
            passing: passing.map(|plays| plays.value),
            failing: failing.map(|plays| plays.value),
        },
    }
}

/// Ascending.
fn plays(history: &[(f64, bool)]) -> Vec<Plays> {
    let mut all: Vec<Plays> = Vec::new();
    for &(value, passed) in history {
        let known = all.iter().position(|plays| plays.value == value);
        let index = known.unwrap_or_else(|| {
            all.push(Plays {
                value,
                passed: 0,
                failed: 0,
            });
            all.len() - 1
        });
        all[index].passed += usize::from(passed);
        all[index].failed += usize::from(!passed);
    }
    all.sort_by(|a, b| a.value.total_cmp(&b.value));
    all
}

/// A load in the middle; `None`: the two are near enough.
fn between(axis: &Axis, low: f64, high: f64) -> Option<f64> {
    let near = match axis.is_whole {
        true => (low * NEAR).floor().max(1.0),
        false => low * NEAR,
    };
    let middle = match axis.is_whole {
        true => ((low + high) / 2.0).floor(),
        false => (low * high).sqrt(),
    };
    (high - low > near).then_some(middle)
}

fn rounded(axis: &Axis, value: f64) -> f64 {
    match axis.is_whole {
        true => value.floor(),
        false => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTED: Axis = Axis {
        min: 1.0,
        max: 1024.0,
        start: 1.0,
        is_whole: true,
        repeats: 3,
    };

    /// The answer where `passes` says how each play ends, and the number of plays.
    fn search(
        axis: &Axis,
        mut passes: impl FnMut(f64) -> bool,
    ) -> (Option<f64>, Option<f64>, usize) {
        let mut history = Vec::new();
        for _ in 0..1000 {
            match next(axis, &history) {
                Next::Play(values) => {
                    history.extend(values.into_iter().map(|value| (value, passes(value))));
                }
                Next::Done { passing, failing } => return (passing, failing, history.len()),
            }
        }
        panic!("it never ends: {history:?}");
    }

    #[test]
    fn every_edge_is_found_in_few_loads() {
        for edge in 1..1024 {
            let edge = f64::from(edge);
            let (passing, failing, plays) = search(&COUNTED, |value| value <= edge);
            let (passing, failing) = (passing.unwrap(), failing.unwrap());
            assert!(passing <= edge && edge < failing, "{edge}");
            assert!(failing - passing <= (0.01 * passing).max(1.0), "{edge}");
            assert!(plays <= 24, "{edge}: {plays}");
        }
    }

    #[test]
    fn an_axis_that_has_no_edge_is_left_at_its_end() {
        assert_eq!(search(&COUNTED, |_| true).0, Some(1024.0));
        assert_eq!(search(&COUNTED, |_| true).1, None);
        assert_eq!(search(&COUNTED, |_| false), (None, Some(1.0), 2));
        let odd = Axis {
            min: 3.0,
            max: 7.0,
            start: 3.0,
            ..COUNTED
        };
        assert_eq!(search(&odd, |_| true).0, Some(7.0));
        assert_eq!(search(&odd, |value| value < 5.0).0, Some(4.0));
    }

    #[test]
    fn a_rate_is_found_above_and_below_the_first() {
        let axis = Axis {
            min: 0.01,
            max: 1e6,
            start: 1.0,
            is_whole: false,
            repeats: 1,
        };
        for edge in [0.02, 0.5, 3.7, 812.0] {
            let (passing, failing, _) = search(&axis, |value| value <= edge);
            let (passing, failing) = (passing.unwrap(), failing.unwrap());
            assert!(passing <= edge && edge < failing && failing / passing < 1.02);
        }
        assert_eq!(search(&axis, |_| false).1, Some(0.01));
    }

    /// As where requests arrive by chance: each play of a load has arrivals of its own, and with them an edge.
    #[test]
    fn plays_that_disagree_send_no_one_away() {
        let axis = Axis {
            min: 1.0,
            max: 1e6,
            start: 5.0,
            is_whole: false,
            repeats: 3,
        };
        for (edges, most) in [
            ([309.0, 298.0, 330.0], 20),
            ([298.0, 330.0, 309.0], 40),
            ([330.0, 309.0, 298.0], 60),
        ] {
            let mut played: Vec<f64> = Vec::new();
            let (passing, failing, plays) = search(&axis, |value| {
                let number = played.iter().filter(|other| **other == value).count();
                played.push(value);
                value <= edges[number]
            });
            let (passing, failing) = (passing.unwrap(), failing.unwrap());
            assert!(passing <= 309.0 && 309.0 < failing && failing / passing < 1.02);
            assert!(plays <= most, "{edges:?}: {plays}");
        }
    }

    /// One play in four of a load below 100 fails, and of one above it passes.
    #[test]
    fn most_plays_decide_beside_the_edge() {
        let mut count = 0;
        let (passing, failing, _) = search(&COUNTED, |value| {
            count += 1;
            (value < 100.0) != (count % 4 == 0)
        });
        let (passing, failing) = (passing.unwrap(), failing.unwrap());
        assert!(passing < failing && failing - passing <= 1.0);
        // The last answers of both are those of two plays or more.
        let mut second = 0;
        let flips = search(&COUNTED, |value| {
            second += usize::from(value == 64.0);
            value < 64.0 || value == 64.0 && second == 1
        });
        assert_eq!((flips.0, flips.1), (Some(63.0), Some(64.0)));
    }
}
