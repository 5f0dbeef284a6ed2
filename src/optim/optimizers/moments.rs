//! Keys and names of the optimizers that keep two moments of the gradient.

use crate::config::{ConfigError, Parameter, Section};
use crate::optim::{Rates, Setting, Settings};

pub(super) const BETAS: Parameter =
    Parameter::numbers("betas", &[0.9, 0.999], "decay of the first and second moments")
        .within(0.0, 1.0)
        .of_length(2);

/// torch's default.
pub(super) const EPSILON: f64 = 1e-8;

/// Decay of the two moments. A scheduler that cycles momentum changes the first one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Betas(pub f64, pub f64);

impl Betas {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, ConfigError> {
        let betas = section.numbers(BETAS.name);
        if betas.iter().any(|beta| *beta >= 1.0) {
            return Err(section.error(BETAS.name, "both must be below 1"));
        }
        Ok(Betas(betas[0], betas[1]))
    }

    /// As the rates have it now.
    pub(super) fn now(self, rates: &Rates) -> (f64, f64) {
        (rates.momentum.unwrap_or(self.0), self.1)
    }

    /// The settings that begin a group of such an optimizer.
    pub(super) fn settings(self, rates: &Rates, weight_decay: f64) -> Settings {
        Settings::default()
            .with("lr", rates.learning_rate)
            .with("betas", self.now(rates))
            .with("eps", EPSILON)
            .with("weight_decay", weight_decay)
    }

    /// The first beta in the settings of a group.
    pub(super) fn saved(settings: &Settings) -> Option<f64> {
        settings.pair("betas").map(|(first, _)| first)
    }
}

/// The settings that end a group of any optimizer.
pub(super) fn with_switches(settings: Settings, rates: &Rates) -> Settings {
    settings
        .with("initial_lr", rates.initial)
        .with("maximize", false)
        .with("foreach", Setting::Absent)
        .with("capturable", false)
        .with("differentiable", false)
}
