//! A machine that runs pickles of protocols 0 to 5 and builds data only.
//!
//! A name that is not known here becomes an opaque object, and so does the result
//! of a call of it; nothing is executed. Operations on opaque objects are ignored.
//! So the tensors of a file are read even if a configuration object, a date or an
//! array of another package is stored beside them. Code that needs the object itself
//! reports an error with its name.
//!
//! Objects live in an arena and refer to each other by number, as lists and
//! dicts of a pickle may be filled after they were stored in others. The arena
//! grows by at most one object per byte of input. At the end
//! [`to_value`](super::objects::to_value) turns it into a tree, with limits on depth
//! and size, since an object may occur in a thousand places and even within itself.

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::Arc;

mod call;
mod globals;
mod input;
mod numpy;
mod text;

use super::error::{Fault, damaged};
use super::tensor::{DType, Layout};
use globals::Global;
pub(super) use input::Input;
use numpy::NumpyType;
use text::{decimal, text_or_bytes, unescape_unicode, unquote};

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
    Dict {
        ordered: bool,
        entries: Vec<(Id, Id)>,
    },
    Global(Global),
    NumpyType(NumpyType),
    Storage {
        index: usize,
        base: usize,
    },
    Tensor(Box<Window>),
    /// An object that is not created, with the name of its type or of the function
    /// that would create it.
    Opaque(Arc<str>),
}

fn opaque(name: &str) -> Node {
    Node::Opaque(name.into())
}

/// An integer of more than 64 bits, as in the state of some random generators.
fn long_integer() -> Node {
    opaque("int of more than 64 bits")
}

/// A tensor: a strided view of a storage.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Index of the storage.
    pub storage: usize,
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub layout: Layout,
    /// torch's negative bit: the tensor is minus the numbers of the storage.
    pub negative: bool,
}

/// A storage that the pickle refers to.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub key: Arc<str>,
    pub numbers: Numbers,
    pub elements: usize,
}

/// Type of the elements of a storage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Numbers {
    Typed(DType),
    /// Bytes; the tensors on the storage have types of their own.
    Bytes,
    /// Numbers that cannot be read: name of the storage's class, bytes per element.
    Other(&'static str, usize),
}

impl Declared {
    pub fn element(&self) -> usize {
        match self.numbers {
            Numbers::Typed(dtype) => dtype.size(),
            Numbers::Bytes => 1,
            Numbers::Other(_, size) => size,
        }
    }

    /// Size in bytes; it was checked for overflow when the storage was declared.
    pub fn bytes(&self) -> usize {
        self.elements * self.element()
    }
}

/// The objects and storages of a pickle.
pub(super) struct Heap {
    pub nodes: Vec<Node>,
    pub root: Id,
    pub storages: Vec<Declared>,
}

/// A model of a hundred thousand tensors needs some two million objects.
const MAX_OBJECTS: usize = 8 << 20;

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
            // Protocol and frames do not change what the instructions mean.
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
                text => self.push(decimal(text)?)?,
            },
            b'L' => {
                let line = self.input.line()?;
                self.push(decimal(line.trim().trim_end_matches('L'))?)?;
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
                self.push(globals::find(&module, &name))?;
            }
            0x93 => {
                let names = self.last(2)?;
                let (Node::Str(module), Node::Str(name)) =
                    (self.node(names[0]), self.node(names[1]))
                else {
                    return damaged("its pickle names an object by something that is no text");
                };
                let global = globals::find(module, name);
                self.push(global)?;
            }
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let function = self.pop()?;
                self.call(function, arguments)?;
            }
            0x92 => {
                let keywords = self.pop()?;
                let arguments = self.pop()?;
                let function = self.pop()?;
                let plain =
                    matches!(self.node(keywords), Node::Dict { entries, .. } if entries.is_empty());
                if !plain && !matches!(self.node(function), Node::Opaque(_)) {
                    return damaged("its pickle calls with keywords");
                }
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
                let function = self.add(globals::find(&module, &name))?;
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
            return self.push(long_integer());
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
            Node::Opaque(_) => {}
            _ => return damaged("its pickle appends to what is no list"),
        }
        Ok(())
    }

    fn extend_dict(&mut self, new: Vec<Id>) -> Result<(), Fault> {
        let dict = self.top()?;
        let mut new = pairs(new)?;
        match &mut self.nodes[dict as usize] {
            Node::Dict { entries, .. } => entries.append(&mut new),
            Node::Opaque(_) => {}
            _ => return damaged("its pickle sets keys of what is no dict"),
        }
        Ok(())
    }
}

fn pairs(items: Vec<Id>) -> Result<Vec<(Id, Id)>, Fault> {
    if !items.len().is_multiple_of(2) {
        return damaged("its pickle has a key without a value");
    }
    Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}
