//! `Einsum` as transpositions and matrix products.

use super::rewrite::Writer;
use super::view::View;
use crate::error::Refusal;
use crate::graph::{Attribute, Graph, Node, ValueId};
use std::collections::BTreeMap;

/// A tensor whose axes have letters.
#[derive(Clone)]
struct Term {
    id: Option<ValueId>,
    letters: Vec<char>,
}

/// The nodes of an `Einsum`: terms are multiplied two at a time, from the left.
pub(super) fn rewrite(graph: &mut Graph, node: &Node) -> Result<Vec<Node>, Refusal> {
    let view = View { graph, node };
    let equation: String = node.text("equation", "").chars().filter(|letter| !letter.is_whitespace()).collect();
    let refuse = |reason: &str| {
        let instead = "equations without repeated letters in a term can be had";
        view.refuse(format!("its equation `{equation}` {reason}"), instead)
    };
    let (left, right) =
        equation.split_once("->").map_or((equation.as_str(), None), |(left, right)| (left, Some(right)));
    let inputs: Vec<&str> = left.split(',').collect();
    if inputs.len() != view.len() {
        return Err(refuse("does not fit its inputs"));
    }
    let mut sizes: BTreeMap<char, usize> = BTreeMap::new();
    let mut terms = Vec::with_capacity(inputs.len());
    let mut widest = 0;
    for (place, text) in inputs.iter().enumerate() {
        let shape = view.shape(place)?;
        let named = text.replace("...", "").chars().count();
        let dots = shape.len().checked_sub(named).filter(|&dots| dots == 0 || text.contains("..."));
        let dots = dots.ok_or_else(|| refuse("does not fit its inputs"))?;
        widest = widest.max(dots);
        let letters = letters(text, dots).ok_or_else(|| refuse("cannot be had"))?;
        for (&letter, &size) in letters.iter().zip(shape) {
            if *sizes.entry(letter).or_insert(size) != size {
                return Err(refuse("has axes of different sizes with one letter"));
            }
        }
        terms.push(Term { id: node.input(place), letters });
    }
    let result = match right {
        Some(text) => {
            letters(text, if text.contains("...") { widest } else { 0 }).ok_or_else(|| refuse("cannot be had"))?
        }
        // The letters that stand once, in their order, behind those of the dots.
        None => {
            let once = |letter: &char| terms.iter().filter(|term| term.letters.contains(letter)).count() == 1;
            let dots = sizes.keys().filter(|letter| letter.is_ascii_digit());
            dots.chain(sizes.keys().filter(|letter| !letter.is_ascii_digit() && once(letter))).copied().collect()
        }
    };
    if result.iter().any(|letter| !sizes.contains_key(letter)) {
        return Err(refuse("makes an axis that no input has"));
    }
    let mut writer = Writer::new(graph, node);
    let mut rest = terms.into_iter();
    let mut product = rest.next().unwrap_or(Term { id: None, letters: vec![] });
    while let Some(next) = rest.next() {
        let later: Vec<Term> = rest.clone().collect();
        let wanted = |letter: &char| result.contains(letter) || later.iter().any(|term| term.letters.contains(letter));
        product = multiplied(&mut writer, &product, &next, &sizes, wanted);
    }
    product = summed(&mut writer, product, |letter| result.contains(letter));
    // At least one node, which then makes the result.
    let order: Vec<usize> = result.iter().filter_map(|letter| place(&product, *letter)).collect();
    writer.transpose(product.id, &order);
    Ok(writer.finish(node.output(0)))
}

/// The letters of a term; those that dots stand for are digits, the last of them 9.
fn letters(text: &str, dots: usize) -> Option<Vec<char>> {
    let hidden: String =
        (0..dots).map(|at| char::from_digit(10u32.checked_sub((dots - at) as u32)?, 10)).collect::<Option<_>>()?;
    let letters: Vec<char> = text.replacen("...", &hidden, 1).chars().collect();
    let plain = letters.iter().all(|letter| letter.is_ascii_alphabetic() || letter.is_ascii_digit());
    let once = letters.iter().enumerate().all(|(place, letter)| !letters[..place].contains(letter));
    (plain && once && !text.contains(|letter: char| letter.is_ascii_digit())).then_some(letters)
}

fn place(term: &Term, letter: char) -> Option<usize> {
    term.letters.iter().position(|&other| other == letter)
}

/// The sum over the axes that nobody wants.
fn summed(writer: &mut Writer<'_>, term: Term, wanted: impl Fn(&char) -> bool) -> Term {
    let axes: Vec<i64> = (0..term.letters.len()).filter(|&at| !wanted(&term.letters[at])).map(|at| at as i64).collect();
    if axes.is_empty() {
        return term;
    }
    let axes = writer.ints(&axes);
    let id = writer.node("ReduceSum", vec![term.id, axes], [("keepdims", Attribute::Int(0))]);
    Term { id, letters: term.letters.into_iter().filter(wanted).collect() }
}

fn multiplied(
    writer: &mut Writer<'_>,
    a: &Term,
    b: &Term,
    sizes: &BTreeMap<char, usize>,
    wanted: impl Fn(&char) -> bool,
) -> Term {
    let a = summed(writer, a.clone(), |letter| wanted(letter) || b.letters.contains(letter));
    let b = summed(writer, b.clone(), |letter| wanted(letter) || a.letters.contains(letter));
    let both = |letter: &&char| b.letters.contains(letter);
    let outer: Vec<char> = a.letters.iter().filter(both).filter(|letter| wanted(letter)).copied().collect();
    let inner: Vec<char> = a.letters.iter().filter(both).filter(|letter| !wanted(letter)).copied().collect();
    let rows: Vec<char> = a.letters.iter().filter(|letter| !b.letters.contains(letter)).copied().collect();
    let columns: Vec<char> = b.letters.iter().filter(|letter| !a.letters.contains(letter)).copied().collect();
    let size = |letters: &[char]| letters.iter().map(|letter| sizes[letter]).product::<usize>();
    let outer_sizes: Vec<usize> = outer.iter().map(|letter| sizes[letter]).collect();
    let mut matrix = |term: &Term, first: &[char], second: &[char]| {
        let letters = [&outer, first, second].concat();
        let order: Vec<usize> = letters.iter().filter_map(|&letter| place(term, letter)).collect();
        let sorted = if order.iter().copied().eq(0..order.len()) { term.id } else { writer.transpose(term.id, &order) };
        if first.len() == 1 && second.len() == 1 {
            return sorted;
        }
        writer.reshape(sorted, &[outer_sizes.as_slice(), &[size(first), size(second)]].concat())
    };
    let (left, right) = (matrix(&a, &rows, &inner), matrix(&b, &inner, &columns));
    let mut id = writer.node("MatMul", vec![left, right], []);
    let letters = [outer, rows.clone(), columns.clone()].concat();
    if rows.len() != 1 || columns.len() != 1 {
        let shape: Vec<usize> = letters.iter().map(|letter| sizes[letter]).collect();
        id = writer.reshape(id, &shape);
    }
    Term { id, letters }
}
