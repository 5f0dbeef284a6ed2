//! What a pickle built, as a [`Value`].

use std::collections::HashMap;
use std::sync::Arc;

use super::error::{Fault, damaged};
use super::source::Source;
use super::tensor::{Tensor, View};
use super::unpickle::{Heap, Id, Node};
use super::value::Value;

/// Bytes of an element of each storage if they need swapping.
pub(super) fn element_sizes(heap: &Heap, swapped: bool) -> Result<Option<Vec<usize>>, Fault> {
    if !swapped {
        return Ok(None);
    }
    let sizes = heap.storages.iter().map(|declared| declared.dtype.map(|dtype| dtype.size()));
    match sizes.collect() {
        Some(sizes) => Ok(Some(sizes)),
        None => Err(Fault::Unsupported("holds untyped numbers of a big-endian machine".into())),
    }
}

/// A checkpoint nests five deep; its configuration may go a little deeper.
const MAX_DEPTH: usize = 64;

/// The objects of a pickle as a tree.
pub(super) fn to_value(heap: &Heap, source: &Arc<Source>) -> Result<Value, Fault> {
    // A list may stand in many places: the tree may be larger than the heap, but
    // not without end.
    let budget = heap.nodes.len().saturating_mul(4).saturating_add(10_000);
    Tree { heap, source, budget }.value(heap.root, 0)
}

struct Tree<'a> {
    heap: &'a Heap,
    source: &'a Arc<Source>,
    budget: usize,
}

impl Tree<'_> {
    fn value(&mut self, id: Id, depth: usize) -> Result<Value, Fault> {
        if depth > MAX_DEPTH {
            return damaged("its pickle nests too deep, or within itself");
        }
        self.budget = match self.budget.checked_sub(1) {
            Some(left) => left,
            None => return damaged("its pickle repeats its parts without end"),
        };
        Ok(match &self.heap.nodes[id as usize] {
            Node::None => Value::None,
            Node::Bool(flag) => Value::Bool(*flag),
            Node::Int(integer) => Value::Int(*integer),
            Node::Float(number) => Value::Float(*number),
            Node::Str(text) => Value::Str(text.clone()),
            Node::Bytes(bytes) => Value::Bytes(bytes.clone()),
            Node::List(items) => Value::List(self.values(items, depth)?),
            Node::Tuple(items) => Value::Tuple(self.values(items, depth)?),
            Node::Dict { ordered, entries } => {
                let entries = self.entries(entries, depth)?;
                if *ordered { Value::OrderedDict(entries) } else { Value::Dict(entries) }
            }
            Node::Tensor(window) => {
                let bytes = self.heap.storages[window.storage].bytes();
                Value::Tensor(Tensor::File(View::new(
                    self.source.clone(),
                    window.storage,
                    bytes,
                    window.dtype,
                    window.shape.clone(),
                    window.layout.clone(),
                )?))
            }
            Node::Global(global) => match global.type_name() {
                Some(name) => Value::Type(name.into()),
                None => return damaged("its pickle stores a function"),
            },
            Node::NumpyType(_) => Value::Type("numpy.dtype".into()),
            Node::Storage { .. } => {
                return Err(Fault::Unsupported("holds a storage without a tensor".into()));
            }
        })
    }

    fn values(&mut self, items: &[Id], depth: usize) -> Result<Vec<Value>, Fault> {
        items.iter().map(|&item| self.value(item, depth + 1)).collect()
    }

    /// As in Python, the last value of a key wins and stands where the key was
    /// first set. Only texts and integers are compared; other keys do not occur
    /// twice.
    fn entries(
        &mut self,
        entries: &[(Id, Id)],
        depth: usize,
    ) -> Result<Vec<(Value, Value)>, Fault> {
        #[derive(PartialEq, Eq, Hash)]
        enum Key {
            Str(Arc<str>),
            Int(i64),
        }
        let mut places: HashMap<Key, usize> = HashMap::new();
        let mut out: Vec<(Value, Value)> = Vec::new();
        for &(key, value) in entries {
            let key = self.value(key, depth + 1)?;
            let value = self.value(value, depth + 1)?;
            let place = match &key {
                Value::Str(text) => Some(Key::Str(text.clone())),
                Value::Int(integer) => Some(Key::Int(*integer)),
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
