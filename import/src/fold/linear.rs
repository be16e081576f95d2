//! Matrix products.

use super::held::{float_tensor, wrapped};
use super::view::View;
use crate::error::Refusal;
use crate::graph::{Data, Tensor};
use ndarray::{ArrayD, ArrayView2, Axis, IxDyn, LinalgScalar};

/// The shape of `MatMul`: matrices in the last two axes, the others broadcast; a vector stands for a row or a column.
pub(super) fn matmul_shape(view: &View<'_>, first: usize, second: usize) -> Result<Vec<usize>, Refusal> {
    let (a, b) = (view.shape(first)?, view.shape(second)?);
    let (wide_a, wide_b) = (wide(a, true), wide(b, false));
    let (matrix_a, matrix_b) = (wide_a.len() - 2, wide_b.len() - 2);
    if a.is_empty() || b.is_empty() || wide_a[matrix_a + 1] != wide_b[matrix_b] {
        let instead = "if the size of a batch is part of it, export the network with a batch of one";
        return Err(view.refuse(format!("{a:?} cannot be multiplied by {b:?}"), instead));
    }
    let mut shape = view.broadcast([&wide_a[..matrix_a], &wide_b[..matrix_b]])?;
    if a.len() > 1 {
        shape.push(wide_a[matrix_a]);
    }
    if b.len() > 1 {
        shape.push(wide_b[matrix_b + 1]);
    }
    view.bounded(shape)
}

/// A vector as a matrix.
fn wide(shape: &[usize], row: bool) -> Vec<usize> {
    match (shape, row) {
        (&[size], true) => vec![1, size],
        (&[size], false) => vec![size, 1],
        _ if shape.is_empty() => vec![1, 1],
        _ => shape.to_vec(),
    }
}

/// The shape of `Gemm`.
pub(super) fn gemm_shape(view: &View<'_>) -> Result<Vec<usize>, Refusal> {
    let (a, b) = (view.shape(0)?, view.shape(1)?);
    let (&[a0, a1], &[b0, b1]) = (a, b) else {
        return Err(view.broken(format!("{a:?} and {b:?} are no matrices")));
    };
    let (m, k) = if view.node.int("transA", 0) != 0 { (a1, a0) } else { (a0, a1) };
    let (l, n) = if view.node.int("transB", 0) != 0 { (b1, b0) } else { (b0, b1) };
    if k != l {
        let instead = "if the size of a batch is part of it, export the network with a batch of one";
        return Err(view.refuse(format!("{a:?} cannot be multiplied by {b:?}"), instead));
    }
    if view.has(2) && view.broadcast([view.shape(2)?, &[m, n]])? != [m, n] {
        return Err(view.broken(format!("its bias of shape {:?} does not fit [{m}, {n}]", view.shape(2)?)));
    }
    view.bounded(vec![m, n])
}

/// How many multiplications a product takes whose result has that shape.
pub(super) fn work(view: &View<'_>, shape: &[usize]) -> usize {
    let inner = view.shape(0).map_or(1, |a| a.iter().max().copied().unwrap_or(1));
    shape.iter().product::<usize>().saturating_mul(inner)
}

/// `MatMul` of constants.
pub(super) fn matmul(a: &Tensor, b: &Tensor, shape: &[usize]) -> Option<Tensor> {
    let element = a.element;
    match (&a.data, &b.data) {
        (Data::Int(x), Data::Int(y)) => {
            let values = product(x, y, shape)?;
            Some(Tensor { element, data: Data::Int(values.mapv(|value| wrapped(element, value))) })
        }
        (Data::Bool(_) | Data::Int(_), _) | (_, Data::Bool(_) | Data::Int(_)) => None,
        _ => Some(float_tensor(element, product(&a.doubles(), &b.doubles(), shape)?)),
    }
}

/// `Gemm` of constants.
pub(super) fn gemm(view: &View<'_>, inputs: &[Option<&Tensor>], shape: &[usize]) -> Option<Tensor> {
    let matrix = |place: usize, name: &str| {
        let values = inputs.get(place).copied().flatten().filter(|tensor| tensor.element.is_float())?.doubles();
        Some(if view.node.int(name, 0) != 0 { values.reversed_axes() } else { values })
    };
    let alpha = f64::from(view.node.float("alpha", 1.0));
    let mut values = product(&matrix(0, "transA")?, &matrix(1, "transB")?, shape)?.mapv(|value| value * alpha);
    if let Some(bias) = inputs.get(2).copied().flatten() {
        let beta = f64::from(view.node.float("beta", 1.0));
        values = values + bias.doubles().broadcast(IxDyn(shape))?.mapv(|value| value * beta);
    }
    Some(float_tensor(view.element(0).ok()?, values))
}

fn product<T: LinalgScalar>(a: &ArrayD<T>, b: &ArrayD<T>, shape: &[usize]) -> Option<ArrayD<T>> {
    let (wide_a, wide_b) = (wide(a.shape(), true), wide(b.shape(), false));
    let (m, k) = (wide_a[wide_a.len() - 2], wide_a[wide_a.len() - 1]);
    let n = wide_b[wide_b.len() - 1];
    let count = shape.iter().product::<usize>().checked_div(m * n)?;
    // The axes before the matrices, broadcast.
    let outer =
        if shape.len() + 2 >= wide_a.len().max(wide_b.len()) { outer_shape(&wide_a, &wide_b)? } else { return None };
    let spread = |values: &ArrayD<T>, wide: &[usize]| {
        let matrix = &wide[wide.len() - 2..];
        let whole = values.as_standard_layout().into_owned().into_shape_with_order(IxDyn(wide)).ok()?;
        let spread = whole.broadcast(IxDyn(&[&outer, matrix].concat()))?.as_standard_layout().into_owned();
        spread.into_shape_with_order((count, matrix[0], matrix[1])).ok()
    };
    let (a, b) = (spread(a, &wide_a)?, spread(b, &wide_b)?);
    debug_assert_eq!(a.shape()[2], k);
    let mut values = Vec::with_capacity(count * m * n);
    for place in 0..count {
        let (a, b): (ArrayView2<'_, T>, ArrayView2<'_, T>) =
            (a.index_axis(Axis(0), place), b.index_axis(Axis(0), place));
        values.extend(a.dot(&b).iter().copied());
    }
    ArrayD::from_shape_vec(IxDyn(shape), values).ok()
}

fn outer_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let (a, b) = (&a[..a.len() - 2], &b[..b.len() - 2]);
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    (0..rank)
        .map(|axis| match (size(a, axis), size(b, axis)) {
            (a, b) if a == b || b == 1 => Some(a),
            (1, b) => Some(b),
            _ => None,
        })
        .collect()
}
