//! What calling a known name gives: an object of data.

use std::io::BufRead;
use std::sync::Arc;

use super::super::error::{Fault, damaged};
use super::super::tensor::{DType, Layout, MAX_RANK};
use super::globals::Global;
use super::numpy::NumpyType;
use super::text::latin1;
use super::{Declared, Id, Machine, Node, Window};

/// The functions known here take at most nine.
const MAX_ARGUMENTS: usize = 16;

impl<R: BufRead> Machine<'_, R> {
    /// `function(*arguments)`, for the few functions that make data.
    pub fn call(&mut self, function: Id, arguments: Id) -> Result<(), Fault> {
        let Node::Global(function) = *self.node(function) else {
            return damaged("its pickle calls what is no function");
        };
        let Node::Tuple(arguments) = self.node(arguments) else {
            return damaged("its pickle calls without a tuple of arguments");
        };
        if arguments.len() > MAX_ARGUMENTS {
            return damaged("its pickle calls with too many arguments");
        }
        let arguments = arguments.clone();
        let node = self.evaluate(function, &arguments)?;
        let copied = match &node {
            Node::List(items) | Node::Tuple(items) => size_of_val(items.as_slice()),
            Node::Dict { entries, .. } => size_of_val(entries.as_slice()),
            Node::Bytes(bytes) => bytes.len(),
            Node::Str(text) => text.len(),
            Node::Tensor(window) => size_of_val(window.shape.as_slice()) * 2,
            _ => 0,
        };
        match self.copies.checked_sub(copied as u64) {
            Some(left) => self.copies = left,
            None => return damaged("its pickle copies more than it holds"),
        }
        self.push(node)
    }

    fn evaluate(&self, function: Global, arguments: &[Id]) -> Result<Node, Fault> {
        let argument = |index: usize| match arguments.get(index) {
            Some(&id) => Ok(self.node(id)),
            None => damaged("its pickle calls with too few arguments"),
        };
        let sequence = || match arguments.first().map(|&id| self.node(id)) {
            None => Ok(Vec::new()),
            Some(Node::List(items) | Node::Tuple(items)) => Ok(items.clone()),
            Some(_) => damaged("its pickle makes a list of what is none"),
        };
        Ok(match function {
            Global::Dict | Global::OrderedDict | Global::DefaultDict => {
                let entries = match arguments.first().map(|&id| self.node(id)) {
                    None => Vec::new(),
                    _ if function == Global::DefaultDict => Vec::new(),
                    Some(Node::Dict { entries, .. }) => entries.clone(),
                    Some(Node::List(items)) => {
                        let mut entries = Vec::with_capacity(items.len());
                        for &item in items {
                            match self.node(item) {
                                Node::List(pair) | Node::Tuple(pair) if pair.len() == 2 => {
                                    entries.push((pair[0], pair[1]));
                                }
                                _ => return damaged("its pickle makes a dict of what is none"),
                            }
                        }
                        entries
                    }
                    Some(_) => return damaged("its pickle makes a dict of what is none"),
                };
                Node::Dict { ordered: function == Global::OrderedDict, entries }
            }
            Global::List | Global::Set => Node::List(sequence()?),
            Global::Tuple => Node::Tuple(sequence()?),
            Global::Bytes => match arguments.first().map(|&id| self.node(id)) {
                None => Node::Bytes(Arc::new([])),
                Some(Node::Bytes(bytes)) => Node::Bytes(bytes.clone()),
                Some(Node::Str(text)) => Node::Bytes(latin1(text)?),
                Some(_) => return damaged("its pickle makes bytes of what are none"),
            },
            Global::Encode => match argument(0)? {
                Node::Str(text) => Node::Bytes(latin1(text)?),
                _ => return damaged("its pickle encodes what is no text"),
            },
            Global::Device => match (argument(0)?, arguments.get(1).map(|&id| self.node(id))) {
                (Node::Str(kind), Some(Node::Int(index))) => {
                    Node::Str(format!("{kind}:{index}").into())
                }
                (Node::Str(kind), _) => Node::Str(kind.clone()),
                _ => return damaged("its pickle holds a device without a name"),
            },
            Global::NumpyDType => match argument(0)? {
                Node::Str(name) => Node::NumpyType(NumpyType::parse(name)?),
                _ => return damaged("its pickle holds a numpy type without a name"),
            },
            Global::NumpyScalar => match (argument(0)?, argument(1)?) {
                (Node::NumpyType(kind), Node::Bytes(raw)) => kind.scalar(raw)?,
                // Python 2 wrote bytes as text.
                (Node::NumpyType(kind), Node::Str(raw)) => kind.scalar(raw.as_bytes())?,
                _ => return damaged("its pickle holds a numpy scalar without a value"),
            },
            Global::Tensor => {
                self.window(argument(0)?, argument(1)?, argument(2)?, argument(3)?, None)?
            }
            Global::TypedTensor => match argument(6)? {
                Node::Global(Global::Element(dtype)) => self.window(
                    argument(0)?,
                    argument(1)?,
                    argument(2)?,
                    argument(3)?,
                    Some(*dtype),
                )?,
                _ => return damaged("its pickle holds a tensor without a type"),
            },
            Global::Parameter => match argument(0)? {
                tensor @ Node::Tensor(_) => tensor.clone(),
                _ => return damaged("its pickle makes a parameter of what is no tensor"),
            },
            Global::FromType => match (argument(0)?, argument(2)?) {
                // One level only: a rebuilding function that rebuilds is a trick.
                (Node::Global(function), Node::Tuple(inner)) if *function != Global::FromType => {
                    self.evaluate(*function, inner)?
                }
                _ => return damaged("its pickle rebuilds a tensor from nothing"),
            },
            Global::Storage(_) | Global::UntypedStorage | Global::Element(_) | Global::Named(_) => {
                return damaged("its pickle calls a type");
            }
        })
    }

    fn window(
        &self,
        storage: &Node,
        offset: &Node,
        shape: &Node,
        strides: &Node,
        dtype: Option<DType>,
    ) -> Result<Node, Fault> {
        let &Node::Storage { index, base } = storage else {
            return damaged("its pickle holds a tensor without a storage");
        };
        let Some(dtype) = dtype.or(self.storages[index].dtype) else {
            return damaged("its pickle holds a tensor without a type");
        };
        let offset = match *offset {
            Node::Int(offset) => usize::try_from(offset).ok(),
            _ => None,
        };
        let Some(offset) = offset.and_then(|offset| offset.checked_add(base)) else {
            return damaged("a tensor of it starts before its storage");
        };
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        let layout = Layout { offset, strides };
        Ok(Node::Tensor(Box::new(Window { storage: index, dtype, shape, layout })))
    }

    fn sizes(&self, node: &Node) -> Result<Vec<usize>, Fault> {
        let (Node::Tuple(items) | Node::List(items)) = node else {
            return damaged("its pickle holds a tensor without sizes");
        };
        if items.len() > MAX_RANK {
            return damaged("its pickle holds a tensor of too many dimensions");
        }
        let size = |&id: &Id| match *self.node(id) {
            Node::Int(size) => usize::try_from(size).ok(),
            _ => None,
        };
        match items.iter().map(size).collect() {
            Some(sizes) => Ok(sizes),
            None => damaged("its pickle holds a tensor of impossible size"),
        }
    }

    /// `object.__setstate__(state)`: only numpy types have a state that matters.
    pub fn build(&mut self, state: Id) -> Result<(), Fault> {
        let object = self.top()?;
        let big_endian = match self.node(state) {
            Node::Tuple(items) => match items.get(1).map(|&id| self.node(id)) {
                Some(Node::Str(order)) => order.as_ref() == ">",
                Some(Node::Bytes(order)) => order.as_ref() == b">",
                _ => false,
            },
            _ => false,
        };
        match &mut self.nodes[object as usize] {
            Node::NumpyType(kind) => kind.big_endian |= big_endian,
            // Attributes of an OrderedDict (`_metadata`) or of a tensor.
            Node::Dict { .. } | Node::Tensor(_) => {}
            _ => return damaged("its pickle gives a state to what has none"),
        }
        Ok(())
    }

    /// What torch keeps outside of the pickle: `('storage', type, key, device,
    /// elements)`, and before torch 1.6 a view of it as sixth.
    pub fn storage(&mut self, id: Id) -> Result<(), Fault> {
        let Node::Tuple(fields) = self.node(id) else {
            return damaged("its pickle refers to something outside that is no storage");
        };
        let fields: Vec<&Node> = fields.iter().take(6).map(|&id| self.node(id)).collect();
        let (dtype, key, elements, view) = match fields[..] {
            [Node::Str(kind), ref rest @ ..] if kind.as_ref() == "storage" => match rest[..] {
                [Node::Global(kind), Node::Str(key), _, Node::Int(elements), ref view @ ..] => {
                    let dtype = match *kind {
                        Global::Storage(dtype) => Some(dtype),
                        Global::UntypedStorage => None,
                        _ => return damaged("its pickle holds a storage without a type"),
                    };
                    (dtype, key.clone(), *elements, view.first().copied().cloned())
                }
                _ => return damaged("its pickle describes a storage wrongly"),
            },
            _ => return damaged("its pickle refers to something outside that is no storage"),
        };
        let base = match view {
            None | Some(Node::None) => 0,
            Some(Node::Tuple(view)) => match view.get(1).map(|&id| self.node(id)) {
                Some(&Node::Int(offset)) if offset >= 0 => offset as usize,
                _ => return damaged("its pickle describes a storage wrongly"),
            },
            Some(_) => return damaged("its pickle describes a storage wrongly"),
        };
        let size = dtype.map_or(1, DType::size);
        let elements = match usize::try_from(elements) {
            Ok(elements) if elements.checked_mul(size).is_some() => elements,
            _ => return damaged("its pickle holds a storage of impossible size"),
        };
        let index = match self.known.get(&key) {
            Some(&index) => {
                let known = &self.storages[index];
                if known.dtype != dtype || known.elements != elements {
                    return damaged(format!("it describes the storage `{key}` in two ways"));
                }
                index
            }
            None => {
                self.known.insert(key.clone(), self.storages.len());
                self.storages.push(Declared { key, dtype, elements });
                self.storages.len() - 1
            }
        };
        self.push(Node::Storage { index, base })
    }
}
