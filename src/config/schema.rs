//! The JSON schema of a configuration, for editors, written from the tables.
//!
//! Draft 07, which yaml-language-server reads. A key may be null wherever it may be
//! absent, and unknown keys are admitted, as the program does with a warning.

use serde_json::{Map, Value, json};

use super::parameter::number_to_json;
use super::reference::bounds;
use super::{AnyRegistry, Fallback, Kind, Parameter};

/// The schema of a configuration with the keys `top`.
pub fn schema(top: &'static [Parameter], title: &str, description: &str) -> Value {
    let mut definitions = Map::new();
    let properties = properties(top, &mut definitions);
    let mut schema = object(properties, required(top));
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = title.into();
    schema["description"] = description.into();
    schema["type"] = "object".into();
    schema["definitions"] = definitions.into();
    schema
}

/// A schema of the keys of a section.
fn object(properties: Value, required: Vec<&'static str>) -> Value {
    let mut schema = json!({"properties": properties});
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

/// The schemas of the values of some keys.
fn properties(keys: &[Parameter], definitions: &mut Map<String, Value>) -> Value {
    let of = |key: &Parameter| (key.name.to_string(), property(key, definitions));
    Value::Object(keys.iter().map(of).collect())
}

fn required(keys: &[Parameter]) -> Vec<&'static str> {
    let keys = keys.iter().filter(|key| matches!(key.fallback, Fallback::Required));
    keys.map(|key| key.name).collect()
}

fn property(key: &Parameter, definitions: &mut Map<String, Value>) -> Value {
    let mut schema = value(key.kind, definitions);
    if !matches!(key.fallback, Fallback::Required) {
        admit_null(&mut schema);
    }
    schema.insert("description".into(), key.meaning.into());
    if let Some(default) = key.fallback.to_json() {
        schema.insert("default".into(), default);
    }
    Value::Object(schema)
}

/// Lets a schema accept null beside what it accepts.
fn admit_null(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.push(Value::Null);
    }
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push("null".into()),
        Some(one) => *one = json!([one.clone(), "null"]),
        None => {
            if let Some(Value::Array(kinds)) = schema.get_mut("anyOf") {
                kinds.push(json!({"type": "null"}));
            }
        }
    }
}

fn value(kind: Kind, definitions: &mut Map<String, Value>) -> Map<String, Value> {
    let list = |items: Map<String, Value>, len: usize| {
        let mut schema = json!({"type": "array", "items": items});
        if len > 0 {
            schema["minItems"] = len.into();
            schema["maxItems"] = len.into();
        }
        schema
    };
    let schema = match kind {
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Integer { min, max } => {
            return admit_underscores(ranged("integer", min as f64, max as f64));
        }
        Kind::Number { min, max } => return admit_underscores(ranged("number", min, max)),
        Kind::Text | Kind::Path => json!({"type": "string"}),
        Kind::Choice(words) => json!({"enum": words}),
        Kind::Integers { min, max, len } => list(ranged("integer", min as f64, max as f64), len),
        Kind::Numbers { min, max, len } => list(ranged("number", min, max), len),
        Kind::PerAxis { min } => {
            let one = ranged("integer", min as f64, f64::MAX);
            json!({"anyOf": [one, list(one.clone(), 3)]})
        }
        Kind::Texts => json!({
            "type": ["string", "array"], "items": {"type": "string"}, "minItems": 1,
        }),
        Kind::Words(words) => json!({"type": "array", "items": {"enum": words}}),
        Kind::Planes => {
            let plane = list(ranged("integer", 0.0, 2.0), 2);
            json!({"type": "array", "minItems": 1, "items": plane})
        }
        Kind::Custom([]) => json!({}),
        Kind::Custom(kinds) => {
            let kinds: Vec<_> = kinds.iter().map(|kind| value(*kind, definitions)).collect();
            json!({"anyOf": kinds})
        }
        Kind::Items(kinds) => {
            let kinds: Vec<_> = kinds.iter().map(|kind| value(*kind, definitions)).collect();
            json!({"type": "array", "minItems": 1, "items": {"anyOf": kinds}})
        }
        Kind::Section(keys) => {
            let mut schema = object(properties(keys, definitions), required(keys));
            schema["type"] = "object".into();
            schema
        }
        Kind::Entry(registry) => json!({"allOf": [definition(registry, definitions)]}),
        Kind::Entries(registry) => {
            json!({"type": "array", "items": definition(registry, definitions)})
        }
    };
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

/// Lets a number group its digits with underscores: editors that follow YAML 1.2
/// take `10_000` for text.
fn admit_underscores(mut schema: Map<String, Value>) -> Map<String, Value> {
    if let Some(kind) = schema.get_mut("type") {
        *kind = json!([kind.clone(), "string"]);
    }
    schema.insert("pattern".into(), "^[-+]?[0-9]+(_[0-9]+)+$".into());
    schema
}

/// A number of a range.
fn ranged(kind: &str, min: f64, max: f64) -> Map<String, Value> {
    let mut schema = Map::new();
    schema.insert("type".into(), kind.into());
    let (low, high) = bounds(min, max);
    if let Some(low) = low {
        // The smallest positive number stands for "more than 0".
        let (key, low) = match low > 0.0 && low < 1e-300 {
            true => ("exclusiveMinimum", 0.0),
            false => ("minimum", low),
        };
        schema.insert(key.into(), number_to_json(low));
    }
    if let Some(high) = high {
        schema.insert("maximum".into(), number_to_json(high));
    }
    schema
}

/// A reference to the definition of a section that chooses an entry of a registry.
fn definition(registry: &dyn AnyRegistry, definitions: &mut Map<String, Value>) -> Value {
    let kind = registry.kind().replace(' ', "_");
    let reference = json!({"$ref": format!("#/definitions/{kind}")});
    if definitions.contains_key(&kind) {
        return reference;
    }
    // Registered first, in case an entry refers to its own registry.
    definitions.insert(kind.clone(), Value::Null);
    let key = registry.name();
    let entries = registry.entries();
    let names: Vec<&str> = entries.iter().map(|entry| entry.name()).collect();
    let meanings: Vec<&str> = entries.iter().map(|entry| entry.meaning()).collect();
    let mut name = json!({
        "enum": names, "enumDescriptions": meanings, "description": key.meaning,
    });
    if let (Fallback::Text(default), Value::Object(name)) = (key.fallback, &mut name) {
        name.insert("default".into(), default.into());
        admit_null(name);
    }
    let mut properties = properties(registry.shared(), definitions);
    properties[key.name] = name;
    let mut required_keys = required(registry.shared());
    required_keys.extend(required(&[key]));
    let cases = entries.iter().filter(|entry| !entry.parameters().is_empty()).map(|entry| {
        let mut case = json!({"properties": {key.name: {"const": entry.name()}}});
        // The entry that an absent name stands for has no need of it.
        if !matches!(key.fallback, Fallback::Text(default) if default == entry.name()) {
            case["required"] = json!([key.name]);
        }
        let keys = entry.parameters();
        json!({"if": case, "then": object(self::properties(keys, definitions), required(keys))})
    });
    let cases: Vec<Value> = cases.collect();
    let mut schema = object(properties, required_keys);
    schema["type"] = json!(["object", "null"]);
    if !cases.is_empty() {
        schema["allOf"] = cases.into();
    }
    definitions.insert(kind, schema);
    reference
}
