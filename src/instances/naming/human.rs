//! Labels that people gave: which region has which name, and how sure they were.

use std::collections::HashMap;

use anyhow::{Context, Result};

use super::table;

/// What people said of one region.
#[derive(Clone, Debug, PartialEq)]
pub struct HumanLabel {
    pub region: u32,
    /// Its distinct names in the order of the rows.
    pub names: Vec<String>,
    /// Of the last row that names the region.
    pub confidence: f64,
    pub comment: Option<String>,
}

/// Reads a table of human labels by the position of its columns: 0 name, 2 region,
/// 3 confidence, 4 comment. The first row is a heading. Rows whose confidence is
/// blank or less than `least` are left out. A cell of regions may be `12`, `12.0` or
/// `12/15`; what is not a number is passed over. Regions come in the order of the rows.
pub fn human_labels(text: &str, least: f64) -> Result<Vec<HumanLabel>> {
    let mut labels: Vec<HumanLabel> = Vec::new();
    let mut places: HashMap<u32, usize> = HashMap::new();
    for row in table::rows(text)?.iter().skip(1) {
        let cell = |column: usize| row.get(column).map(|cell| cell.trim()).unwrap_or("");
        let name = row.first().context("a row without a name")?;
        let Ok(confidence) = cell(3).parse::<f64>() else { continue };
        if confidence.is_nan() || confidence < least {
            continue;
        }
        for region in cell(2).split('/') {
            let Some(region) = region
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|region| (1.0..=f64::from(u32::MAX)).contains(region))
            else {
                continue;
            };
            let region = region as u32;
            let place = *places.entry(region).or_insert(labels.len());
            if place == labels.len() {
                labels.push(HumanLabel { region, names: Vec::new(), confidence, comment: None });
            }
            let label = &mut labels[place];
            if !label.names.contains(name) {
                label.names.push(name.clone());
            }
            label.confidence = confidence;
            label.comment = Some(cell(4).to_owned()).filter(|comment| !comment.is_empty());
        }
    }
    Ok(labels)
}
