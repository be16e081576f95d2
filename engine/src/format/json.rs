//! JSON as the format takes it: no object has a key twice, and objects and words stand where they belong.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// The most characters of a parser's message, which quotes what it dislikes in full.
const MAX_REASON: usize = 300;

/// Parses JSON text; the error says what is wrong with it.
pub(super) fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, String> {
    // serde keeps the last of two values of one key, and skips what it does not know without looking into it.
    serde_json::from_str::<UniqueKeys>(json).map_err(brief)?;
    serde_json::from_str(json).map_err(brief)
}

/// A message as text, its middle left out where it is very long.
pub(super) fn brief(message: impl Display) -> String {
    let text = message.to_string();
    let length = text.chars().count();
    if length <= MAX_REASON {
        return text;
    }
    let start: String = text.chars().take(MAX_REASON / 2).collect();
    let end: String = text.chars().skip(length - MAX_REASON / 2).collect();
    format!("{start} ... {end}")
}

/// A value as JSON text.
pub(super) fn text(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("strings, numbers and maps with string keys always serialize")
}

/// Any JSON value in which no object has a key twice, however the key is escaped. Nothing of it is kept.
struct UniqueKeys;

/// A key, borrowed where nothing in it is escaped.
#[derive(serde::Deserialize, PartialEq, Eq, Hash)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Self;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self, A::Error> {
        while values.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = entries.next_key::<Key<'de>>()? {
            let first = keys.replace(key);
            if let Some(Key(key)) = first {
                return Err(A::Error::custom(format_args!("the key {key:?} stands twice in one object")));
            }
            entries.next_value::<Self>()?;
        }
        Ok(self)
    }
}

/// A structure that is written as an object. By itself serde takes an array of the fields' values as well.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(entries))
    }
}

/// One of the words of an enumeration, written as a string. By itself serde takes `{"word": null}` as well.
pub(super) struct Word<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        T::deserialize(word.into_deserializer()).map(Self)
    }
}

/// The first `MOST` elements of an array, and how many there are. The others take no memory.
pub(super) struct Counted<T, const MOST: usize> {
    pub(super) first: Vec<T>,
    pub(super) count: usize,
}

impl<T, const MOST: usize> Default for Counted<T, MOST> {
    fn default() -> Self {
        Self { first: Vec::new(), count: 0 }
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Counted<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Self::default())
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Counted<T, MOST> {
    type Value = Self;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Self, A::Error> {
        while self.first.len() < MOST {
            let Some(element) = elements.next_element()? else { break };
            self.first.push(element);
        }
        self.count = self.first.len();
        while elements.next_element::<IgnoredAny>()?.is_some() {
            self.count += 1;
        }
        Ok(self)
    }
}

impl<T, const MOST: usize> FromIterator<T> for Counted<T, MOST> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let first: Vec<T> = elements.into_iter().collect();
        Self { count: first.len(), first }
    }
}

impl<T: Serialize, const MOST: usize> Serialize for Counted<T, MOST> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.first.serialize(serializer)
    }
}

impl<T: Serialize> Serialize for Object<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
