//! Which axes of a file are z, y, x and the channels.

use anyhow::{Context, Result, bail, ensure};

/// How a file is to be read where it can be read in several ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Names of the axes, the slowest first, in place of those that the file gives, such
    /// as `zyx` or `czyx`.
    pub axes: Option<String>,
    /// The index to read along an axis that a volume does not have, such as (`t`, 3).
    pub chosen: Vec<(char, usize)>,
}

impl ReadOptions {
    /// Axes as a user writes them: letters of `tczyx`, each once, with y and x.
    ///
    /// # Errors
    /// Other letters, and axes that make no volume.
    pub fn parse_axes(text: &str) -> Result<String> {
        let letters = text.trim().to_ascii_lowercase();
        let once = |letter: char| letters.matches(letter).count() <= 1;
        ensure!(
            letters.chars().all(|letter| "tczyx".contains(letter) && once(letter))
                && letters.contains('y')
                && letters.contains('x'),
            "`{text}` are no axes of a volume: name each axis of the file by one letter, the \
             slowest first, of t, c, z, y and x, as in zyx or czyx"
        );
        Ok(letters)
    }
}

/// Where the axes of a volume (C, D, H, W) are among those of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AxisMap {
    /// Number of the array's axis that is c, z, y and x; `None` stands for one of
    /// length 1.
    pub places: [Option<usize>; 4],
    /// Index of the array's axes that the volume does not have.
    pub fixed: Vec<usize>,
    /// (C, D, H, W)
    pub shape: [usize; 4],
    pub has_channels: bool,
}

impl AxisMap {
    /// Finds the axes of a volume in an array of axes `names`, the slowest first, one
    /// character each, and lengths `dims`. Axes that are no part of a volume must have
    /// length 1 or a chosen index; a channel axis of length 1 is left out if it is the
    /// file that names it.
    ///
    /// # Errors
    /// Axes that a volume does not have, and a choice that does not exist.
    pub fn new(names: &str, dims: &[usize], options: &ReadOptions) -> Result<AxisMap> {
        let own = options.axes.as_deref();
        let names: Vec<char> = own.unwrap_or(names).chars().collect();
        ensure!(
            names.len() == dims.len(),
            "it has {} axes {dims:?}, and `axes: {}` names {}",
            dims.len(),
            names.iter().collect::<String>(),
            names.len()
        );
        ensure!(
            dims.iter().all(|&n| n > 0),
            "its shape {dims:?} has an empty axis: there is nothing to read"
        );
        let mut map = AxisMap {
            places: [None; 4],
            fixed: vec![0; dims.len()],
            shape: [1; 4],
            has_channels: false,
        };
        let mut chosen = options.chosen.clone();
        for (axis, (&name, &length)) in names.iter().zip(dims).enumerate() {
            let choice = chosen.iter().position(|(of, _)| *of == name);
            if let Some(index) = choice.map(|choice| chosen.remove(choice).1) {
                ensure!(
                    index < length,
                    "there is no {name} = {index}: its {length} are numbered from 0"
                );
                map.fixed[axis] = index;
                continue;
            }
            let place = "czyx".chars().position(|letter| letter == name);
            match place {
                Some(0) if length == 1 && own.is_none() => {}
                Some(place) => {
                    ensure!(map.places[place].is_none(), "two of its axes are {name}");
                    map.places[place] = Some(axis);
                    map.shape[place] = length;
                    map.has_channels |= place == 0;
                }
                None => ensure!(
                    length == 1,
                    "its axis {name} has the length {length}, and volumes have the axes z, y and x \
                     and channels c alone: choose one with `:{name}=N` at the end of its path, or \
                     say with `axes` what the axes {dims:?} are"
                ),
            }
        }
        if let Some((name, _)) = chosen.first() {
            bail!("it has no axis {name} to choose from; its axes are {}", shown(&names, dims));
        }
        for (place, name) in [(2, 'y'), (3, 'x')] {
            map.places[place].with_context(|| {
                format!("it has no axis {name}; its axes are {}", shown(&names, dims))
            })?;
        }
        Ok(map)
    }

    /// Distances of neighbours along c, z, y and x in an array without gaps, and the
    /// place of the first voxel, both counted in voxels.
    pub fn strides(&self, dims: &[usize]) -> ([usize; 4], usize) {
        let mut steps = vec![1; dims.len()];
        for axis in (0..dims.len().saturating_sub(1)).rev() {
            steps[axis] = steps[axis + 1] * dims[axis + 1];
        }
        let first = self.fixed.iter().zip(&steps).map(|(index, step)| index * step).sum();
        (self.places.map(|place| place.map_or(0, |axis| steps[axis])), first)
    }
}

fn shown(names: &[char], dims: &[usize]) -> String {
    let axes: Vec<_> = names.iter().zip(dims).map(|(name, n)| format!("{name} ({n})")).collect();
    axes.join(", ")
}

/// Names of the axes of an array that does not name them: z, y, x and, in front,
/// channels.
pub(super) fn usual_axes(rank: usize) -> Result<&'static str> {
    Ok(match rank {
        2 => "yx",
        3 => "zyx",
        4 => "czyx",
        5 => "tczyx",
        _ => bail!(
            "it has {rank} axes, and a volume has the axes z, y and x and perhaps channels: say \
             with `axes` what they are"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(names: &str, dims: &[usize], options: &ReadOptions) -> Result<AxisMap> {
        AxisMap::new(names, dims, options)
    }

    #[test]
    fn axes_are_found_in_any_order() {
        let options = ReadOptions::default();
        let found = map("tzyxc", &[1, 2, 3, 4, 5], &options).unwrap();
        assert_eq!((found.shape, found.has_channels), ([5, 2, 3, 4], true));
        assert_eq!(found.strides(&[1, 2, 3, 4, 5]), ([1, 60, 20, 5], 0));
        let found = map("cyx", &[1, 3, 4], &options).unwrap();
        assert_eq!((found.shape, found.has_channels), ([1, 1, 3, 4], false));
    }

    #[test]
    fn what_a_user_says_goes_first() {
        let said = |axes: &str, chosen: &[(char, usize)]| ReadOptions {
            axes: (!axes.is_empty()).then(|| axes.to_owned()),
            chosen: chosen.to_vec(),
        };
        let found = map("tyx", &[6, 3, 4], &said("zyx", &[])).unwrap();
        assert_eq!(found.shape, [1, 6, 3, 4]);
        let found = map("tzyx", &[6, 2, 3, 4], &said("", &[('t', 5)])).unwrap();
        assert_eq!(found.strides(&[6, 2, 3, 4]), ([0, 12, 4, 1], 120));
        let found = map("zcyx", &[6, 2, 3, 4], &said("", &[('c', 1)])).unwrap();
        assert_eq!((found.shape, found.has_channels), ([1, 6, 3, 4], false));
        let found = map("zyx", &[1, 3, 4], &said("cyx", &[])).unwrap();
        assert_eq!((found.shape, found.has_channels), ([1, 1, 3, 4], true));
        let error =
            |axes, chosen| map("tzyx", &[6, 2, 3, 4], &said(axes, chosen)).unwrap_err().to_string();
        assert!(error("", &[]).contains(":t=N"));
        assert!(error("", &[('t', 6)]).contains("no t = 6"));
        assert!(error("", &[('c', 0), ('t', 0)]).contains("no axis c"));
        assert!(error("zyx", &[]).contains("names 3"));
        assert!(
            ReadOptions::parse_axes("zzyx").is_err() && ReadOptions::parse_axes("zyw").is_err()
        );
        assert_eq!(ReadOptions::parse_axes("CZYX").unwrap(), "czyx");
    }
}
