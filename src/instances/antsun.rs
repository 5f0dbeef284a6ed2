//! The texts that ANTSUN reads of a time point.

use std::fmt::Write as _;

/// A number as Julia prints a double: `12.0`, not `12`.
fn double(value: f64) -> String {
    format!("{value:?}")
}

/// `centroids/<t>.txt`: `index`, how many there are, then x, y and z of each.
pub fn centroids(centroids: impl Iterator<Item = [f64; 3]>) -> String {
    let mut lines = String::new();
    let mut count = 0;
    for place in centroids {
        let _ = writeln!(lines, "{}", place.map(double).join(" "));
        count += 1;
    }
    format!("index\n{count}\n{lines}")
}

/// `marker_signal/<t>.txt`: line i is the mean of the marker image in region i.
pub fn signal(signal: impl Iterator<Item = f64>) -> String {
    signal.map(|value| double(value) + "\n").collect()
}

/// The time point of a name such as `7` or `worm_t0007_ch2`.
pub fn time_point(name: &str) -> Option<u64> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let mut found = None;
    for (at, _) in name.match_indices("_t") {
        let digits: String = name[at + 2..].chars().take_while(char::is_ascii_digit).collect();
        let rest = &name[at + 2 + digits.len()..];
        if !digits.is_empty() && (rest.is_empty() || rest.starts_with(['_', '.'])) {
            found = digits.parse().ok();
        }
    }
    found
}

/// The channel of a name such as `worm_t0007_ch2`.
pub fn channel(name: &str) -> Option<u64> {
    let (_, channel) = name.rsplit_once("_ch")?;
    channel.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_julia() {
        assert_eq!(centroids([[24.0, 5.0, 2.0]].into_iter()), "index\n1\n24.0 5.0 2.0\n");
        assert_eq!(centroids([].into_iter()), "index\n0\n");
        assert_eq!(signal([412.0, 0.0].into_iter()), "412.0\n0.0\n");
    }

    #[test]
    fn names_tell_time_point_and_channel() {
        assert_eq!(time_point("7"), Some(7));
        assert_eq!(time_point("a_test_t0012_ch2"), Some(12));
        assert_eq!(time_point("2022-07-15-12_output_t0001_ch2"), Some(1));
        assert_eq!(time_point("worm"), None);
        assert_eq!(channel("a_t0012_ch2"), Some(2));
        assert_eq!(channel("a_t0012"), None);
    }
}
