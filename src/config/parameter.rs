//! The table entry that describes one key: name, type, range, default, meaning.

use serde_json::Value as JsonValue;

use super::AnyRegistry;

/// What a key may hold.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Flag,
    /// An integer in `min..=max`.
    Integer {
        min: i64,
        max: i64,
    },
    /// A finite number in `min..=max`.
    Number {
        min: f64,
        max: f64,
    },
    Text,
    /// The path of a file or directory; `~/` stands for the home directory.
    Path,
    /// One of the given words.
    Choice(&'static [&'static str]),
    /// Integers in `min..=max`; exactly `len` of them if that is not 0.
    Integers {
        min: i64,
        max: i64,
        len: usize,
    },
    /// Numbers in `min..=max`; exactly `len` of them if that is not 0.
    Numbers {
        min: f64,
        max: f64,
        len: usize,
    },
    /// One integer, or one for each of the three axes z, y, x.
    PerAxis {
        min: i64,
    },
    /// A word or a list of words.
    Texts,
    /// A list of some of the given words.
    Words(&'static [&'static str]),
    /// Planes of a volume: pairs of different axes out of 0 (z), 1 (y) and 2 (x).
    Planes,
    /// A value that its own reader checks. The kinds it may be of are for the
    /// reference and the schema; none means that anything is taken.
    Custom(&'static [Kind]),
    /// A list of values that are each of one of these kinds. Its own reader checks it.
    Items(&'static [Kind]),
    /// A section with a table of its own, which its own reader opens.
    Section(&'static [Parameter]),
    /// A section that chooses an entry of a registry by its name.
    Entry(&'static dyn AnyRegistry),
    /// A list of sections that each choose an entry of a registry.
    Entries(&'static dyn AnyRegistry),
}

/// What a key means when it is absent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fallback {
    Required,
    /// There is no default; the reader of the section decides.
    Nothing,
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(&'static str),
    Integers(&'static [i64]),
    Numbers(&'static [f64]),
    Words(&'static [&'static str]),
    Planes(&'static [[i64; 2]]),
}

impl Fallback {
    /// The default as JSON; `None` if there is none.
    pub fn to_json(self) -> Option<JsonValue> {
        fn list<T: Copy>(items: &[T], to_json: impl Fn(T) -> JsonValue) -> Option<JsonValue> {
            Some(items.iter().map(|&item| to_json(item)).collect())
        }
        match self {
            Fallback::Required | Fallback::Nothing => None,
            Fallback::Flag(b) => Some(b.into()),
            Fallback::Integer(i) => Some(i.into()),
            Fallback::Number(x) => Some(number_to_json(x)),
            Fallback::Text(text) => Some(text.into()),
            Fallback::Integers(items) => list(items, JsonValue::from),
            Fallback::Numbers(items) => list(items, number_to_json),
            Fallback::Words(items) => list(items, JsonValue::from),
            Fallback::Planes(items) => list(items, |plane| JsonValue::from(plane.to_vec())),
        }
    }
}

/// A number as JSON, without a fraction where it has none.
pub fn number_to_json(x: f64) -> JsonValue {
    if x.fract() == 0.0 && x.abs() < 1e15 { (x as i64).into() } else { x.into() }
}

/// One key of a section.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
    pub fallback: Fallback,
    pub meaning: &'static str,
}

impl Parameter {
    const fn new(
        name: &'static str,
        kind: Kind,
        fallback: Fallback,
        meaning: &'static str,
    ) -> Self {
        Self { name, kind, fallback, meaning }
    }

    /// True or false.
    pub const fn flag(name: &'static str, default: bool, meaning: &'static str) -> Self {
        Self::new(name, Kind::Flag, Fallback::Flag(default), meaning)
    }

    /// An integer of any size; see [`Parameter::within`].
    pub const fn integer(name: &'static str, default: i64, meaning: &'static str) -> Self {
        let kind = Kind::Integer { min: i64::MIN, max: i64::MAX };
        Self::new(name, kind, Fallback::Integer(default), meaning)
    }

    /// A finite number; see [`Parameter::within`].
    pub const fn number(name: &'static str, default: f64, meaning: &'static str) -> Self {
        let kind = Kind::Number { min: f64::MIN, max: f64::MAX };
        Self::new(name, kind, Fallback::Number(default), meaning)
    }

    /// A number in `0..=1`.
    pub const fn probability(name: &'static str, default: f64, meaning: &'static str) -> Self {
        Self::number(name, default, meaning).within(0.0, 1.0)
    }

    /// Text.
    pub const fn text(name: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Kind::Text, Fallback::Text(default), meaning)
    }

    /// The path of a file or directory, without a default.
    pub const fn path(name: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Kind::Path, Fallback::Nothing, meaning)
    }

    /// One of the given words.
    pub const fn choice(
        name: &'static str,
        default: &'static str,
        words: &'static [&'static str],
        meaning: &'static str,
    ) -> Self {
        Self::new(name, Kind::Choice(words), Fallback::Text(default), meaning)
    }

    /// A list of integers; see [`Parameter::of_length`].
    pub const fn integers(
        name: &'static str,
        default: &'static [i64],
        meaning: &'static str,
    ) -> Self {
        let kind = Kind::Integers { min: i64::MIN, max: i64::MAX, len: 0 };
        Self::new(name, kind, Fallback::Integers(default), meaning)
    }

    /// A list of numbers; see [`Parameter::of_length`].
    pub const fn numbers(
        name: &'static str,
        default: &'static [f64],
        meaning: &'static str,
    ) -> Self {
        let kind = Kind::Numbers { min: f64::MIN, max: f64::MAX, len: 0 };
        Self::new(name, kind, Fallback::Numbers(default), meaning)
    }

    /// One integer for all axes, or three for z, y and x.
    pub const fn per_axis(
        name: &'static str,
        default: &'static [i64],
        meaning: &'static str,
    ) -> Self {
        Self::new(name, Kind::PerAxis { min: 0 }, Fallback::Integers(default), meaning)
    }

    /// A word or a list of words.
    pub const fn texts(name: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Kind::Texts, Fallback::Text(default), meaning)
    }

    /// Some of the given words, as a list.
    pub const fn words(
        name: &'static str,
        default: &'static [&'static str],
        words: &'static [&'static str],
        meaning: &'static str,
    ) -> Self {
        Self::new(name, Kind::Words(words), Fallback::Words(default), meaning)
    }

    /// Pairs of axes, as a list.
    pub const fn planes(
        name: &'static str,
        default: &'static [[i64; 2]],
        meaning: &'static str,
    ) -> Self {
        Self::new(name, Kind::Planes, Fallback::Planes(default), meaning)
    }

    /// A value of one of several kinds, which its own reader checks.
    pub const fn custom(name: &'static str, kinds: &'static [Kind], meaning: &'static str) -> Self {
        Self::new(name, Kind::Custom(kinds), Fallback::Nothing, meaning)
    }

    /// A value of any kind.
    pub const fn any(name: &'static str, meaning: &'static str) -> Self {
        Self::custom(name, &[], meaning)
    }

    /// A nested section; its own reader opens it.
    pub const fn section(
        name: &'static str,
        keys: &'static [Parameter],
        meaning: &'static str,
    ) -> Self {
        Self::new(name, Kind::Section(keys), Fallback::Nothing, meaning)
    }

    /// A nested section that [`super::Registry::open`] opens.
    pub const fn entry(
        name: &'static str,
        registry: &'static dyn AnyRegistry,
        meaning: &'static str,
    ) -> Self {
        Self::new(name, Kind::Entry(registry), Fallback::Nothing, meaning)
    }

    /// A list of sections that [`super::Registry::open`] opens.
    pub const fn entries(
        name: &'static str,
        registry: &'static dyn AnyRegistry,
        meaning: &'static str,
    ) -> Self {
        Self::new(name, Kind::Entries(registry), Fallback::Nothing, meaning)
    }

    /// Narrows the range of an integer, number, or of each element of a list.
    pub const fn within(mut self, low: f64, high: f64) -> Self {
        self.kind = match self.kind {
            Kind::Integer { .. } => Kind::Integer { min: low as i64, max: high as i64 },
            Kind::Number { .. } => Kind::Number { min: low, max: high },
            Kind::Integers { len, .. } => Kind::Integers { min: low as i64, max: high as i64, len },
            Kind::Numbers { len, .. } => Kind::Numbers { min: low, max: high, len },
            Kind::PerAxis { .. } => Kind::PerAxis { min: low as i64 },
            other => other,
        };
        self
    }

    /// As [`Parameter::within`], without an upper bound.
    pub const fn at_least(self, low: f64) -> Self {
        self.within(low, f64::MAX)
    }

    /// Fixes the length of a list.
    pub const fn of_length(mut self, count: usize) -> Self {
        self.kind = match self.kind {
            Kind::Integers { min, max, .. } => Kind::Integers { min, max, len: count },
            Kind::Numbers { min, max, .. } => Kind::Numbers { min, max, len: count },
            other => other,
        };
        self
    }

    /// Has no default: leaving it out is an error.
    pub const fn required(mut self) -> Self {
        self.fallback = Fallback::Required;
        self
    }

    /// Has no default: leaving it out means "none".
    pub const fn optional(mut self) -> Self {
        self.fallback = Fallback::Nothing;
        self
    }
}
