//! Steps of optimizers that work on one parameter after the other, in torch's order of
//! operations for a single tensor.

use tch::{TchError, Tensor};

use super::super::optimizer::Update;

/// Calls `change` for every parameter with its gradient, L2 penalty added, and what is
/// kept of it. Nothing is called where the step is to be left out.
pub(super) fn each(
    update: &Update<'_>,
    mut change: impl FnMut(&mut Tensor, &Tensor, &mut [Tensor]) -> Result<(), TchError>,
) -> Result<(), TchError> {
    if let Some(skip) = update.skip
        && skip.f_double_value(&[])? == 1.0
    {
        return Ok(());
    }
    tch::no_grad(|| {
        for (index, (parameter, gradient)) in
            update.parameters.iter().zip(update.gradients).enumerate()
        {
            let mut parameter = parameter.shallow_clone();
            let mut kept: Vec<Tensor> =
                update.kept.iter().map(|list| list[index].shallow_clone()).collect();
            let decayed;
            let gradient = match update.weight_decay {
                0.0 => gradient,
                decay => {
                    decayed = gradient.f_add(&parameter.f_mul_scalar(decay)?)?;
                    &decayed
                }
            };
            change(&mut parameter, gradient, &mut kept)?;
        }
        Ok(())
    })
}

/// `average` = β · `average` + (1 − β) · `value`.
pub(super) fn decay_towards(
    average: &mut Tensor,
    value: &Tensor,
    beta: f64,
) -> Result<(), TchError> {
    let _ = average.f_mul_scalar_(beta)?.f_add_(&value.f_mul_scalar(1.0 - beta)?)?;
    Ok(())
}

/// `target` = `target` − `factor` · `numerator` / `denominator`.
pub(super) fn subtract_quotient(
    target: &mut Tensor,
    factor: f64,
    numerator: &Tensor,
    denominator: &Tensor,
) -> Result<(), TchError> {
    let _ = target.f_sub_(&numerator.f_div(denominator)?.f_mul_scalar(factor)?)?;
    Ok(())
}

/// Number of the step, counted from 1.
pub(super) fn step_number(update: &Update<'_>) -> Result<f64, TchError> {
    update.step.f_double_value(&[])
}
