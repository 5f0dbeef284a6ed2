//! Converts the objects of a pickle to a [`PickleValue`].

use std::collections::HashMap;
use std::sync::Arc;

use super::error::{Fault, damaged};
use super::source::Source;
use super::tensor::{Tensor, View};
use super::unpickle::{Heap, Id, Node, Numbers};
use super::value::PickleValue;

/// Bytes per element of each storage, or `None` if the bytes are not swapped.
pub(super) fn element_sizes(heap: &Heap, swapped: bool) -> Result<Option<Vec<usize>>, Fault> {
    if !swapped {
        return Ok(None);
    }
    let sizes = heap.storages.iter().map(|declared| match declared.numbers {
        Numbers::Bytes => None,
        _ => Some(declared.element()),
    });
    match sizes.collect() {
        Some(sizes) => Ok(Some(sizes)),
        None => Err(Fault::Unsupported("holds untyped numbers of a big-endian machine".into())),
    }
}

/// A checkpoint nests five deep; its configuration may go a little deeper.
const MAX_DEPTH: usize = 64;

/// The objects of a pickle as a tree.
pub(super) fn to_value(heap: &Heap, source: &Arc<Source>) -> Result<PickleValue, Fault> {
    // A list may occur in many places, so the tree may be larger than the heap; the
    // budget bounds it.
    let budget = heap.nodes.len().saturating_mul(4).saturating_add(10_000);
    Tree { heap, source, budget }.value(heap.root, 0)
}

struct Tree<'a> {
    heap: &'a Heap,
    source: &'a Arc<Source>,
    budget: usize,
}

impl Tree<'_> {
    fn value(&mut self, id: Id, depth: usize) -> Result<PickleValue, Fault> {
        if depth > MAX_DEPTH {
            return damaged("its pickle nests too deep, or within itself");
        }
        self.budget = match self.budget.checked_sub(1) {
            Some(left) => left,
            None => return damaged("its pickle repeats its parts without end"),
        };
        Ok(match &self.heap.nodes[id as usize] {
            Node::None => PickleValue::None,
            Node::Bool(flag) => PickleValue::Bool(*flag),
            Node::Int(integer) => PickleValue::Int(*integer),
            Node::Float(number) => PickleValue::Float(*number),
            Node::Str(text) => PickleValue::Str(text.clone()),
            Node::Bytes(bytes) => PickleValue::Bytes(bytes.clone()),
            Node::List(items) => PickleValue::List(self.values(items, depth)?),
            Node::Tuple(items) => PickleValue::Tuple(self.values(items, depth)?),
            Node::Dict { ordered, entries } => {
                let entries = self.entries(entries, depth)?;
                if *ordered {
                    PickleValue::OrderedDict(entries)
                } else {
                    PickleValue::Dict(entries)
                }
            }
            Node::Tensor(window) => {
                let bytes = self.heap.storages[window.storage].bytes();
                PickleValue::Tensor(Tensor::File(View::new(
                    self.source.clone(),
                    window.storage,
                    bytes,
                    window.dtype,
                    window.shape.clone(),
                    window.layout.clone(),
                    window.negative,
                )?))
            }
            Node::Global(global) => PickleValue::Type(global.full_name().into()),
            Node::NumpyType(_) => PickleValue::Type("numpy.dtype".into()),
            Node::Storage { .. } => PickleValue::Opaque("torch.UntypedStorage".into()),
            Node::Opaque(name) => PickleValue::Opaque(name.clone()),
        })
    }

    fn values(&mut self, items: &[Id], depth: usize) -> Result<Vec<PickleValue>, Fault> {
        items.iter().map(|&item| self.value(item, depth + 1)).collect()
    }

    /// As in Python, a key that is set again keeps its place and gets the new value.
    /// Only texts and integers are compared; other keys do not occur twice.
    fn entries(
        &mut self,
        entries: &[(Id, Id)],
        depth: usize,
    ) -> Result<Vec<(PickleValue, PickleValue)>, Fault> {
        #[derive(PartialEq, Eq, Hash)]
        enum Key {
            Str(Arc<str>),
            Int(i64),
        }
        let mut places: HashMap<Key, usize> = HashMap::new();
        let mut out: Vec<(PickleValue, PickleValue)> = Vec::new();
        for &(key, value) in entries {
            let key = self.value(key, depth + 1)?;
            let value = self.value(value, depth + 1)?;
            let place = match &key {
                PickleValue::Str(text) => Some(Key::Str(text.clone())),
                PickleValue::Int(integer) => Some(Key::Int(*integer)),
                _ => None,
            };
            match place.map(|place| *places.entry(place).or_insert(out.len())) {
                Some(at) if at < out.len() => out[at].1 = value,
                _ => out.push((key, value)),
            }
        }
        Ok(out)
    }
}
