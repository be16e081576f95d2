//! What a session takes: added up, and compared with the model's limit, before anything is allocated.

use crate::Error;
use crate::layers::{self, Context};
use crate::plan::{Place, Plan, Room};
use horq_kernels::Memory;

/// The memory of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Passes side by side.
    pub(super) sides: usize,
    /// f32 values of the arena, words and f32 values of scratch; of each pass.
    pub(super) lane: [usize; 3],
    /// Bytes of the tables of all layers.
    pub(super) tables: usize,
}

/// The smallest page of any system; memory comes in whole ones.
const PAGE: usize = 4096;

/// Bytes of so many 32-bit values in pages.
fn pages(len: usize) -> usize {
    len.saturating_mul(size_of::<f32>()).div_ceil(PAGE).saturating_mul(PAGE)
}

impl Budget {
    /// What the layers of `plan` take for `sides` passes side by side, or for one at a time where so many are too much.
    ///
    /// # Errors
    /// [`Error::SessionMemory`] if even that is more than `limit` bytes; [`Error::LayerKernel`] if no kernel runs a layer.
    pub(super) fn new<'a>(
        plan: &Plan,
        context: impl Fn(usize) -> Context<'a>,
        sides: usize,
        limit: usize,
    ) -> Result<Self, Error> {
        let needs = (0..plan.layers.len()).map(|index| layers::memory(&context(index)));
        let needs: Vec<Memory> = needs.collect::<Result<_, _>>()?;
        let most = |of: fn(&Memory) -> usize| needs.iter().map(of).max().unwrap_or(0);
        let lane = [plan.arena_len, most(|need| need.words), most(|need| need.floats)];
        let tables = needs.iter().fold(0usize, |sum, need| sum.saturating_add(need.tables));
        let budget = |sides| Self { sides, lane, tables };
        if let Some(fits) = [sides, 1].map(budget).into_iter().find(|budget| budget.bytes() <= limit) {
            return Ok(fits);
        }
        // The largest share is that of one layer's tables, scratch, and values in the arena.
        let values = |place: &Place| match place.room {
            Room::Planes { words, .. } => words,
            Room::Arena(_) => place.shape.len().saturating_mul(context(0).batch),
            Room::Input | Room::Output => 0,
        };
        let share = |(index, need): (usize, &Memory)| {
            let layer = &plan.layers[index];
            let places = layer.inputs.iter().chain([&layer.output]);
            let bytes = [need.words, need.floats].into_iter().chain(places.map(values)).map(pages);
            (bytes.fold(need.tables, usize::saturating_add), index)
        };
        let (layer_bytes, layer) = needs.iter().enumerate().map(share).max().unwrap_or((0, 0));
        let layer = context(layer).name().to_owned();
        Err(Error::SessionMemory { bytes: budget(1).bytes(), limit, layer, layer_bytes })
    }

    /// Bytes in all.
    pub(super) fn bytes(&self) -> usize {
        let lane = self.lane.map(pages).into_iter().fold(0, usize::saturating_add);
        lane.saturating_mul(self.sides).saturating_add(self.tables)
    }
}
