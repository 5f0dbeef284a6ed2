//! What the optimizers that keep two moments of the gradient have in common.

use std::fmt::Debug;

use tch::{TchError, Tensor};

use super::super::optimizer::{Algorithm, Update};
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

/// How an optimizer steps that keeps two moments of each parameter and nothing else.
pub(super) trait MomentRule: Debug + Send + Sync {
    /// Names of the moments in torch's state.
    const MOMENTS: [&'static str; 2] = ["exp_avg", "exp_avg_sq"];

    /// Names of other tensors that files of torch may have.
    const OTHERS: &'static [&'static str] = &[];

    /// As [`Algorithm::step`], with the decay of the moments.
    fn step(&self, betas: (f64, f64), update: Update<'_>) -> Result<(), TchError>;

    /// As [`Algorithm::settings`], after those that begin a group.
    fn settings(&self, begun: Settings, rates: &Rates) -> Settings;
}

/// An optimizer that keeps two moments of each parameter.
#[derive(Debug)]
struct Moments<R> {
    betas: Betas,
    rule: R,
}

/// The optimizer of a section with the key [`BETAS`].
pub(super) fn with_moments<R: MomentRule + 'static>(
    section: &Section<'_>,
    rule: R,
) -> Result<Box<dyn Algorithm>, ConfigError> {
    Ok(Box::new(Moments { betas: Betas::read(section)?, rule }))
}

impl<R: MomentRule> Algorithm for Moments<R> {
    fn momentum(&self) -> Option<f64> {
        Some(self.betas.0)
    }

    fn begin(
        &self,
        parameter: &Tensor,
        _: &Rates,
    ) -> Result<Vec<(&'static str, Tensor)>, TchError> {
        R::MOMENTS.iter().map(|name| Ok((*name, parameter.f_zeros_like()?))).collect()
    }

    fn step(&self, update: Update<'_>) -> Result<(), TchError> {
        self.rule.step(self.betas.now(&update.rates), update)
    }

    fn settings(&self, rates: &Rates, weight_decay: f64) -> Settings {
        self.rule.settings(self.betas.settings(rates, weight_decay), rates)
    }

    fn saved_momentum(&self, settings: &Settings) -> Option<f64> {
        Betas::saved(settings)
    }

    fn knows(&self, name: &str) -> bool {
        R::MOMENTS.contains(&name) || R::OTHERS.contains(&name)
    }
}
