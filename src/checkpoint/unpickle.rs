//! A machine that runs pickles of protocols 0 to 5 and builds data only.
//!
//! Objects live in an arena and refer to each other by number, as lists and
//! dicts of a pickle may be filled after they were stored in others. The arena
//! grows by at most one object per byte of input. [`Heap::value`] turns it
//! into a tree at the end, with limits on depth and size, since an object may
//! stand in a thousand places and even within itself.

use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::sync::Arc;

use super::error::{Fault, damaged};
use super::globals::{self, Global};
use super::numpy::NumpyType;
use super::tensor::{DType, Layout, MAX_RANK};

pub(super) type Id = u32;

/// An object under construction.
#[derive(Clone, Debug)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    Bytes(Arc<[u8]>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict { ordered: bool, entries: Vec<(Id, Id)> },
    Global(Global),
    NumpyType(NumpyType),
    Storage { index: usize, base: usize },
    Tensor(Box<Window>),
}

/// A tensor: a window on the storage of that number.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub storage: usize,
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub layout: Layout,
}

/// A storage that the pickle refers to.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub key: Arc<str>,
    /// `None` for a storage of plain bytes.
    pub dtype: Option<DType>,
    pub elements: usize,
}

impl Declared {
    pub fn element(&self) -> usize {
        self.dtype.map_or(1, DType::size)
    }

    /// Checked for overflow when the storage was declared.
    pub fn bytes(&self) -> usize {
        self.elements * self.element()
    }
}

/// What came out of a pickle.
pub(super) struct Heap {
    pub nodes: Vec<Node>,
    pub root: Id,
    pub storages: Vec<Declared>,
}

/// A model of a hundred thousand tensors needs some two million objects.
const MAX_OBJECTS: usize = 8 << 20;

/// The functions known here take at most nine.
const MAX_ARGUMENTS: usize = 16;

/// Input that knows how much of the file is left, so that a length in it is
/// disbelieved before memory is taken for it.
pub(super) struct Input<R> {
    reader: R,
    left: u64,
}

impl<R: BufRead> Input<R> {
    pub fn new(reader: R, length: u64) -> Self {
        Input { reader, left: length }
    }

    /// Bytes not read yet.
    pub fn left(&self) -> u64 {
        self.left
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.left = self.left.saturating_sub(N as u64);
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        self.array().map(|[byte]| byte)
    }

    fn bytes(&mut self, count: u64) -> Result<Vec<u8>, Fault> {
        if count > self.left {
            return damaged("its pickle ends too early");
        }
        let mut bytes = vec![0; count as usize];
        self.reader.read_exact(&mut bytes)?;
        self.left -= count;
        Ok(bytes)
    }

    fn text(&mut self, count: u64) -> Result<Arc<str>, Fault> {
        // Python lets lone surrogates into pickled text; nothing here needs them.
        Ok(String::from_utf8_lossy(&self.bytes(count)?).into())
    }

    fn line(&mut self) -> Result<String, Fault> {
        Ok(String::from_utf8_lossy(&self.raw_line()?).into_owned())
    }

    fn raw_line(&mut self) -> Result<Vec<u8>, Fault> {
        const LONGEST: u64 = 1 << 20;
        let mut line = Vec::new();
        let read = (&mut self.reader).take(LONGEST).read_until(b'\n', &mut line)?;
        self.left = self.left.saturating_sub(read as u64);
        if line.pop() != Some(b'\n') {
            return damaged("a line of its pickle has no end");
        }
        Ok(line)
    }
}

struct Machine<'a, R> {
    input: &'a mut Input<R>,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack at each open mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    storages: Vec<Declared>,
    known: HashMap<Arc<str>, usize>,
    /// Bytes that calls may still copy: one instruction can copy a long list.
    copies: u64,
}

/// Runs one pickle up to its stop.
pub(super) fn run<R: BufRead>(input: &mut Input<R>) -> Result<Heap, Fault> {
    let copies = input.left().saturating_mul(16).saturating_add(1 << 20);
    let mut machine = Machine {
        input,
        copies,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        storages: Vec::new(),
        known: HashMap::new(),
    };
    while machine.step()? {}
    let root = machine.pop()?;
    Ok(Heap { nodes: machine.nodes, root, storages: machine.storages })
}

impl<R: BufRead> Machine<'_, R> {
    /// Executes one instruction; false at the end.
    fn step(&mut self) -> Result<bool, Fault> {
        let code = self.input.byte()?;
        match code {
            b'.' => return Ok(false),
            // Protocol and frames say nothing that the instructions do not.
            0x80 => _ = self.input.byte()?,
            0x95 => _ = self.input.array::<8>()?,

            b'N' => self.push(Node::None)?,
            0x88 => self.push(Node::Bool(true))?,
            0x89 => self.push(Node::Bool(false))?,
            b'K' => {
                let value = self.input.byte()?;
                self.push(Node::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.input.array()?);
                self.push(Node::Int(value.into()))?;
            }
            b'J' => {
                let value = i32::from_le_bytes(self.input.array()?);
                self.push(Node::Int(value.into()))?;
            }
            b'I' => match self.input.line()?.trim() {
                "00" => self.push(Node::Bool(false))?,
                "01" => self.push(Node::Bool(true))?,
                text => self.push(Node::Int(decimal(text)?))?,
            },
            b'L' => {
                let line = self.input.line()?;
                self.push(Node::Int(decimal(line.trim().trim_end_matches('L'))?))?;
            }
            0x8a => {
                let length = self.input.byte()?;
                self.long(length.into())?;
            }
            0x8b => {
                let length = u32::from_le_bytes(self.input.array()?);
                self.long(length.into())?;
            }
            b'F' => match self.input.line()?.trim().parse() {
                Ok(value) => self.push(Node::Float(value))?,
                Err(_) => return damaged("its pickle holds a number that is none"),
            },
            b'G' => {
                let value = f64::from_be_bytes(self.input.array()?);
                self.push(Node::Float(value))?;
            }

            0x8c => {
                let length = self.input.byte()?;
                self.text(length.into())?;
            }
            b'X' => {
                let length = u32::from_le_bytes(self.input.array()?);
                self.text(length.into())?;
            }
            0x8d => {
                let length = u64::from_le_bytes(self.input.array()?);
                self.text(length)?;
            }
            b'V' => {
                let line: String = self.input.raw_line()?.into_iter().map(char::from).collect();
                self.push(Node::Str(unescape_unicode(&line).into()))?;
            }
            b'U' => {
                let length = self.input.byte()?;
                self.python2_text(length.into())?;
            }
            b'T' => {
                let length = u32::from_le_bytes(self.input.array()?);
                self.python2_text(length.into())?;
            }
            b'S' => {
                let line = self.input.line()?;
                let bytes = unquote(line.trim())?;
                self.push(text_or_bytes(bytes))?;
            }
            b'C' => {
                let length = self.input.byte()?;
                self.bytes(length.into())?;
            }
            b'B' => {
                let length = u32::from_le_bytes(self.input.array()?);
                self.bytes(length.into())?;
            }
            0x8e | 0x96 => {
                let length = u64::from_le_bytes(self.input.array()?);
                self.bytes(length)?;
            }

            b'(' => self.marks.push(self.stack.len()),
            b'0' => match self.marks.last() {
                Some(&mark) if mark == self.stack.len() => _ = self.marks.pop(),
                _ => _ = self.pop()?,
            },
            b'1' => _ = self.since_mark()?,
            b'2' => {
                let top = self.top()?;
                self.put(top)?;
            }

            b'p' => {
                let slot = self.slot_from_line()?;
                self.memorize(slot)?;
            }
            b'q' => {
                let slot = self.input.byte()?;
                self.memorize(slot.into())?;
            }
            b'r' => {
                let slot = u32::from_le_bytes(self.input.array()?);
                self.memorize(slot.into())?;
            }
            0x94 => self.memorize(self.memo.len() as u64)?,
            b'g' => {
                let slot = self.slot_from_line()?;
                self.recall(slot)?;
            }
            b'h' => {
                let slot = self.input.byte()?;
                self.recall(slot.into())?;
            }
            b'j' => {
                let slot = u32::from_le_bytes(self.input.array()?);
                self.recall(slot.into())?;
            }

            b']' | 0x8f => self.push(Node::List(Vec::new()))?,
            b')' => self.push(Node::Tuple(Vec::new()))?,
            b'}' => self.push(Node::Dict { ordered: false, entries: Vec::new() })?,
            b'l' => {
                let items = self.since_mark()?;
                self.push(Node::List(items))?;
            }
            b't' | 0x91 => {
                let items = self.since_mark()?;
                self.push(Node::Tuple(items))?;
            }
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let items = self.last(count)?;
                self.push(Node::Tuple(items))?;
            }
            b'd' => {
                let entries = pairs(self.since_mark()?)?;
                self.push(Node::Dict { ordered: false, entries })?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend_list(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.since_mark()?;
                self.extend_list(items)?;
            }
            b's' => {
                let pair = self.last(2)?;
                self.extend_dict(pair)?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.extend_dict(items)?;
            }

            b'c' => {
                let module = self.input.line()?;
                let name = self.input.line()?;
                self.push(Node::Global(globals::find(&module, &name)?))?;
            }
            0x93 => {
                let names = self.last(2)?;
                let (Node::Str(module), Node::Str(name)) =
                    (self.node(names[0]), self.node(names[1]))
                else {
                    return damaged("its pickle names an object by something that is no text");
                };
                let global = globals::find(module, name)?;
                self.push(Node::Global(global))?;
            }
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let function = self.pop()?;
                self.call(function, arguments)?;
            }
            0x92 => {
                let keywords = self.pop()?;
                if !matches!(self.node(keywords), Node::Dict { entries, .. } if entries.is_empty())
                {
                    return damaged("its pickle calls with keywords");
                }
                let arguments = self.pop()?;
                let function = self.pop()?;
                self.call(function, arguments)?;
            }
            b'o' => {
                let items = self.since_mark()?;
                let Some((&function, arguments)) = items.split_first() else {
                    return damaged("its pickle calls nothing");
                };
                let arguments = self.add(Node::Tuple(arguments.to_vec()))?;
                self.call(function, arguments)?;
            }
            b'i' => {
                let module = self.input.line()?;
                let name = self.input.line()?;
                let function = self.add(Node::Global(globals::find(&module, &name)?))?;
                let items = self.since_mark()?;
                let arguments = self.add(Node::Tuple(items))?;
                self.call(function, arguments)?;
            }
            b'b' => {
                let state = self.pop()?;
                self.build(state)?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.storage(id)?;
            }
            b'P' => return damaged("its pickle refers to something outside by text"),
            0x82..=0x84 => return Err(Fault::UnknownGlobal("copyreg extension".into())),
            0x97 | 0x98 => return damaged("its pickle refers to a buffer outside of it"),
            other => {
                return damaged(format!("its pickle has the unknown instruction {other:#04x}"));
            }
        }
        Ok(true)
    }

    fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    fn add(&mut self, node: Node) -> Result<Id, Fault> {
        if self.nodes.len() >= MAX_OBJECTS {
            return damaged("its pickle holds more objects than any checkpoint");
        }
        self.nodes.push(node);
        Ok((self.nodes.len() - 1) as Id)
    }

    fn push(&mut self, node: Node) -> Result<(), Fault> {
        let id = self.add(node)?;
        self.put(id)
    }

    /// Puts an object that exists on the stack.
    fn put(&mut self, id: Id) -> Result<(), Fault> {
        if self.stack.len() >= MAX_OBJECTS {
            return damaged("its pickle holds more objects than any checkpoint");
        }
        self.stack.push(id);
        Ok(())
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, Fault> {
        match self.stack.last() {
            Some(&id) if self.stack.len() > self.floor() => Ok(id),
            _ => damaged("its pickle takes more than it put"),
        }
    }

    fn pop(&mut self) -> Result<Id, Fault> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    fn last(&mut self, count: usize) -> Result<Vec<Id>, Fault> {
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= self.floor() => Ok(self.stack.split_off(start)),
            _ => damaged("its pickle takes more than it put"),
        }
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, Fault> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => damaged("its pickle closes what it did not open"),
        }
    }

    fn long(&mut self, length: u64) -> Result<(), Fault> {
        let bytes = self.input.bytes(length)?;
        let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
        let fill = if negative { 0xff } else { 0 };
        if bytes.iter().skip(8).any(|&byte| byte != fill) {
            return damaged("its pickle holds an integer of more than 64 bits");
        }
        let mut array = [fill; 8];
        for (to, from) in array.iter_mut().zip(&bytes) {
            *to = *from;
        }
        self.push(Node::Int(i64::from_le_bytes(array)))
    }

    fn text(&mut self, length: u64) -> Result<(), Fault> {
        let text = self.input.text(length)?;
        self.push(Node::Str(text))
    }

    fn python2_text(&mut self, length: u64) -> Result<(), Fault> {
        let bytes = self.input.bytes(length)?;
        self.push(text_or_bytes(bytes))
    }

    fn bytes(&mut self, length: u64) -> Result<(), Fault> {
        let bytes = self.input.bytes(length)?;
        self.push(Node::Bytes(bytes.into()))
    }

    fn slot_from_line(&mut self) -> Result<u64, Fault> {
        match self.input.line()?.trim().parse() {
            Ok(slot) => Ok(slot),
            Err(_) => damaged("its pickle has a bad reference"),
        }
    }

    fn memorize(&mut self, slot: u64) -> Result<(), Fault> {
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u64) -> Result<(), Fault> {
        match self.memo.get(&slot) {
            Some(&id) => self.put(id),
            None => damaged("its pickle has a bad reference"),
        }
    }

    fn extend_list(&mut self, mut new: Vec<Id>) -> Result<(), Fault> {
        let list = self.top()?;
        match &mut self.nodes[list as usize] {
            Node::List(items) => items.append(&mut new),
            _ => return damaged("its pickle appends to what is no list"),
        }
        Ok(())
    }

    fn extend_dict(&mut self, new: Vec<Id>) -> Result<(), Fault> {
        let dict = self.top()?;
        let mut new = pairs(new)?;
        match &mut self.nodes[dict as usize] {
            Node::Dict { entries, .. } => entries.append(&mut new),
            _ => return damaged("its pickle sets keys of what is no dict"),
        }
        Ok(())
    }

    /// `function(*arguments)`, for the few functions that make data.
    fn call(&mut self, function: Id, arguments: Id) -> Result<(), Fault> {
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
    fn build(&mut self, state: Id) -> Result<(), Fault> {
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
    fn storage(&mut self, id: Id) -> Result<(), Fault> {
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

fn pairs(items: Vec<Id>) -> Result<Vec<(Id, Id)>, Fault> {
    if !items.len().is_multiple_of(2) {
        return damaged("its pickle has a key without a value");
    }
    Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

fn decimal(text: &str) -> Result<i64, Fault> {
    text.parse().or_else(|_| damaged("its pickle holds an integer that is none"))
}

/// The bytes of a text whose characters are all below 256.
fn latin1(text: &str) -> Result<Arc<[u8]>, Fault> {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    match bytes {
        Some(bytes) => Ok(bytes.into()),
        None => damaged("its pickle holds bytes beyond 255"),
    }
}

/// Python 2 had one type for both.
fn text_or_bytes(bytes: Vec<u8>) -> Node {
    match String::from_utf8(bytes) {
        Ok(text) => Node::Str(text.into()),
        Err(error) => Node::Bytes(error.into_bytes().into()),
    }
}

/// The text of protocol 0 between its quotes, escapes resolved.
fn unquote(line: &str) -> Result<Vec<u8>, Fault> {
    let raw = line.as_bytes();
    let inner = match raw {
        [first @ (b'\'' | b'"'), inner @ .., last] if first == last => inner,
        _ => return damaged("its pickle holds text without quotes"),
    };
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'x') => {
                let digits = [bytes.next(), bytes.next()];
                let value = digits.iter().try_fold(0u8, |value, digit| {
                    char::from((*digit)?).to_digit(16).map(|digit| value << 4 | digit as u8)
                });
                match value {
                    Some(value) => out.push(value),
                    None => return damaged("its pickle holds a bad escape"),
                }
            }
            Some(other) => out.push(other),
            None => return damaged("its pickle holds a bad escape"),
        }
    }
    Ok(out)
}

/// Protocol 0 writes text as `raw-unicode-escape`: Latin-1, and only \u and \U
/// are escapes.
fn unescape_unicode(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let digits = match rest.as_bytes().get(1) {
            Some(b'u') => 4,
            Some(b'U') => 8,
            _ => 0,
        };
        let code = rest.get(2..2 + digits).filter(|_| digits > 0);
        let c = code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
        match c {
            Some(c) => {
                out.push(c);
                rest = &rest[2 + digits..];
            }
            None => {
                out.push('\\');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}
