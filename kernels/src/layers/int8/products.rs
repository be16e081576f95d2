//! The products of quantized images, of bytes or of pairs of 16 bits.

use super::{Int8Call, Int8Conv, WIDE_SPAN};
use crate::backends::Backend;
use crate::layers::skeleton::{Image, Product};
use crate::parallel::Disjoint;
use crate::shape::Block;
use crate::simd::LANES;
use crate::tiles::{Int8Operands, Job, Output};
use crate::weights::int8::QUAD;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Rows of a task at a time: a multiple of the tile heights of AVX-512 (5 and 8) and of 4 and 2.
const ROWS: usize = 40;
/// Rows of a task at a time on pairs of 16 bits: a multiple of the tile height of 6.
const WIDE_ROWS: usize = 48;

/// The products of one call.
pub(super) struct Bytes<'a> {
    pub conv: &'a Int8Conv,
    pub call: &'a Int8Call<'a>,
}

impl Product for Bytes<'_> {
    type Element = u8;

    #[inline(always)]
    fn block<S: Backend>(&self, simd: S, image: &Image<'_, u8>, block: &Block, output: Disjoint<'_, f32>) {
        let Self { conv, call } = self;
        let geometry = &conv.spec.geometry;
        let panel_len = conv.offsets.len() * LANES * QUAD;
        let panel = block.panel(geometry);
        let panels = &call.panels[panel * panel_len..][..block.panels * panel_len];
        conv.skeleton.rows::<_, ROWS>(
            image,
            block,
            #[inline(always)]
            |from, rows| {
                // SAFETY: windows end inside the padded image, their last four bytes inside the scratch; `panels` was just
                // sliced to the panels' length; `start` and, as `run` checked, alpha hold a value a padded filter; the
                // output values of these rows and panels lie in the output and belong to this task alone; and
                // `Epilogue::check` made sure of the steps.
                let job = unsafe {
                    Job::new(Int8Operands {
                        rows,
                        offsets: &conv.offsets,
                        panels: panels.as_ptr().cast(),
                        start: conv.start[panel * LANES..].as_ptr(),
                        alpha: call.alpha[panel * LANES..].as_ptr(),
                        output: Output::new(
                            geometry,
                            block,
                            call.epilogue.steps,
                            Some(output),
                            image.first_output,
                            from,
                        ),
                        dot: conv.spec.dot,
                        wide: false,
                        resume: false,
                        finish: true,
                    })
                };
                simd.int8(&job);
            },
        );
    }
}

/// The products of one call on pairs of 16 bits.
pub(super) struct Wide<'a>(pub &'a Bytes<'a>);

/// Widened weights of a panel.
#[repr(align(64))]
struct Widened([MaybeUninit<u32>; WIDE_SPAN * 2 * LANES]);

impl Product for Wide<'_> {
    type Element = i16;

    #[inline(always)]
    fn block<S: Backend>(&self, simd: S, image: &Image<'_, i16>, block: &Block, output: Disjoint<'_, f32>) {
        let quads = self.0.conv.offsets.len();
        // Uninitialised for the sake of small layers; what is read was widened before.
        let mut widened = Widened([MaybeUninit::uninit(); WIDE_SPAN * 2 * LANES]);
        for panel in block.parts(1) {
            for first in (0..quads).step_by(WIDE_SPAN) {
                self.span(simd, first..quads.min(first + WIDE_SPAN), image, &panel, output, &mut widened);
            }
        }
    }
}

impl Wide<'_> {
    /// A span of a panel's rows, widened once, for all rows of the image.
    #[inline(always)]
    fn span<S: Backend>(
        &self,
        simd: S,
        span: Range<usize>,
        image: &Image<'_, i16>,
        block: &Block,
        output: Disjoint<'_, f32>,
        widened: &mut Widened,
    ) {
        let Bytes { conv, call } = self.0;
        let geometry = &conv.spec.geometry;
        let (panel, quads) = (block.panel(geometry), conv.offsets.len());
        let row = LANES * QUAD;
        simd.widen(&call.panels[(panel * quads + span.start) * row..][..span.len() * row], &mut widened.0);
        conv.skeleton.rows::<_, WIDE_ROWS>(
            image,
            block,
            #[inline(always)]
            |from, rows| {
                let mut firsts = [std::ptr::null(); WIDE_ROWS];
                for (first, row) in firsts.iter_mut().zip(rows) {
                    *first = row.cast::<u8>();
                }
                // SAFETY: windows end inside the padded image, their last four elements inside the scratch; the span was just
                // widened; `start` and, as `run` checked, alpha hold a value a padded filter; the output values of these rows
                // and this panel lie in the output and belong to this task alone; and `Epilogue::check` made sure of the
                // steps.
                let job = unsafe {
                    Job::new(Int8Operands {
                        rows: &firsts[..rows.len()],
                        offsets: &conv.pairs[2 * span.start..2 * span.end],
                        panels: widened.0.as_ptr().cast(),
                        start: conv.start[panel * LANES..].as_ptr(),
                        alpha: call.alpha[panel * LANES..].as_ptr(),
                        output: Output::new(
                            geometry,
                            block,
                            call.epilogue.steps,
                            Some(output),
                            image.first_output,
                            from,
                        ),
                        dot: false,
                        wide: true,
                        resume: span.start > 0,
                        finish: span.end == quads,
                    })
                };
                simd.int8(&job);
            },
        );
    }
}
