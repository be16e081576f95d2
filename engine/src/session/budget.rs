//! What a session takes: added up, and compared with the model's limit, before anything is allocated.

use crate::Error;
use crate::error::ResourceError;
use crate::ops::{self, Context};
use crate::plan::Plan;
use crate::slot::{Slot, Value};
use horq_kernels::Memory;

/// The memory of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Passes side by side.
    pub(super) parallel: usize,
    /// f32 values of the arena, words and f32 values of scratch; of each pass.
    pub(super) memory: [usize; 3],
    /// Bytes of the tables of all layers.
    pub(super) tables: usize,
}

/// The smallest page of any system; memory comes in whole ones.
const PAGE: usize = 4096;

/// Bytes of so many 32-bit values in pages.
pub(super) fn bytes_of_pages(len: usize) -> usize {
    len.saturating_mul(size_of::<f32>()).div_ceil(PAGE).saturating_mul(PAGE)
}

impl Budget {
    /// What the layers of `plan` take for `parallel` passes side by side, or for one at a time where so many are too much.
    ///
    /// # Errors
    /// [`ResourceError::SessionMemory`](crate::error::ResourceError::SessionMemory) if even that is more than `limit` bytes; [`CpuError::LayerKernel`](crate::error::CpuError::LayerKernel) if no kernel runs a layer.
    pub(super) fn new<'a>(
        plan: &Plan,
        context: impl Fn(usize) -> Context<'a>,
        parallel: usize,
        limit: usize,
    ) -> Result<Self, Error> {
        let needs = (0..plan.layers.len()).map(|index| ops::memory(&context(index)));
        let needs: Vec<Memory> = needs.collect::<Result<_, _>>()?;
        let most = |of: fn(&Memory) -> usize| needs.iter().map(of).max().unwrap_or(0);
        let memory = [plan.arena_len, most(|need| need.words), most(|need| need.floats)];
        let tables = needs.iter().fold(0usize, |sum, need| sum.saturating_add(need.tables));
        let budget = |parallel| Self { parallel, memory, tables };
        if let Some(fits) = [parallel, 1].map(budget).into_iter().find(|budget| budget.bytes() <= limit) {
            return Ok(fits);
        }
        // The largest share is that of one layer's tables, scratch, and values in the arena.
        let values = |value: &Value| match value.slot {
            Slot::Planes { words, .. } => words,
            Slot::Arena(_) => value.shape.len().saturating_mul(context(0).batch),
            Slot::Input(_) | Slot::Output(_) => 0,
        };
        let share = |(index, need): (usize, &Memory)| {
            let layer = &plan.layers[index];
            let all = layer.inputs.iter().chain([&layer.output]);
            let bytes = [need.words, need.floats].into_iter().chain(all.map(values)).map(bytes_of_pages);
            (bytes.fold(need.tables, usize::saturating_add), index)
        };
        let (layer_bytes, layer) = needs.iter().enumerate().map(share).max().unwrap_or((0, 0));
        let layer = context(layer).name.to_owned();
        Err(ResourceError::SessionMemory { bytes: budget(1).bytes(), limit, layer, layer_bytes }.into())
    }

    /// Bytes in all.
    pub(super) fn bytes(&self) -> usize {
        let memory = self.memory.map(bytes_of_pages).into_iter().fold(0, usize::saturating_add);
        memory.saturating_mul(self.parallel).saturating_add(self.tables)
    }
}
