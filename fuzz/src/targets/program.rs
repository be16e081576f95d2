//! Calls to [`Builder`]: what the Python class of that name does with what it is given, without Python.

use super::bytes::Choices;
use horq::error::InputError;
use horq::graph::{Op, Shape};
use horq::ops::Fields;
use horq::{Builder, Error, PlainValues};
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::collections::HashMap;

/// The most values that a tensor is given.
const MOST: usize = 1 << 12;

/// Runs the program; the bytes of its file, if it makes one.
pub(super) fn file(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut choices = Choices(bytes);
    let mut builder = Builder::new("x", shape(&mut choices));
    let mut values = vec!["x".to_owned()];
    if choices.byte() < 32 && builder.add_input("z", shape(&mut choices)).is_ok() {
        values.push("z".into());
    }
    for node in 0..1 + choices.byte() % 6 {
        let name = if choices.byte() < 250 { format!("n{node}") } else { values[0].clone() };
        let reads = 1 + usize::from(choices.byte().saturating_sub(180) / 25);
        let last = values.len() - 1;
        let read =
            |i: usize, choice: u8| if i == 0 && choice < 200 { last } else { usize::from(choice) % values.len() };
        let inputs: Vec<String> = (0..reads).map(|i| values[read(i, choices.byte())].clone()).collect();
        if add(&mut builder, &name, &inputs, &mut choices) {
            values.push(name);
        }
    }
    let (last, middle) = (values.last()?, &values[values.len() / 2]);
    let outputs: Vec<&str> = if choices.byte() < 200 { vec![last] } else { vec![last, middle] };
    builder.note("note", "line\nbreak \u{1b}[0m");
    builder.to_bytes_many(&outputs).ok()
}

fn shape(choices: &mut Choices<'_>) -> Shape {
    match choices.byte() % 3 {
        0 => Shape::Flat(choices.size()),
        _ => Shape::Image { height: choices.size(), width: choices.size(), channels: choices.size() },
    }
}

/// Adds a node of any operation. Where its tensors have other lengths than it takes, it is tried anew with what the error asks for.
fn add(builder: &mut Builder, name: &str, inputs: &[String], choices: &mut Choices<'_>) -> bool {
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let kind = choices.pick(Op::KINDS);
    let (mut lengths, mut kinds) = (HashMap::new(), HashMap::new());
    let start = choices.0;
    for _ in 0..8 {
        choices.0 = start;
        let fields = Program {
            choices: RefCell::new(Choices(choices.0)),
            lengths: &lengths,
            kinds: &kinds,
            asked: RefCell::default(),
        };
        let op: Op<PlainValues<'_>> = match Op::parse(kind, &fields) {
            Some(Ok(op)) => op,
            _ => return false,
        };
        choices.0 = fields.choices.borrow().0;
        match builder.add(name, &inputs, op) {
            Ok(_) => return true,
            Err(Error::Input(InputError::SourceLength { source_name, expected, .. })) if expected <= MOST => {
                lengths.insert(source_name, expected);
            }
            Err(Error::Input(InputError::SourceKind { source_name, expected, .. })) => {
                kinds.insert(source_name, expected);
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return false;
            }
        }
    }
    false
}

/// Fields made of choices.
struct Program<'a, 'c> {
    choices: RefCell<Choices<'c>>,
    /// What the builder said of the sources that it was given before: their lengths, and the types of their elements.
    lengths: &'a HashMap<String, usize>,
    kinds: &'a HashMap<String, &'static str>,
    asked: RefCell<Vec<&'static str>>,
}

/// What the words of enumerations are.
const WORDS: [&str; 23] = [
    "fixed",
    "image",
    "window",
    "none",
    "halving",
    "valid-taps",
    "one",
    "constant",
    "reflect",
    "edge",
    "wrap",
    "nearest",
    "linear",
    "cubic",
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "asymmetric",
    "align_corners",
    "round_prefer_floor",
    "floor",
    "exclude",
    "ceil",
];

impl Program<'_, '_> {
    fn values(&self, role: &str) -> PlainValues<'static> {
        let mut choices = self.choices.borrow_mut();
        // The builder names a source by its role, `weight` or `alpha.0`.
        let find = |name: &&String| name.as_str() == role;
        let guess = usize::from(choices.byte() % 8);
        let len = self.lengths.keys().find(find).map_or(guess, |name| self.lengths[name]);
        let kind = self.kinds.keys().find(find).map(|name| self.kinds[name]).unwrap_or("f32");
        let floats = choices.floats(len);
        match kind {
            _ if kind.contains("i8") => floats.iter().map(|value| (value * 127.0) as i8).collect::<Vec<i8>>().into(),
            _ if kind.contains("u8") || kind.contains("code") => {
                floats.iter().map(|value| (value.abs() * 8.0) as u8).collect::<Vec<u8>>().into()
            }
            _ => floats.into(),
        }
    }

    fn there(&self) -> bool {
        self.choices.borrow_mut().byte() < 128
    }
}

/// A field that the choices leave out, or make wrong.
struct Wrong;

impl Fields<PlainValues<'static>> for Program<'_, '_> {
    type Error = Wrong;

    fn count(&self, name: &'static str, default: Option<usize>) -> Result<usize, Wrong> {
        self.asked.borrow_mut().push(name);
        match default {
            Some(default) if self.there() => Ok(default),
            _ => Ok(self.choices.borrow_mut().size()),
        }
    }

    fn counts<const N: usize>(&self, _: &'static str, default: Option<[usize; N]>) -> Result<[usize; N], Wrong>
    where
        [usize; N]: DeserializeOwned,
    {
        match default {
            Some(default) if self.there() => Ok(default),
            _ if self.there() => Ok(std::array::from_fn(|_| usize::from(self.choices.borrow_mut().byte() % 4))),
            _ => Ok(std::array::from_fn(|_| self.choices.borrow_mut().size())),
        }
    }

    fn list(&self, _: &'static str) -> Result<Vec<usize>, Wrong> {
        let mut choices = self.choices.borrow_mut();
        Ok((0..choices.byte() % 10).map(|_| choices.size()).collect())
    }

    fn shape(&self, _: &'static str) -> Result<Shape, Wrong> {
        Ok(shape(&mut self.choices.borrow_mut()))
    }

    fn byte(&self, _: &'static str) -> Result<u8, Wrong> {
        Ok(self.choices.borrow_mut().byte())
    }

    fn word<W: DeserializeOwned>(&self, _: &'static str) -> Result<W, Wrong> {
        let known = WORDS.iter().filter_map(|&word| serde_json::from_value(word.into()).ok());
        let known: Vec<W> = known.collect();
        let place = usize::from(self.choices.borrow_mut().byte()) % known.len().max(1);
        known.into_iter().nth(place).ok_or(Wrong)
    }

    fn optional_word<W: DeserializeOwned>(&self, name: &'static str) -> Result<Option<W>, Wrong> {
        if self.there() { self.word(name).map(Some) } else { Ok(None) }
    }

    fn text(&self, _: &'static str) -> Result<String, Wrong> {
        let node = self.choices.borrow_mut().byte() % 7;
        Ok(format!("n{node}"))
    }

    fn tensor(&self, name: &'static str) -> Result<PlainValues<'static>, Wrong> {
        Ok(self.values(name))
    }

    fn scalar(&self, _: &'static str) -> Result<PlainValues<'static>, Wrong> {
        Ok(self.choices.borrow_mut().floats(1).into())
    }

    fn optional_scalar(&self, name: &'static str) -> Result<Option<PlainValues<'static>>, Wrong> {
        if self.there() { self.scalar(name).map(Some) } else { Ok(None) }
    }

    fn len_of(&self, tensor: &PlainValues<'static>) -> Option<usize> {
        Some(tensor.len())
    }

    fn optional_tensor(&self, name: &'static str) -> Result<Option<PlainValues<'static>>, Wrong> {
        if self.there() { self.tensor(name).map(Some) } else { Ok(None) }
    }

    fn pairs(&self, _: &'static str, keys: [&'static str; 2]) -> Result<Vec<[PlainValues<'static>; 2]>, Wrong> {
        let count = self.choices.borrow_mut().byte() % 9;
        Ok((0..count).map(|i| keys.map(|key| self.values(&format!("{key}.{i}")))).collect())
    }
}
