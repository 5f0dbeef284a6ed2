//! Which scores are the better ones.

/// Metrics that measure an error: of these, lower scores are better.
const ERRORS: [&str; 4] =
    ["AdaptedRandError", "BoundaryAdaptedRandError", "GenericAdaptedRandError", "MSE"];

/// Whether higher scores of the metric of that name are better.
pub fn higher_is_better(name: &str) -> bool {
    !ERRORS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::METRICS;

    #[test]
    fn errors_are_metrics_and_all_that_are_called_errors_are_listed() {
        for name in ERRORS {
            assert!(METRICS.fork.find(name).is_some(), "{name}");
        }
        for name in METRICS.fork.names().chain(METRICS.upstream.names()) {
            assert_eq!(name.contains("Error"), ERRORS.contains(&name) && name != "MSE", "{name}");
        }
    }
}
