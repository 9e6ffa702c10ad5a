//! Names of modules, as quantisers write them: whole, as a part, with stars, or as a regular expression.

use std::collections::HashSet;

use regex::bytes::{RegexSet, RegexSetBuilder};

/// More are a damaged file; the longest lists known name some 1,000.
const MOST_NAMES: usize = 1 << 14;
/// Of one of them.
const LONGEST: usize = 1 << 10;
/// Bytes of the automaton that all expressions together become.
const MOST_AUTOMATON: usize = 8 << 20;
const EXPRESSION: &str = "re:";

/// What a list of modules names.
#[derive(Debug, Default)]
pub(super) struct Names {
    plain: HashSet<String>,
    patterns: Option<RegexSet>,
}

impl Names {
    /// `None`: an expression is not one, or all are together too large.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut plain = HashSet::new();
        let mut patterns = Vec::new();
        for name in names {
            if name.len() > LONGEST || plain.len() + patterns.len() == MOST_NAMES {
                return None;
            }
            match (name.strip_prefix(EXPRESSION), name.contains('*')) {
                (Some(expression), _) => patterns.push(format!("^(?:{expression})")),
                (None, true) => {
                    let parts: Vec<String> = name.split('*').map(regex::escape).collect();
                    patterns.push(format!("^{}$", parts.join(".*")));
                }
                (None, false) => {
                    plain.insert(name.trim_matches('.').to_owned());
                }
            }
        }
        let patterns = match patterns.is_empty() {
            true => None,
            false => Some(
                RegexSetBuilder::new(patterns)
                    .unicode(false)
                    .size_limit(MOST_AUTOMATON)
                    .dfa_size_limit(MOST_AUTOMATON)
                    .build()
                    .ok()?,
            ),
        };
        Some(Self { plain, patterns })
    }

    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.patterns.is_none()
    }

    /// Whether `module` is named, or some parts of its name in a row are: `mlp.gate` names the router of each layer.
    pub fn hold(&self, module: &str) -> bool {
        let by_pattern = self.patterns.as_ref();
        by_pattern.is_some_and(|patterns| patterns.is_match(module.as_bytes()))
            || (!self.plain.is_empty() && self.holds_part(module))
    }

    fn holds_part(&self, module: &str) -> bool {
        let ends = |start: usize| {
            let dots = module[start..]
                .match_indices('.')
                .map(move |(at, _)| start + at);
            dots.chain([module.len()])
        };
        let starts = module.match_indices('.').map(|(at, _)| at + 1);
        [0].into_iter()
            .chain(starts)
            .any(|start| ends(start).any(|end| self.plain.contains(&module[start..end])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_named_in_every_way() {
        let module = "model.layers.3.mlp.experts.0.gate_proj";
        for (name, held) in [
            (module, true),
            ("model.layers.3", true),
            ("model.layers.3.mlp", true),
            ("mlp.experts", true),
            ("gate_proj", true),
            ("layers.3.mlp.experts.0", true),
            ("model.layers.33", false),
            ("gate", false),
            ("model.layers.3.*", true),
            ("*.gate_proj", true),
            ("*mlp", false),
            ("re:.*mlp.experts.*", true),
            (
                r"re:.*\.layers\.\d+\.mlp\.experts\.\d+\.(gate|up)_proj$",
                true,
            ),
            ("re:.*mlp.gate$", false),
            ("re:mlp", false),
        ] {
            let names = Names::new([name]).unwrap();
            assert_eq!(names.hold(module), held, "{name}");
        }
        assert!(!Names::default().hold(module) && Names::default().is_empty());
    }

    #[test]
    fn no_list_of_names_takes_much() {
        assert!(Names::new(["re:("]).is_none());
        assert!(Names::new(["re:(((a{500}){500}){500})"]).is_none());
        let long = "a".repeat(LONGEST + 1);
        assert!(Names::new([long.as_str()]).is_none());
        let many: Vec<String> = (0..=MOST_NAMES).map(|n| n.to_string()).collect();
        assert!(Names::new(many.iter().map(String::as_str)).is_none());
    }
}
