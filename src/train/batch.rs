//! Samples as a batch on the device, labels and weights in their compact forms.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

use crate::device::{self, stack, stack_indices};
use crate::loss::{NO_CLASS, Truth, Weights};
use crate::volume::{OneHot, Packed, Palette, Sample, Volume};

/// A batch on the device.
pub struct Batch {
    /// (N, C, D, H, W)
    pub raw: Tensor,
    pub truth: Truth,
    pub weights: Option<Weights>,
    pub size: usize,
}

impl Batch {
    /// Moves samples to the device; floats become `float`.
    pub fn new(samples: Vec<Sample>, float: Kind, device: Device) -> Result<Self> {
        let size = samples.len();
        let (mut raw, mut label, mut weight) = (Vec::new(), Vec::new(), Vec::new());
        for sample in samples {
            raw.push(sample.raw);
            label.extend(sample.label);
            weight.extend(sample.weight);
        }
        ensure!(
            label.len() == size && (weight.is_empty() || weight.len() == size),
            "some samples of a batch have labels or weights, others have none"
        );
        Ok(Batch {
            raw: stack(raw, float, device)?,
            truth: truth(label, float, device)?,
            weights: match weight.is_empty() {
                true => None,
                false => Some(weights(weight, float, device)?),
            },
            size,
        })
    }
}

/// Labels: by class if all are held so.
fn truth(labels: Vec<Packed>, float: Kind, device: Device) -> Result<Truth> {
    let Some(held) = held_alike(&labels, Packed::one_hot, |label| label.classes) else {
        return Ok(Truth::Dense(stack(expanded(labels), float, device)?));
    };
    let channels = held[0].classes as i64;
    let indices = held.iter().map(|label| (&label.indices, 0)).collect();
    let index = stack_indices(indices, device)?;
    // The mark of the volumes is the largest index there is.
    let none = index.f_eq(i64::from(OneHot::NONE))?;
    Ok(Truth::OneHot { index: index.f_masked_fill(&none, NO_CLASS)?, channels })
}

/// Weights: by column if all are held so, with the tables one below the other.
fn weights(weights: Vec<Packed>, float: Kind, device: Device) -> Result<Weights> {
    let table = |palette: &Palette| (palette.channels(), palette.element());
    let Some(held) = held_alike(&weights, Packed::palette, table) else {
        return Ok(Weights::Dense(stack(expanded(weights), float, device)?));
    };
    let mut rows = 0;
    let (mut indices, mut tables) = (Vec::new(), Vec::new());
    for palette in held {
        indices.push((&palette.indices, rows));
        rows += palette.columns() as i64;
        let table = device::to_tensor(Volume::channelled(palette.table.clone()))?;
        tables.push(table.f_view([palette.columns() as i64, palette.channels() as i64])?);
    }
    let table = Tensor::f_cat(&tables, 0)?;
    let table = if table.is_floating_point() { table.f_to_kind(float)? } else { table };
    Ok(Weights::Palette {
        index: stack_indices(indices, device)?,
        table: table.f_to_device(device)?,
    })
}

/// The volumes in the form that `form` takes out, if all (at least one) are held in
/// it and agree in what `key` tells.
fn held_alike<'a, T, K: PartialEq>(
    volumes: &'a [Packed],
    form: impl Fn(&'a Packed) -> Option<&'a T>,
    key: impl Fn(&T) -> K,
) -> Option<Vec<&'a T>> {
    let held: Vec<&T> = volumes.iter().map(form).collect::<Option<_>>()?;
    let alike = held.windows(2).all(|pair| key(pair[0]) == key(pair[1]));
    (alike && !held.is_empty()).then_some(held)
}

fn expanded(volumes: Vec<Packed>) -> Vec<Volume> {
    volumes.into_iter().map(Packed::expand).collect()
}
