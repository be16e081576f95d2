//! Where two backends part: the network, the order, the layer.

use super::cases::Case;
use super::{Fingerprint, Place};
use crate::{Error, Isa, Model, Session, Threads};

/// The first network, order and layer that `wrong` answers otherwise than `right`; none if they now agree.
pub(super) fn place(cases: &[Case], right: &Fingerprint, wrong: &Fingerprint) -> Result<Option<Place>, Error> {
    let differs = right.digests.iter().zip(&wrong.digests).position(|(right, wrong)| right != wrong);
    let Some(case) = differs.map(|case| &cases[case]) else { return Ok(None) };
    let on = [right.isa, wrong.isa].map(|isa| Subject { model: &case.model, isa });
    let Some((order, layer)) = first_difference(case, on)? else { return Ok(None) };
    Ok(Some(Place { network: case.name.clone(), order, layer, right: right.isa }))
}

/// A model on a backend.
pub(super) struct Subject<'a> {
    pub(super) model: &'a Model,
    pub(super) isa: Isa,
}

/// The lowest order at which two subjects answer otherwise, and the first layer that does; none if they never do.
///
/// Each layer is asked by making its value one more output, which leaves how layers fuse as it is. Only planes that would have passed to
/// the next layer become floats, so where a layer writes wrong planes the one that reads them is found.
pub(super) fn first_difference(
    case: &Case,
    [right, wrong]: [Subject<'_>; 2],
) -> Result<Option<(usize, Option<String>)>, Error> {
    for order in 1..=case.orders() {
        if right.answers(case, order)? == wrong.answers(case, order)? {
            continue;
        }
        for value in values(&case.session(right.model, right.isa, &Threads::Inline)?) {
            if right.value(case, order, &value)? != wrong.value(case, order, &value)? {
                return Ok(Some((order, Some(value))));
            }
        }
        return Ok(Some((order, None)));
    }
    Ok(None)
}

impl Subject<'_> {
    /// The bits of all outputs.
    fn answers(&self, case: &Case, order: usize) -> Result<Vec<u32>, Error> {
        let mut session = case.session(self.model, self.isa, &Threads::Inline)?;
        Ok(bits(&case.answers(&mut session, order)?.concat()))
    }

    /// The bits of that node's value.
    fn value(&self, case: &Case, order: usize, node: &str) -> Result<Vec<u32>, Error> {
        let mut session = case.session(&self.model.with_output(node), self.isa, &Threads::Inline)?;
        Ok(case.answers(&mut session, order)?.last().map(|values| bits(values)).unwrap_or_default())
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The value that each layer of a session writes.
fn values(session: &Session) -> Vec<String> {
    session.profile().iter().map(|layer| layer.fused.last().unwrap_or(&layer.name).clone()).collect()
}
