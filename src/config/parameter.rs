//! The table entry that describes one key: name, type, range, default, meaning.

/// What a key may hold.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// A section or list that its own reader checks.
    Any,
}

/// What a key means when it is absent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fallback {
    Required,
    /// No value: the reader decides.
    Nothing,
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(&'static str),
    Integers(&'static [i64]),
    Numbers(&'static [f64]),
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

    pub const fn flag(name: &'static str, default: bool, meaning: &'static str) -> Self {
        Self::new(name, Kind::Flag, Fallback::Flag(default), meaning)
    }

    pub const fn integer(name: &'static str, default: i64, meaning: &'static str) -> Self {
        let kind = Kind::Integer { min: i64::MIN, max: i64::MAX };
        Self::new(name, kind, Fallback::Integer(default), meaning)
    }

    pub const fn number(name: &'static str, default: f64, meaning: &'static str) -> Self {
        let kind = Kind::Number { min: f64::MIN, max: f64::MAX };
        Self::new(name, kind, Fallback::Number(default), meaning)
    }

    /// A number in `0..=1`.
    pub const fn probability(name: &'static str, default: f64, meaning: &'static str) -> Self {
        Self::number(name, default, meaning).within(0.0, 1.0)
    }

    pub const fn text(name: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Kind::Text, Fallback::Text(default), meaning)
    }

    pub const fn choice(
        name: &'static str,
        default: &'static str,
        words: &'static [&'static str],
        meaning: &'static str,
    ) -> Self {
        Self::new(name, Kind::Choice(words), Fallback::Text(default), meaning)
    }

    pub const fn integers(
        name: &'static str,
        default: &'static [i64],
        meaning: &'static str,
    ) -> Self {
        let kind = Kind::Integers { min: i64::MIN, max: i64::MAX, len: 0 };
        Self::new(name, kind, Fallback::Integers(default), meaning)
    }

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

    /// A nested section or list; its reader opens it.
    pub const fn any(name: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Kind::Any, Fallback::Nothing, meaning)
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
