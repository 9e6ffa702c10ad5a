//! Model cards: the `config.json` of every model known by name, carried inside the program.

/// A model whose shapes are known without any file or network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Card {
    pub name: &'static str,
    /// Repository on the Hugging Face hub.
    pub hub_id: &'static str,
    /// The model's `config.json`, verbatim.
    pub config_json: &'static str,
}

macro_rules! card {
    ($org:literal, $name:literal) => {
        Card {
            name: $name,
            hub_id: concat!($org, "/", $name),
            config_json: include_str!(concat!("../../models/", $name, ".json")),
        }
    };
}

/// Every card, smallest model of a family first.
pub const CARDS: &[Card] = &[
    card!("Qwen", "Qwen2.5-0.5B"),
    card!("Qwen", "Qwen3-0.6B"),
    card!("deepseek-ai", "DeepSeek-R1-Distill-Qwen-1.5B"),
    card!("deepseek-ai", "DeepSeek-R1-Distill-Qwen-14B"),
    card!("deepseek-ai", "DeepSeek-R1-Distill-Qwen-32B"),
    card!("deepseek-ai", "DeepSeek-R1-Distill-Llama-8B"),
    card!("deepseek-ai", "DeepSeek-R1-Distill-Llama-70B"),
    card!("Qwen", "QwQ-32B"),
    card!("Qwen", "Qwen3-235B-A22B"),
    card!("Qwen", "Qwen3-235B-A22B-FP8"),
];

/// The card of that name; letter case is ignored.
pub fn find(name: &str) -> Option<&'static Card> {
    CARDS
        .iter()
        .find(|card| card.name.eq_ignore_ascii_case(name))
}

/// The `count` card names nearest to `wanted`, for an error message.
pub fn closest(wanted: &str, count: usize) -> Vec<&'static str> {
    let wanted = wanted.rsplit('/').next().unwrap_or(wanted).to_lowercase();
    let mut names: Vec<_> = CARDS
        .iter()
        .map(|card| {
            let name = card.name.to_lowercase();
            // Someone who writes a part of a name means that name, however long the rest is.
            let part = !wanted.is_empty() && (name.contains(&wanted) || wanted.contains(&name));
            (!part, edit_distance(&wanted, &name), card.name)
        })
        .collect();
    names.sort();
    names.truncate(count);
    names.into_iter().map(|(_, _, name)| name).collect()
}

/// Levenshtein distance in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_card_is_json_with_an_architecture() {
        for card in CARDS {
            let config: serde_json::Value = serde_json::from_str(card.config_json).unwrap();
            assert!(config["architectures"][0].is_string(), "{}", card.name);
        }
    }

    #[test]
    fn lookup_ignores_case_but_not_spelling() {
        assert_eq!(find("qwq-32b").unwrap().hub_id, "Qwen/QwQ-32B");
        assert_eq!(find("Qwen2.5-0.5"), None);
    }

    #[test]
    fn closest_finds_typos_and_parts() {
        assert_eq!(closest("Qwen2.5-0.6B", 1), ["Qwen2.5-0.5B"]);
        assert_eq!(closest("Llama-70B", 1), ["DeepSeek-R1-Distill-Llama-70B"]);
        assert_eq!(closest("org/Qwen3-0.6b", 1), ["Qwen3-0.6B"]);
    }

    #[test]
    fn edit_distance_counts_single_changes() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "ab"), 2);
    }
}
