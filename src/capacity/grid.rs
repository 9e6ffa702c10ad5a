//! `NAME=V1,V2,…` with ranges, and the points that several of them make.

/// Values of one flag. Of several the points are every combination, the last varying fastest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridAxis {
    /// Without dashes before it.
    pub flag: String,
    /// As they would stand on the command line; never none.
    pub values: Vec<String>,
}

/// No sweep has more points.
const MOST_POINTS: usize = 10_000;

impl GridAxis {
    /// A list of values and ranges: `1..64*2` doubles, `64..512+64` adds; the end belongs to it where it is met.
    ///
    /// # Errors
    /// What is wrong, in a clause.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (flag, values) = text
            .split_once('=')
            .ok_or("it must be NAME=V1,V2,..., such as concurrency=1..64*2")?;
        let flag = flag.trim().trim_start_matches('-').replace('_', "-");
        if flag.is_empty() {
            return Err("it has no flag before the =".to_owned());
        }
        let mut all = Vec::new();
        for value in values.split(',').map(str::trim) {
            match value {
                "" => return Err(format!("{flag} has an empty value; leave out the comma")),
                value => all.extend(expanded(value)?),
            }
            if all.len() > MOST_POINTS {
                return Err(format!("{flag} has more than {MOST_POINTS} values"));
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        match all.iter().find(|value| !seen.insert(value.as_str())) {
            Some(twice) => Err(format!("{flag} has the value {twice} twice")),
            None => Ok(Self { flag, values: all }),
        }
    }
}

/// A range as its values, anything else as it is.
fn expanded(value: &str) -> Result<Vec<String>, String> {
    let Some((start, rest)) = value.split_once("..") else {
        return Ok(vec![value.to_owned()]);
    };
    let form = || format!("{value} must be a range such as 1..64*2 or 64..512+64");
    let at = rest.find(['*', '+']).ok_or_else(form)?;
    let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite());
    let (start, end) = number(start).zip(number(&rest[..at])).ok_or_else(form)?;
    let step = number(&rest[at + 1..]).ok_or_else(form)?;
    let multiplies = rest.as_bytes()[at] == b'*';
    let grows = match multiplies {
        true => step > 1.0 && start > 0.0,
        false => step > 0.0,
    };
    if !(grows && start <= end) {
        return Err(format!(
            "{value} never comes to its end; it must grow from the first number to the second"
        ));
    }
    // A little beyond, so that 0.1..0.3+0.1 ends with 0.3.
    const SLACK: f64 = 1e-9;
    let mut values = Vec::new();
    let mut number = start;
    while number <= end * (1.0 + SLACK) {
        if values.len() == MOST_POINTS {
            return Err(format!("{value} has more than {MOST_POINTS} values"));
        }
        values.push(shown(number));
        let count = values.len() as f64;
        number = match multiplies {
            true => number * step,
            false => start + step * count,
        };
    }
    Ok(values)
}

/// Without what adding up in binary leaves behind.
fn shown(number: f64) -> String {
    const DIGITS: f64 = 1e9;
    ((number * DIGITS).round() / DIGITS).to_string()
}

/// Flag and value of every point.
///
/// # Errors
/// A flag stands in two axes, or there are too many points.
pub fn points(axes: &[GridAxis]) -> Result<Vec<Vec<(String, String)>>, String> {
    for (index, axis) in axes.iter().enumerate() {
        if axes[..index].iter().any(|other| other.flag == axis.flag) {
            return Err(format!(
                "{} stands in two grids; give all of its values in one",
                axis.flag
            ));
        }
    }
    let count = axes
        .iter()
        .try_fold(1usize, |count, axis| count.checked_mul(axis.values.len()));
    if count.is_none_or(|count| count > MOST_POINTS) {
        return Err(format!("the grids make more than {MOST_POINTS} points"));
    }
    let mut points = vec![Vec::new()];
    for axis in axes {
        let with = |point: &Vec<(String, String)>, value: &String| {
            let mut point = point.clone();
            point.push((axis.flag.clone(), value.clone()));
            point
        };
        points = points
            .iter()
            .flat_map(|point| axis.values.iter().map(move |value| with(point, value)))
            .collect();
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<String> {
        GridAxis::parse(text).unwrap().values
    }

    #[test]
    fn lists_and_ranges_are_spelt_out() {
        assert_eq!(values("tp=1,2"), ["1", "2"]);
        assert_eq!(values("c=1..64*2"), ["1", "2", "4", "8", "16", "32", "64"]);
        assert_eq!(values("c=64..200+64,1000"), ["64", "128", "192", "1000"]);
        assert_eq!(values("request-rate=0.1..0.3+0.1"), ["0.1", "0.2", "0.3"]);
        assert_eq!(values("c=1..20*4"), ["1", "4", "16"]);
        assert_eq!(
            GridAxis::parse("--max_num_seqs=8").unwrap().flag,
            "max-num-seqs"
        );
        for bad in [
            "c",
            "=1",
            "c=",
            "c=1,",
            "c=1..8",
            "c=8..1*2",
            "c=1..8*1",
            "c=0..8*2",
            "c=1..8+0",
            "c=1,1",
            "c=1..99999+1",
            "c=a..b+1",
            "c=1..inf+1",
        ] {
            assert!(GridAxis::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn points_are_every_combination() {
        let axes = ["tp=1,2", "concurrency=1,8,64"].map(|text| GridAxis::parse(text).unwrap());
        let all = points(&axes).unwrap();
        assert_eq!(all.len(), 6);
        let pair = |flag: &str, value: &str| (flag.to_owned(), value.to_owned());
        assert_eq!(all[1], [pair("tp", "1"), pair("concurrency", "8")]);
        assert_eq!(points(&[]).unwrap(), [Vec::new()]);
        assert!(points(&[axes[0].clone(), axes[0].clone()]).is_err());
    }
}
