//! A [`Node`] tree to typed values, through serde.
//!
//! Texts become numbers and truth values here, because here the field's type is known. Trees are checked against the schema
//! before they come here, so an error is a disagreement between schema and types and is reported as such.

use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, EnumAccess, IntoDeserializer, SeqAccess, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

use crate::layer::MARKER;
use crate::node::{Field, Node, Value};

/// Why a tree does not fit a type.
#[derive(Debug)]
pub(crate) struct DecodeError(String);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DecodeError {}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Decodes a tree.
///
/// # Errors
/// Returns an error when it does not fit the type.
pub(crate) fn decode<T: DeserializeOwned>(node: &Node) -> Result<T, DecodeError> {
    T::deserialize(Ref(node))
}

/// Returns what a plain text says as a truth value, the spellings of YAML 1.1 included.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[derive(Clone, Copy)]
struct Ref<'a>(&'a Node);

impl<'a> IntoDeserializer<'a, DecodeError> for Ref<'a> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'a> Ref<'a> {
    fn text(self) -> Result<&'a str, DecodeError> {
        self.0.as_text().ok_or_else(|| DecodeError(format!("expected a value, found {}", self.0.kind())))
    }

    fn parse<T: std::str::FromStr>(self) -> Result<T, DecodeError> {
        self.text()?.parse().map_err(|_| DecodeError("expected a number".to_owned()))
    }
}

impl<'de> Deserializer<'de> for Ref<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::Null => visitor.visit_unit(),
            Value::Scalar { text, .. } => visitor.visit_borrowed_str(text),
            Value::List(items) => visitor.visit_seq(SeqDeserializer::new(items.iter().map(Ref))),
            Value::Map(map) => {
                let present = map.0.iter().filter(|field| field.node.value != Value::Null);
                visitor.visit_map(MapDeserializer::new(present.map(|Field { key, node, .. }| (key.as_str(), Ref(node)))))
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_bool(truth(self.text()?).ok_or_else(|| DecodeError("expected true or false".to_owned()))?)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_i32(self.parse()?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_u32(self.parse()?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_u64(self.parse()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        if name == MARKER { visitor.visit_seq(Placed { node: self.0, step: 0 }) } else { visitor.visit_newtype_struct(self) }
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_enum(Variant(self.text()?))
    }

    forward_to_deserialize_any! {
        i8 i16 i64 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

/// What a [`crate::layer::Located`] is made from: its place, then its value.
struct Placed<'a> {
    node: &'a Node,
    step: u8,
}

impl<'de> SeqAccess<'de> for Placed<'de> {
    type Error = DecodeError;

    fn next_element_seed<T: serde::de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        self.step += 1;
        match self.step {
            1 => {
                let at = self.node.origin;
                let numbers = [at.source.0, at.line, at.column, at.offset, at.len];
                seed.deserialize(SeqDeserializer::new(numbers.into_iter())).map(Some)
            }
            2 => seed.deserialize(Ref(self.node)).map(Some),
            _ => Ok(None),
        }
    }
}

struct Variant<'a>(&'a str);

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: serde::de::DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), DecodeError> {
        let value = seed.deserialize(BorrowedStrDeserializer::<DecodeError>::new(self.0))?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        Ok(())
    }

    fn newtype_variant_seed<T: serde::de::DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, DecodeError> {
        Err(DecodeError(format!("`{}` stands for itself", self.0)))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, DecodeError> {
        Err(DecodeError(format!("`{}` stands for itself", self.0)))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, DecodeError> {
        Err(DecodeError(format!("`{}` stands for itself", self.0)))
    }
}
