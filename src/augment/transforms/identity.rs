//! `Identity`: nothing happens.

use anyhow::Result;

use super::{Class, Entry, Scope, Transform};
use crate::volume::{Packed, Volume};

pub(super) static ENTRY: Entry = Entry {
    name: "Identity",
    class: Class::Conversion,
    meaning: "Hands the volume on as it is.",
    parameters: &[],
    build: |_| Ok(Box::new(Identity)),
    signature: |_, input| Ok(input),
};

struct Identity;

impl Transform for Identity {
    fn apply(&self, volume: Volume, _: &Scope<'_>) -> Result<Volume> {
        Ok(volume)
    }

    fn apply_packed(&self, volume: Packed, _: &Scope<'_>) -> Result<Packed> {
        Ok(volume)
    }
}
