//! How the products of a layer are cut into tasks: rows of windows times panels of a group.

use crate::parallel::{Grid, Parallel, is_long};
use crate::shape::Geometry;
use crate::simd::LANES;
use std::ops::Range;

/// What one task multiplies.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// The group of channels.
    pub group: usize,
    /// The first panel, counted within the group.
    pub first_panel: usize,
    /// How many panels of the group.
    pub panels: usize,
    /// Rows: output pixels, counted row by row.
    pub rows: Range<usize>,
}

impl Block {
    /// The first panel, counted over all groups.
    #[inline(always)]
    pub(crate) fn panel(&self, geometry: &Geometry) -> usize {
        self.group * geometry.group_panels() + self.first_panel
    }

    /// This block, `panels` of its panels at a time.
    #[inline(always)]
    pub(crate) fn parts(&self, panels: usize) -> impl Iterator<Item = Self> + '_ {
        (0..self.panels).step_by(panels).map(
            #[inline(always)]
            move |first| Self {
                first_panel: self.first_panel + first,
                panels: panels.min(self.panels - first),
                ..self.clone()
            },
        )
    }

    /// The first output channel.
    #[inline(always)]
    pub(crate) fn channel(&self, geometry: &Geometry) -> usize {
        self.group * geometry.group_filters() + self.first_panel * LANES
    }
}

/// How a layer wants its work cut.
#[derive(Clone, Copy)]
pub(crate) struct Cut<'a> {
    /// Who runs the tasks.
    pub parallel: &'a dyn Parallel,
    /// The most panels of a task.
    pub panels: usize,
    /// Bytes that a row of windows adds to what a task reads and writes.
    pub row_bytes: usize,
    /// What a row of one panel costs, in vector operations.
    pub work: usize,
    /// Panels that a task may not part.
    pub together: usize,
}

/// The blocks of a layer.
pub(crate) struct Blocks<'a> {
    grid: Grid<'a>,
    panels: usize,
    group_panels: usize,
}

impl<'a> Blocks<'a> {
    /// Cuts `rows` rows times the panels of `geometry`.
    pub(crate) fn new(geometry: &Geometry, rows: usize, cut: Cut<'a>) -> Self {
        let group_panels = geometry.group_panels();
        // Where a single row is long, work that can be called off goes through it panel by panel.
        let long = cut.parallel.interrupt().is_some() && is_long(cut.work.saturating_mul(cut.panels));
        let cut = Cut { panels: if long { cut.together } else { cut.panels }, ..cut };
        let units = group_panels.div_ceil(cut.panels) * geometry.groups;
        Self {
            grid: Grid::new(cut.parallel, rows, cut.row_bytes, units, cut.work * cut.panels),
            panels: cut.panels,
            group_panels,
        }
    }

    /// These blocks in output pixels that `joined` rows make.
    pub(crate) fn joining(self, joined: usize) -> Self {
        Self { grid: self.grid.joining(joined), ..self }
    }

    /// Runs a task for every block.
    pub(crate) fn run(&self, task: impl Fn(Block) + Sync) {
        let units_of_group = self.group_panels.div_ceil(self.panels);
        self.grid.run(|unit, rows| {
            let first_panel = unit % units_of_group * self.panels;
            let panels = self.panels.min(self.group_panels - first_panel);
            task(Block { group: unit / units_of_group, first_panel, panels, rows });
        });
    }
}
