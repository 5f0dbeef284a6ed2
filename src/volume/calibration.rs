//! Where the voxels of a volume lie in space, and what its channels are called.

use anyhow::{Result, ensure};

/// The unit that a file gives lengths in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthUnit {
    Nanometre,
    Micrometre,
    Millimetre,
    Centimetre,
    Metre,
}

impl LengthUnit {
    const ALL: [LengthUnit; 5] = [
        LengthUnit::Nanometre,
        LengthUnit::Micrometre,
        LengthUnit::Millimetre,
        LengthUnit::Centimetre,
        LengthUnit::Metre,
    ];

    /// Micrometres of one unit.
    pub fn micrometres(self) -> f64 {
        match self {
            LengthUnit::Nanometre => 1e-3,
            LengthUnit::Micrometre => 1.0,
            LengthUnit::Millimetre => 1e3,
            LengthUnit::Centimetre => 1e4,
            LengthUnit::Metre => 1e6,
        }
    }

    /// Its symbol, in ASCII.
    pub fn symbol(self) -> &'static str {
        match self {
            LengthUnit::Nanometre => "nm",
            LengthUnit::Micrometre => "um",
            LengthUnit::Millimetre => "mm",
            LengthUnit::Centimetre => "cm",
            LengthUnit::Metre => "m",
        }
    }

    /// Its name as UDUNITS-2 and OME-Zarr have it.
    pub fn name(self) -> &'static str {
        match self {
            LengthUnit::Nanometre => "nanometer",
            LengthUnit::Micrometre => "micrometer",
            LengthUnit::Millimetre => "millimeter",
            LengthUnit::Centimetre => "centimeter",
            LengthUnit::Metre => "meter",
        }
    }

    /// The unit of a symbol or name in any of the spellings that files have. ImageJ
    /// escapes the letter µ.
    pub fn parse(text: &str) -> Option<LengthUnit> {
        let text = text.trim().trim_matches('"').to_lowercase().replace("\\u00b5", "u");
        let text = text.replace(['µ', 'μ'], "u").replace("metre", "meter");
        let singular = text.strip_suffix('s').filter(|text| text.len() > 2).unwrap_or(&text);
        if singular == "micron" {
            return Some(LengthUnit::Micrometre);
        }
        Self::ALL.into_iter().find(|unit| [unit.symbol(), unit.name()].contains(&singular))
    }
}

/// Where the voxels of a volume lie in space, and what its channels are called, as far
/// as its file tells. Lengths are in `unit`. Space is that of ITK: x points to the left
/// of a patient, y to the back and z to the head.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    /// Distance of neighbouring voxels along z, y and x.
    pub spacing: Option<[f64; 3]>,
    /// `None` if the file gives numbers alone.
    pub unit: Option<LengthUnit>,
    /// Place (z, y, x) of the first voxel.
    pub origin: Option<[f64; 3]>,
    /// Unit vectors (z, y, x) along which z, y and x of the volume grow.
    pub directions: Option<[[f64; 3]; 3]>,
    /// Names of the channels; as many as there are, or none.
    pub channels: Vec<String>,
}

impl Calibration {
    /// The size of a voxel along z, y and x in micrometres. Numbers without a unit count
    /// as micrometres.
    pub fn voxel_size(&self) -> Option<[f64; 3]> {
        let factor = self.unit.map_or(1.0, LengthUnit::micrometres);
        self.spacing.map(|spacing| spacing.map(|length| length * factor))
    }

    /// A calibration of voxels of that size along z, y and x in micrometres.
    pub fn micrometres(size: [f64; 3]) -> Self {
        Calibration {
            spacing: Some(size),
            unit: Some(LengthUnit::Micrometre),
            ..Calibration::default()
        }
    }

    /// The same in another unit. Numbers without a unit get it as they are.
    pub fn in_unit(&self, unit: LengthUnit) -> Self {
        let factor = match self.unit {
            // Not by way of 1.0, which would round.
            Some(own) if own != unit => own.micrometres() / unit.micrometres(),
            _ => 1.0,
        };
        let convert = |lengths: [f64; 3]| lengths.map(|length| length * factor);
        Calibration {
            spacing: self.spacing.map(convert),
            origin: self.origin.map(convert),
            unit: Some(unit),
            ..self.clone()
        }
    }

    /// Checks what a file says of its voxels.
    ///
    /// # Errors
    /// A spacing that is no number above 0, and axes that are not at right angles.
    pub fn check(&self) -> Result<()> {
        if let Some(spacing) = self.spacing {
            ensure!(
                spacing.iter().all(|length| length.is_finite() && *length > 0.0),
                "its voxel size (z, y, x) is {spacing:?}: correct it with the program that wrote \
                 the file; numbers above 0 are needed"
            );
        }
        if let Some(directions) = self.directions {
            for (a, b) in [(0, 1), (0, 2), (1, 2)] {
                let (a, b) = (directions[a], directions[b]);
                let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                ensure!(
                    product.abs() <= 1e-3,
                    "its axes are not at right angles (directions {directions:?}): resample it to \
                     a rectangular grid first, as with SimpleITK.Resample"
                );
            }
        }
        Ok(())
    }
}

/// The length of a vector.
pub fn length(vector: [f64; 3]) -> f64 {
    vector.iter().map(|part| part * part).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_known_in_many_spellings() {
        for text in ["um", "µm", "micron", "microns", "micrometer", "Micrometre", "\\u00B5m"] {
            assert_eq!(LengthUnit::parse(text), Some(LengthUnit::Micrometre), "{text}");
        }
        assert_eq!(LengthUnit::parse("mm"), Some(LengthUnit::Millimetre));
        assert_eq!(LengthUnit::parse("\"nm\""), Some(LengthUnit::Nanometre));
        assert_eq!(LengthUnit::parse("meters"), Some(LengthUnit::Metre));
        assert_eq!(LengthUnit::parse("pixel"), None);
    }

    #[test]
    fn lengths_keep_their_digits_in_their_own_unit() {
        let own = Calibration {
            spacing: Some([0.54, 0.1, 0.1]),
            unit: Some(LengthUnit::Millimetre),
            origin: Some([1.0, 2.0, 3.0]),
            ..Calibration::default()
        };
        assert_eq!(own.in_unit(LengthUnit::Millimetre), own);
        assert_eq!(own.voxel_size(), Some([540.0, 100.0, 100.0]));
        assert_eq!(own.in_unit(LengthUnit::Micrometre).origin, Some([1e3, 2e3, 3e3]));
        let numbers = Calibration { unit: None, ..own };
        assert_eq!(numbers.voxel_size(), Some([0.54, 0.1, 0.1]));
    }

    #[test]
    fn impossible_space_is_refused() {
        let spacing = |z| Calibration { spacing: Some([z, 1.0, 1.0]), ..Calibration::default() };
        assert!(spacing(1.0).check().is_ok());
        for z in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(spacing(z).check().unwrap_err().to_string().contains("voxel size"));
        }
        let sheared = [[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]];
        let sheared = Calibration { directions: Some(sheared), ..Calibration::default() };
        assert!(sheared.check().unwrap_err().to_string().contains("right angles"));
    }
}
