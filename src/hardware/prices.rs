//! What an hour of a card costs, where a dated public page names a price.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::HardwareError;
use super::card::{read_text, syntax};

const FILE: &str = "src/hardware/prices.toml";
const TEXT: &str = include_str!("prices.toml");
/// Nobody pays more for an hour of one card.
const GREATEST: f64 = 1e4;
const RULE: &str = "a positive number of US dollars an hour, at most 10000";

/// Of one card.
#[derive(Debug, Clone, PartialEq)]
pub struct Price {
    /// US dollars.
    pub usd_per_hour: f64,
    /// Who asked it, and when it was read.
    pub source: String,
}

/// By the card's name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prices(BTreeMap<String, Price>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Short name of a source -> what it is.
    #[serde(default)]
    cite: BTreeMap<String, String>,
    price: BTreeMap<String, Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    usd_per_hour: f64,
    source: Option<String>,
}

impl Prices {
    /// Those that this program carries.
    ///
    /// # Errors
    /// None in a build that passed its tests.
    pub fn known() -> Result<Self, HardwareError> {
        Self::parse(TEXT, FILE)
    }

    /// Those of a file in the form of the built-in one: a table `price` of cards, each with `usd_per_hour` and, as it
    /// likes, a `source`.
    ///
    /// # Errors
    /// `File`, `Syntax` and `Value`.
    pub fn read(path: &Path) -> Result<Self, HardwareError> {
        let file = path.display().to_string();
        let text = read_text(path).map_err(|source| HardwareError::File {
            file: file.clone(),
            source,
        })?;
        Self::parse(&text, &file)
    }

    fn parse(text: &str, file: &str) -> Result<Self, HardwareError> {
        let read: File = toml::from_str(text).map_err(|error| syntax(text, file, &error))?;
        let mut prices = BTreeMap::new();
        for (card, row) in read.price {
            let usd = row.usd_per_hour;
            if !(usd > 0.0 && usd <= GREATEST) {
                return Err(HardwareError::Value {
                    file: file.to_owned(),
                    key: format!("price.{card}.usd_per_hour"),
                    value: usd.to_string(),
                    rule: RULE,
                });
            }
            let source = row.source.unwrap_or_else(|| file.to_owned());
            let source = read.cite.get(&source).cloned().unwrap_or(source);
            prices.insert(
                card.to_lowercase(),
                Price {
                    usd_per_hour: usd,
                    source,
                },
            );
        }
        Ok(Self(prices))
    }

    /// These, and where both have a price, that of `others`.
    pub fn with(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// With a price that the user named.
    pub fn set(&mut self, card: &str, usd_per_hour: f64, source: &str) {
        let price = Price {
            usd_per_hour,
            source: source.to_owned(),
        };
        self.0.insert(card.to_lowercase(), price);
    }

    /// Of an hour of `card`; `None`: no price is known.
    pub fn of(&self, card: &str) -> Option<&Price> {
        self.0.get(&card.to_lowercase())
    }

    /// Cards with a price, in the order of their names.
    pub fn cards(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::known;

    #[test]
    fn the_table_prices_known_cards_and_dates_each() {
        let (prices, cards) = (Prices::known().unwrap(), known().unwrap());
        for name in prices.cards() {
            assert!(cards.iter().any(|card| card.name == name), "{name}");
            let source = &prices.of(name).unwrap().source;
            assert!(
                source.contains(", 2026-") || source.contains("read 2026-"),
                "{name}: {source}"
            );
        }
    }

    #[test]
    fn a_file_of_ones_own_is_read_and_wins() {
        let own = "[price]\nH100-SXM = { usd_per_hour = 1.5 }";
        let own = Prices::parse(own, "own.toml").unwrap();
        let all = Prices::known().unwrap().with(own);
        let price = all.of("h100-sxm").unwrap();
        assert_eq!(
            (price.usd_per_hour, price.source.as_str()),
            (1.5, "own.toml")
        );
        assert_eq!(all.of("l4"), Prices::known().unwrap().of("l4"));
        let wrong = |text: &str| Prices::parse(text, "own.toml").unwrap_err().to_string();
        assert!(
            wrong("[price]\nl4 = { usd_per_hour = -1.0 }").contains("price.l4.usd_per_hour = -1")
        );
        assert!(wrong("[price]\nl4 = 1").contains("own.toml is not TOML: line 2"));
    }
}
