//! What a few rounds found: the median, and how far they lie apart.

use std::fmt;

use serde::Serialize;

use crate::median::median;

/// A median with the least and the greatest value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle value.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of these values; `None` of nothing.
    pub fn of(values: &[f64]) -> Option<Spread> {
        Some(Spread {
            median: median(values)?,
            min: values.iter().copied().min_by(f64::total_cmp)?,
            max: values.iter().copied().max_by(f64::total_cmp)?,
        })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(1);
        let Spread { median, min, max } = self;
        write!(f, "{median:.digits$} ({min:.digits$} to {max:.digits$})")
    }
}

/// The geometric mean; `None` of nothing, and where a value is not above 0.
pub fn geomean(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.iter().any(|value| value.is_nan() || *value <= 0.0) {
        return None;
    }
    let sum: f64 = values.iter().map(|value| value.ln()).sum();
    Some((sum / values.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_three_rounds() {
        let spread = Spread::of(&[3.0, 1.0, 2.0]).expect("rounds");
        assert_eq!(format!("{spread:.1}"), "2.0 (1.0 to 3.0)");
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_mean_of_ratios_is_geometric() {
        let mean = geomean(&[0.5, 2.0]).expect("ratios");
        assert!((mean - 1.0).abs() < 1e-12, "{mean}");
        assert_eq!(geomean(&[]), None);
        assert_eq!(geomean(&[1.0, 0.0]), None);
        assert_eq!(geomean(&[1.0, f64::NAN]), None);
    }

    proptest! {
        #[test]
        fn the_median_lies_between_the_ends(values in proptest::collection::vec(-1e9..1e9f64, 1..20)) {
            let Spread { median, min, max } = Spread::of(&values).expect("some");
            prop_assert!(min <= median && median <= max);
            prop_assert!(values.iter().all(|value| (min..=max).contains(value)));
        }

        #[test]
        fn a_geometric_mean_grows_as_its_values_do(
            values in proptest::collection::vec(1e-3..1e3f64, 1..10), factor in 0.01..100.0f64
        ) {
            let scaled: Vec<f64> = values.iter().map(|value| value * factor).collect();
            let (mean, scaled) = (geomean(&values).expect("some"), geomean(&scaled).expect("some"));
            prop_assert!((scaled / mean / factor - 1.0).abs() < 1e-9);
        }
    }
}
