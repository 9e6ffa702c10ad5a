//! What a run drew, and what it cost.

use super::NotObserved;
use super::gpus::{BY_COUNTER, BY_POWER, all, why};
use super::quantile::ratio;
use super::reason;
use crate::ground::results::{Extended, GpuMetrics, Scenario};

const MILLION: f64 = 1e6;
const JOULES_PER_KWH: f64 = 3.6e6;
const SECONDS_PER_HOUR: f64 = 3600.0;

/// Joules of all GPUs together, of each token, and beyond what idle GPUs draw.
pub(crate) fn energy(extended: &mut Extended, gpus: &[GpuMetrics], nulls: &mut NotObserved) {
    let sum =
        |of: fn(&GpuMetrics) -> Option<f64>| all(gpus, of).map(|s| s.mean() * s.count() as f64);
    let unknown = why(gpus, "energy_j", reason::NO_ENERGY);
    let joules = sum(|gpu| gpu.energy_j);
    extended.energy_j = nulls.note("energy_j", joules, &unknown);
    let counted = gpus
        .iter()
        .all(|gpu| gpu.energy_by.as_deref() == Some(BY_COUNTER));
    let by = if counted { BY_COUNTER } else { BY_POWER };
    extended.energy_by = nulls.note("energy_by", joules.map(|_| by.to_owned()), &unknown);
    let output = extended.total_output_tokens as f64;
    let tokens = output + extended.total_input_tokens as f64;
    let no_token = match joules {
        Some(_) => reason::NO_SUCCESS,
        None => &unknown,
    };
    let mut of = |name, value: Option<f64>| nulls.note(name, value, no_token);
    let each = joules.and_then(|joules| ratio(joules, output));
    extended.energy_per_output_token_j = of("energy_per_output_token_j", each);
    let any = joules.and_then(|joules| ratio(joules, tokens));
    extended.energy_per_token_j = of("energy_per_token_j", any);
    let kwh = each.map(|joules| MILLION * joules / JOULES_PER_KWH);
    extended.kwh_per_million_output_tokens = of("kwh_per_million_output_tokens", kwh);
    let rate = joules.filter(|_| output > 0.0);
    let rate = rate.and_then(|joules| ratio(output, joules));
    extended.output_tokens_per_s_per_watt = of("output_tokens_per_s_per_watt", rate);

    let not_idle = why(gpus, "idle_power_watts", reason::NO_IDLE);
    let idle = sum(|gpu| gpu.idle_power_watts);
    extended.idle_power_watts = nulls.note("idle_power_watts", idle, &not_idle);
    let drawn = idle
        .zip(extended.duration)
        .map(|(watts, seconds)| watts * seconds);
    let above = joules.zip(drawn).map(|(joules, idle)| joules - idle);
    let unknown = if joules.is_some() {
        &not_idle
    } else {
        &unknown
    };
    extended.energy_above_idle_j = nulls.note("energy_above_idle_j", above, unknown);
    let each = above.and_then(|joules| ratio(joules, output));
    let no_token = if above.is_some() {
        reason::NO_SUCCESS
    } else {
        unknown.as_str()
    };
    extended.energy_above_idle_per_output_token_j =
        nulls.note("energy_above_idle_per_output_token_j", each, no_token);
}

/// The price of the window over its tokens.
pub(crate) fn cost(extended: &mut Extended, scenario: &Scenario, nulls: &mut NotObserved) {
    let usd = scenario.price_per_hour.zip(extended.duration);
    let usd = usd.map(|(price, seconds)| price * seconds / SECONDS_PER_HOUR);
    let unknown = match scenario.price_per_hour {
        None => reason::NO_PRICE,
        Some(_) => reason::NO_TOKEN,
    };
    let mut over = |name, tokens: u64| {
        let value = usd.and_then(|usd| ratio(MILLION * usd, tokens as f64));
        let why = if usd.is_some() {
            reason::NO_SUCCESS
        } else {
            unknown
        };
        nulls.note(name, value, why)
    };
    let (input, output) = (extended.total_input_tokens, extended.total_output_tokens);
    extended.usd_per_million_input_tokens = over("usd_per_million_input_tokens", input);
    extended.usd_per_million_output_tokens = over("usd_per_million_output_tokens", output);
    extended.usd_per_million_tokens = over("usd_per_million_tokens", input + output);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extended() -> Extended {
        Extended {
            duration: Some(36.0),
            total_input_tokens: 250,
            total_output_tokens: 1000,
            ..Extended::default()
        }
    }

    fn gpu(by: &str, idle: Option<f64>) -> GpuMetrics {
        GpuMetrics {
            energy_j: Some(3600.0),
            energy_by: Some(by.to_owned()),
            idle_power_watts: idle,
            not_observed: [("idle_power_watts".to_owned(), "refused".to_owned())].into(),
            ..GpuMetrics::default()
        }
    }

    #[test]
    fn joules_are_spread_over_tokens() {
        let (mut found, mut nulls) = (extended(), NotObserved::default());
        let gpus = [gpu(BY_COUNTER, Some(50.0)), gpu(BY_POWER, Some(30.0))];
        energy(&mut found, &gpus, &mut nulls);
        assert_eq!(found.energy_j, Some(7200.0));
        assert_eq!(
            found.energy_by.as_deref(),
            Some(BY_POWER),
            "one card has no counter"
        );
        assert_eq!(found.energy_per_output_token_j, Some(7.2));
        assert_eq!(found.energy_per_token_j, Some(5.76));
        assert_eq!(found.kwh_per_million_output_tokens, Some(2.0));
        // 1000 tokens in 36 s, at 200 W.
        let per_watt = found.output_tokens_per_s_per_watt.unwrap();
        assert!(
            (per_watt - 1000.0 / 36.0 / 200.0).abs() < 1e-12,
            "{per_watt}"
        );
        assert_eq!(found.idle_power_watts, Some(80.0));
        assert_eq!(found.energy_above_idle_j, Some(7200.0 - 80.0 * 36.0));
        assert_eq!(found.energy_above_idle_per_output_token_j, Some(4.32));
        assert!(nulls.0.is_empty(), "{nulls:?}");
    }

    #[test]
    fn what_is_not_known_has_its_reason() {
        let (mut found, mut nulls) = (extended(), NotObserved::default());
        energy(&mut found, &[gpu(BY_COUNTER, None)], &mut nulls);
        assert_eq!(found.energy_by.as_deref(), Some(BY_COUNTER));
        assert_eq!(found.energy_above_idle_j, None);
        assert_eq!(nulls.0["energy_above_idle_j"], "GPU 0: refused");
        let (mut found, mut nulls) = (extended(), NotObserved::default());
        energy(&mut found, &[], &mut nulls);
        assert_eq!(nulls.0["kwh_per_million_output_tokens"], reason::NO_ENERGY);
        assert_eq!(nulls.0["energy_by"], reason::NO_ENERGY);
        assert_eq!(nulls.0["idle_power_watts"], reason::NO_IDLE);
        assert_eq!(found.energy_by, None);
    }

    #[test]
    fn a_price_is_spread_over_tokens() {
        let (mut found, mut nulls) = (extended(), NotObserved::default());
        let priced = Scenario {
            price_per_hour: Some(2.0),
            ..Scenario::default()
        };
        cost(&mut found, &priced, &mut nulls);
        // 36 s at 2 dollars an hour are 2 cents.
        assert_eq!(found.usd_per_million_output_tokens, Some(20.0));
        assert_eq!(found.usd_per_million_input_tokens, Some(80.0));
        assert_eq!(found.usd_per_million_tokens, Some(16.0));
        cost(&mut found, &Scenario::default(), &mut nulls);
        assert_eq!(found.usd_per_million_tokens, None);
        assert_eq!(nulls.0["usd_per_million_tokens"], reason::NO_PRICE);
    }
}
