//! A parsed template as a tree in which every value knows where it is written.
//!
//! Scalars stay text: what `24.10` or `yes` means depends on the field, which only the schema knows. Merging works on this
//! tree; the typed layer is decoded from it.

use std::fmt;

use crate::source::Origin;

/// One value and its place.
#[derive(Clone, PartialEq)]
pub(crate) struct Node {
    /// Where it is written.
    pub(crate) origin: Origin,
    /// The value.
    pub(crate) value: Value,
}

/// A value.
#[derive(Clone, PartialEq)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A text, number or truth value.
    Scalar {
        /// The text after unquoting.
        text: String,
        /// Whether it was written without quotes, and so may be a number or a truth value.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping.
    Map(Map),
}

/// A mapping, in the order of the file.
#[derive(Clone, PartialEq, Default)]
pub(crate) struct Map(pub(crate) Vec<Field>);

/// One entry of a mapping.
#[derive(Clone, PartialEq)]
pub(crate) struct Field {
    /// The key.
    pub(crate) key: String,
    /// Where the key is written.
    pub(crate) key_origin: Origin,
    /// The value.
    pub(crate) node: Node,
}

// Trees hold passwords: their debug form shows places only.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.kind(), self.origin.line, self.origin.column)
    }
}

impl Node {
    /// Returns a text.
    pub(crate) fn text(origin: Origin, text: impl Into<String>) -> Self {
        Self { origin, value: Value::Scalar { text: text.into(), plain: false } }
    }

    /// Returns an empty mapping.
    pub(crate) fn empty(origin: Origin) -> Self {
        Self { origin, value: Value::Map(Map::default()) }
    }

    /// Returns what kind of value it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar { .. } => "a value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// Returns the text of a scalar.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Returns the mapping.
    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Returns the mapping for changing it.
    pub(crate) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Returns the list.
    pub(crate) fn as_list(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the value at `path`, keys only.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.as_map()?.get(key))
    }

    /// Returns the value at `path` for changing it.
    pub(crate) fn at_mut(&mut self, path: &[&str]) -> Option<&mut Self> {
        path.iter().try_fold(self, |node, key| node.as_map_mut()?.get_mut(key))
    }
}

impl Map {
    /// Returns the value of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.0.iter().find(|field| field.key == key).map(|field| &field.node)
    }

    /// Returns the value of `key` for changing it.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.0.iter_mut().find(|field| field.key == key).map(|field| &mut field.node)
    }

    /// Takes `key` out.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Field> {
        let index = self.0.iter().position(|field| field.key == key)?;
        Some(self.0.remove(index))
    }
}
