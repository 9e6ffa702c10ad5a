//! What each metric is: the tables of `docs/metrics.md`, which a test holds to the program's keys.

use std::collections::BTreeMap;

use serde::Serialize;

const PAGE: &str = include_str!("../../../docs/metrics.md");
const COMMENT: &str = "<!-- keys: ";
/// Objects of a run whose keys the page shows.
const OBJECTS: [&str; 3] = ["Metrics", "Extended", "GpuMetrics"];
const ABOVE: &str = "as above";

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Definition {
    pub unit: String,
    pub what: String,
    pub null_when: String,
}

/// By key; those of a GPU begin with `gpu.`, for others have some of their names.
pub type Definitions = BTreeMap<String, Definition>;

/// Of all that the page shows.
pub fn definitions() -> Definitions {
    let mut found = Definitions::new();
    let mut object = "";
    let mut above = String::new();
    for line in PAGE.lines() {
        if let Some(name) = line.strip_prefix(COMMENT) {
            object = name.trim_end_matches("-->").trim();
        } else if line.starts_with("## ") {
            object = "";
        }
        let row = line
            .strip_prefix("| `")
            .filter(|_| OBJECTS.contains(&object));
        let cells: Vec<&str> = row.map_or(Vec::new(), |row| {
            row.trim_end_matches(" |").split(" | ").collect()
        });
        let [names, unit, what, null_when] = cells[..] else {
            continue;
        };
        let other = null_when
            .strip_prefix("as `")
            .and_then(|rest| rest.strip_suffix('`'));
        above = match other.and_then(|key| found.get(key)) {
            Some(other) => other.null_when.clone(),
            None => null_when.replace(ABOVE, &above),
        };
        for name in names.trim_end_matches('`').split("`, `") {
            let definition = Definition {
                unit: unit.trim_matches('-').to_owned(),
                what: what.replace('`', ""),
                null_when: above.replace('`', ""),
            };
            let prefix = if object == "GpuMetrics" { "gpu." } else { "" };
            found.insert(format!("{prefix}{name}"), definition);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::results::{Extended, Metrics};

    #[test]
    fn every_metric_has_a_definition_that_stands_alone() {
        let found = definitions();
        let metrics = Metrics::default().entries();
        let extended = Extended::default().entries();
        for (key, _) in metrics.iter().chain(&extended) {
            let definition = found.get(key.as_str());
            let definition = definition.unwrap_or_else(|| panic!("{key} has no definition"));
            for leaning in [
                "its ",
                "the same",
                "their ",
                "most of them",
                "the largest",
                "the least",
                "as above",
            ] {
                assert!(
                    !definition.what.starts_with(leaning),
                    "{key}: {}",
                    definition.what
                );
            }
            assert!(
                !definition.null_when.starts_with("as "),
                "{key}: {}",
                definition.null_when
            );
        }
        assert_eq!(found["p99_ttft_ms"].unit, "ms");
        assert_eq!(found["completed"].unit, "");
    }
}
