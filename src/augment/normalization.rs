//! What a raw list does to the values of every sample alike, such as `Normalize`: a network
//! understands raw data that went through the same.

use super::{TRANSFORMS, TransformClass};
use crate::config::{Node, number_to_json};

/// Conversions that leave the values as they are.
const PLAIN: [&str; 2] = ["ToTensor", "Identity"];

/// The steps of a raw list, in order, that convert values without random numbers, each as
/// `Name` or `Name {key: value}` with the keys that are given. Unknown transforms are left
/// out: reading the list refuses them.
pub fn normalization(list: &Node) -> Vec<String> {
    let Ok(items) = list.items() else { return Vec::new() };
    items.iter().filter_map(described).collect()
}

fn described(item: &Node) -> Option<String> {
    let (entry, _) = TRANSFORMS.open(item).ok()?;
    if entry.class != TransformClass::Conversion || PLAIN.contains(&entry.name) {
        return None;
    }
    let keys: Vec<String> = entry
        .parameters
        .iter()
        .filter_map(|parameter| {
            let node = item.get(parameter.name)?;
            let value = match serde_json::from_str::<serde_json::Value>(&node.to_json()).ok()? {
                // 0 and 0.0 are the same.
                serde_json::Value::Number(number) => number_to_json(number.as_f64()?),
                other => other,
            };
            // A default that is written out says nothing.
            let said = parameter.fallback.to_json().as_ref() != Some(&value);
            said.then(|| format!("{}: {value}", parameter.name))
        })
        .collect();
    Some(match keys.is_empty() {
        true => entry.name.to_string(),
        false => format!("{} {{{}}}", entry.name, keys.join(", ")),
    })
}

/// How the normalization of one list differs from that of another, as `with A, … without`;
/// `None` if both do the same. `first` and `second` say what the lists are for, as in
/// `trained` and `predicting`.
pub fn normalization_differs(
    (first, then): (&str, &[String]),
    (second, now): (&str, &[String]),
) -> Option<String> {
    if then == now {
        return None;
    }
    let shown = |steps: &[String]| steps.join(" and ");
    Some(match (then, now) {
        ([], now) => format!("{first} without {}, {second} with it", shown(now)),
        (then, []) => format!("{first} with {}, {second} without", shown(then)),
        (then, now) => format!("{first} with {}, {second} with {}", shown(then), shown(now)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tree;

    fn steps(text: &str) -> Vec<String> {
        normalization(
            Tree::parse(&format!("raw: {text}"), "c.yaml", &[]).unwrap().root.get("raw").unwrap(),
        )
    }

    #[test]
    fn what_converts_values_is_told_with_the_keys_that_are_given() {
        let list = "[{name: Standardize, mean: 1.0, eps: 1e-6}, {name: RandomFlip}, \
                    {name: RandomContrast}, {name: ToTensor, expand_dims: true}]";
        assert_eq!(steps(list), ["Standardize {mean: 1}"]);
        assert_eq!(steps("[{name: ToTensor, expand_dims: true}]"), Vec::<String>::new());
    }

    #[test]
    fn a_difference_is_told_in_a_line() {
        let [none, one, other] = ["[]", "[{name: Normalize}]", "[{name: Standardize}]"].map(steps);
        let told = |then: &[String], now: &[String]| {
            normalization_differs(("trained", then), ("predicting", now))
        };
        assert_eq!(told(&one, &one), None);
        assert_eq!(told(&one, &none).unwrap(), "trained with Normalize, predicting without");
        assert_eq!(told(&none, &one).unwrap(), "trained without Normalize, predicting with it");
        let both = told(&one, &other).unwrap();
        assert_eq!(both, "trained with Normalize, predicting with Standardize");
    }
}
