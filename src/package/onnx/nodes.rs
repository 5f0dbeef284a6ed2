//! The nodes of an ONNX graph while they are collected.

use super::schema::{AttributeMessage, AttributeType, ElementType, NodeMessage, TensorMessage};

/// An attribute of a node.
pub enum Attribute<'a> {
    Float(f64),
    Int(i64),
    Ints(Vec<i64>),
    Text(&'a str),
}

/// Nodes and constants, each under a name of its own.
#[derive(Default)]
pub struct Nodes {
    pub nodes: Vec<NodeMessage>,
    pub constants: Vec<TensorMessage>,
}

impl Nodes {
    /// A node with one output, whose name is given back.
    pub fn add(
        &mut self,
        kind: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute<'_>)],
    ) -> String {
        let output = format!("{}_{}", kind.to_lowercase(), self.nodes.len());
        self.nodes.push(NodeMessage {
            input: inputs.iter().map(|name| name.to_string()).collect(),
            output: vec![output.clone()],
            name: output.clone(),
            op_type: kind.to_string(),
            attribute: attributes.iter().map(|(name, value)| message(name, value)).collect(),
        });
        output
    }

    /// A list of whole numbers.
    pub fn integers(&mut self, values: &[i64]) -> String {
        let words: Vec<String> =
            values.iter().map(|value| value.to_string().replace('-', "minus_")).collect();
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(format!("list_{}", words.join("_")), ElementType::Int64, values.len(), bytes)
    }

    /// The same number so many times.
    pub fn floats(&mut self, value: f32, count: usize) -> String {
        let bytes = value.to_le_bytes().repeat(count);
        self.constant(format!("float_{value}_{count}"), ElementType::Float, count, bytes)
    }

    /// One whole number, without axes.
    pub fn integer(&mut self, value: i64) -> String {
        let name = format!("integer_{value}");
        self.tensor(&name, ElementType::Int64, Vec::new(), value.to_le_bytes().to_vec());
        name
    }

    fn constant(
        &mut self,
        name: String,
        kind: ElementType,
        count: usize,
        bytes: Vec<u8>,
    ) -> String {
        self.tensor(&name, kind, vec![count as i64], bytes);
        name
    }

    /// A constant under a name of the caller, once.
    pub fn tensor(&mut self, name: &str, kind: ElementType, dims: Vec<i64>, bytes: Vec<u8>) {
        if self.constants.iter().any(|constant| constant.name == name) {
            return;
        }
        self.constants.push(TensorMessage {
            dims,
            data_type: kind.into(),
            name: name.to_string(),
            raw_data: bytes,
        });
    }

    /// A node's output under another name.
    pub fn rename(&mut self, from: &str, to: &str) {
        for node in &mut self.nodes {
            for name in node.input.iter_mut().chain(&mut node.output) {
                if name == from {
                    *name = to.to_string();
                }
            }
        }
    }
}

fn message(name: &str, value: &Attribute<'_>) -> AttributeMessage {
    let mut message = AttributeMessage { name: name.to_string(), ..Default::default() };
    let kind = match value {
        Attribute::Float(x) => {
            message.f = Some(*x as f32);
            AttributeType::Float
        }
        Attribute::Int(i) => {
            message.i = Some(*i);
            AttributeType::Int
        }
        Attribute::Ints(list) => {
            message.ints = list.clone();
            AttributeType::Ints
        }
        Attribute::Text(text) => {
            message.s = Some(text.as_bytes().to_vec());
            AttributeType::String
        }
    };
    message.r#type = kind.into();
    message
}
