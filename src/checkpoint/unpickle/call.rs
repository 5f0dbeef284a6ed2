//! Results of the calls in a pickle: data for known functions, opaque objects for
//! all others.

use std::io::BufRead;
use std::sync::Arc;

use super::super::error::{Fault, damaged};
use super::super::tensor::{DType, Layout, MAX_RANK};
use super::globals::{Global, printable};
use super::numpy::NumpyType;
use super::text::latin1;
use super::{Declared, Id, Machine, Node, Numbers, Window, opaque};

/// The known functions take at most nine arguments.
const MAX_ARGUMENTS: usize = 16;

impl<R: BufRead> Machine<'_, R> {
    /// Pushes the result of `function(*arguments)`.
    pub fn call(&mut self, function: Id, arguments: Id) -> Result<(), Fault> {
        let function = match self.node(function) {
            Node::Global(function) => *function,
            Node::Opaque(name) => {
                let name = name.clone();
                return self.push(Node::Opaque(name));
            }
            _ => return damaged("its pickle calls what is no function"),
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
        // An object made of an opaque one is opaque, too. Arguments that do not
        // matter for the data, such as hooks, are left out.
        let relevant = match function {
            Global::DefaultDict => &[],
            Global::FromType | Global::Parameter => arguments.get(..1).unwrap_or_default(),
            Global::Tensor => arguments.get(..4).unwrap_or_default(),
            _ => arguments,
        };
        let unmade = relevant.iter().find(|&&id| matches!(self.node(id), Node::Opaque(_)));
        if let Some(&id) = unmade {
            return Ok(self.node(id).clone());
        }
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
            Global::Tuple | Global::Size => Node::Tuple(sequence()?),
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
                Node::Str(name) => NumpyType::parse(name),
                _ => return damaged("its pickle holds a numpy type without a name"),
            },
            Global::NumpyScalar => match (argument(0)?, argument(1)?) {
                (Node::NumpyType(kind), Node::Bytes(raw)) => kind.scalar(raw)?,
                // Python 2 wrote bytes as text.
                (Node::NumpyType(kind), Node::Str(raw)) => kind.scalar(raw.as_bytes())?,
                _ => return damaged("its pickle holds a numpy scalar without a value"),
            },
            Global::Tensor => self.tensor(arguments, None, arguments.get(6))?,
            Global::TypedTensor => match argument(6)? {
                Node::Global(Global::Element(dtype)) => {
                    self.tensor(arguments, Some(*dtype), arguments.get(7))?
                }
                _ => return damaged("its pickle holds a tensor without a type"),
            },
            Global::DeviceTensor => match (argument(0)?, argument(1)?) {
                (Node::Tensor(window), Node::Global(Global::Element(dtype)))
                    if window.dtype == *dtype =>
                {
                    Node::Tensor(window.clone())
                }
                (Node::Tensor(_), _) => opaque(&function.full_name()),
                _ => return damaged("its pickle moves what is no tensor to a device"),
            },
            Global::Parameter => match argument(0)? {
                tensor @ Node::Tensor(_) => tensor.clone(),
                _ => return damaged("its pickle makes a parameter of what is no tensor"),
            },
            Global::FromType => match (argument(0)?, argument(2)?) {
                // One level only: torch never nests this function, and nesting would
                // make the recursion as deep as a file likes.
                (Node::Global(function), Node::Tuple(inner)) if *function != Global::FromType => {
                    self.evaluate(*function, inner)?
                }
                _ => return damaged("its pickle rebuilds a tensor from nothing"),
            },
            // An object of a type that is expected as a name only, such as `int`.
            Global::Named(name) => opaque(name),
            Global::Storage(_)
            | Global::UntypedStorage
            | Global::OtherStorage(..)
            | Global::Element(_) => return damaged("its pickle calls a type"),
        })
    }

    /// The tensor of `(storage, offset, size, stride, ...)`. `dtype`, if
    /// given, takes precedence over the storage's. `metadata` is torch's dict of
    /// flags, of which `neg` says that the tensor is minus the numbers in its
    /// storage.
    fn tensor(
        &self,
        arguments: &[Id],
        dtype: Option<DType>,
        metadata: Option<&Id>,
    ) -> Result<Node, Fault> {
        let Some(&[storage, offset, shape, strides]) = arguments.first_chunk() else {
            return damaged("its pickle calls with too few arguments");
        };
        let &Node::Storage { index, base } = self.node(storage) else {
            return damaged("its pickle holds a tensor without a storage");
        };
        let dtype = match (dtype, self.storages[index].numbers) {
            (Some(dtype), _) | (None, Numbers::Typed(dtype)) => dtype,
            (None, Numbers::Other(name, _)) => return Ok(opaque(name)),
            (None, Numbers::Bytes) => return damaged("its pickle holds a tensor without a type"),
        };
        let mut negative = false;
        match metadata.map(|&id| self.node(id)) {
            None | Some(Node::None) => {}
            Some(Node::Dict { entries, .. }) => {
                for &(key, value) in entries {
                    let Node::Str(key) = self.node(key) else {
                        return damaged("its pickle holds a tensor with wrong metadata");
                    };
                    match (key.as_ref(), self.node(value)) {
                        (_, Node::Bool(false)) => {}
                        // torch does not define the negative of a boolean.
                        ("neg", Node::Bool(true)) if dtype != DType::Bool => negative = true,
                        // `conj` occurs with complex numbers only.
                        _ => return Ok(opaque(&printable("torch.Tensor with metadata", key))),
                    }
                }
            }
            Some(_) => return damaged("its pickle holds a tensor with wrong metadata"),
        }
        let offset = match *self.node(offset) {
            Node::Int(offset) => usize::try_from(offset).ok(),
            _ => None,
        };
        let Some(offset) = offset.and_then(|offset| offset.checked_add(base)) else {
            return damaged("a tensor of it starts before its storage");
        };
        let (shape, strides) = (self.sizes(self.node(shape))?, self.sizes(self.node(strides))?);
        let layout = Layout { offset, strides };
        Ok(Node::Tensor(Box::new(Window { storage: index, dtype, shape, layout, negative })))
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

    /// Executes `object.__setstate__(state)`. Only for numpy types does the state
    /// matter: it holds the byte order.
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
            // Python attributes, such as `_metadata` of a state dict.
            Node::Dict { .. } | Node::Tensor(_) | Node::Opaque(_) => {}
            _ => return damaged("its pickle gives a state to what has none"),
        }
        Ok(())
    }

    /// Pushes the storage that the tuple `('storage', type, key, device, elements)`
    /// refers to; its numbers are outside of the pickle. Files of torch before 1.6
    /// have a view of the storage as sixth element.
    pub fn storage(&mut self, id: Id) -> Result<(), Fault> {
        let Node::Tuple(fields) = self.node(id) else {
            return damaged("its pickle refers to something outside that is no storage");
        };
        let fields: Vec<&Node> = fields.iter().take(6).map(|&id| self.node(id)).collect();
        let (numbers, key, elements, view) = match fields[..] {
            // torch before 1.6 refers to classes of networks so, with their source code.
            [Node::Str(kind), class @ (Node::Opaque(_) | Node::Global(_)), ..]
                if kind.as_ref() == "module" =>
            {
                let class = class.clone();
                return self.push(class);
            }
            // A type of storage that is not known here.
            [Node::Str(kind), class @ Node::Opaque(_), ..] if kind.as_ref() == "storage" => {
                let class = class.clone();
                return self.push(class);
            }
            [Node::Str(kind), ref rest @ ..] if kind.as_ref() == "storage" => match rest[..] {
                [Node::Global(kind), Node::Str(key), _, Node::Int(elements), ref view @ ..] => {
                    let numbers = match *kind {
                        Global::Storage(dtype) => Numbers::Typed(dtype),
                        Global::UntypedStorage => Numbers::Bytes,
                        Global::OtherStorage(name, size) => Numbers::Other(name, size),
                        _ => return damaged("its pickle holds a storage without a type"),
                    };
                    (numbers, key.clone(), *elements, view.first().copied().cloned())
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
        let elements = usize::try_from(elements).unwrap_or(usize::MAX);
        let declared = Declared { key: key.clone(), numbers, elements };
        if elements.checked_mul(declared.element()).is_none_or(|bytes| bytes == usize::MAX) {
            return damaged("its pickle holds a storage of impossible size");
        }
        let index = match self.known.get(&key) {
            Some(&index) => {
                let known = &self.storages[index];
                if known.numbers != numbers || known.elements != elements {
                    return damaged(format!("it describes the storage `{key}` in two ways"));
                }
                index
            }
            None => {
                self.known.insert(key, self.storages.len());
                self.storages.push(declared);
                self.storages.len() - 1
            }
        };
        self.push(Node::Storage { index, base })
    }
}
