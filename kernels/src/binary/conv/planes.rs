//! The input of a binary layer as planes and scales.

use super::BinaryConv;
use crate::backends::dispatch;
use crate::binary::handover::PlaneLayout;
use crate::binary::quantize::{AllFinite, ImageScales, MeanOfLanes, NextPlane, PackPixels, PackWindows};
use crate::binary::spec::{BinaryCall, Sample};
use crate::error::Error;
use crate::parallel::{Disjoint, Grid};
use crate::simd::{LANES, WORD_BITS};

impl BinaryConv {
    /// Planes of the whole image, shared by its windows, under one scale an order.
    pub(super) fn quantize_image(
        &self,
        call: &BinaryCall<'_>,
        sample: &Sample<'_>,
        image: &[f32],
        words: &mut [u32],
        scales: &mut [f32],
    ) -> Result<(), Error> {
        let geometry = sample.geometry;
        let (scales, lanes) = scales.split_at_mut(self.spec.max_order);
        let scales = &mut scales[..call.order];
        let plane = self.plane_len();
        if geometry.is_padded() {
            words[..plane * call.order].fill(0);
        }
        let PlaneLayout { first: first_word, row: row_len, pixel, .. } = PlaneLayout::shared(&self.spec);
        let planes = Disjoint::new(words);
        let row = geometry.width * geometry.channels;
        if self.spec.mode.is_constant() {
            self.spec.mode.constant_scales(call.scales, scales);
        } else if geometry.channels == pixel * WORD_BITS {
            // Channels that fill their words: an image row is one run of both the planes and the mean.
            let runs = ValueRuns { values: image, run: row, first_word, step: row_len, plane };
            return self.next_planes(call, &runs, planes, scales, lanes);
        } else {
            dispatch(self.isa, ImageScales { image, row_len: row, scales });
            check_finite(scales)?;
        }
        let work = geometry.width * geometry.channels.div_ceil(8) * call.order;
        Grid::lines(call.parallel, geometry.height, work).check(|rows| {
            let first_word = first_word + rows.start * row_len;
            dispatch(self.isa, PackPixels { geometry, image, rows, scales, planes, first_word, row_len, plane })
        })
    }

    /// One plane after another of all runs, each with its scale over all of them.
    fn next_planes(
        &self,
        call: &BinaryCall<'_>,
        runs: &ValueRuns<'_>,
        planes: Disjoint<'_, u32>,
        scales: &mut [f32],
        lanes: &mut [f32],
    ) -> Result<(), Error> {
        let lanes = &mut lanes[..runs.values.len() / runs.run * LANES];
        for k in 0..scales.len() {
            self.next_plane(call, runs, planes, &scales[..k], lanes);
            scales[k] = dispatch(self.isa, MeanOfLanes { lanes, elements: runs.values.len() });
            check_finite(&scales[k..=k])?;
        }
        Ok(())
    }

    /// The next plane of all runs, and the lanes of each.
    fn next_plane(
        &self,
        call: &BinaryCall<'_>,
        runs: &ValueRuns<'_>,
        planes: Disjoint<'_, u32>,
        scales: &[f32],
        lanes: &mut [f32],
    ) {
        let ValueRuns { values, run, first_word, step, plane } = *runs;
        let lanes = Disjoint::new(lanes);
        let work = run.div_ceil(8) * (scales.len() + 1);
        Grid::lines(call.parallel, values.len() / run, work).run(|_, runs| {
            dispatch(self.isa, NextPlane { values, run, runs, scales, planes, first_word, step, plane, lanes });
        });
    }

    /// Planes and scales of each window by itself, its taps side by side.
    pub(super) fn quantize_windows(
        &self,
        call: &BinaryCall<'_>,
        sample: &Sample<'_>,
        image: &[f32],
        words: &mut [u32],
        scales: &mut [f32],
    ) -> Result<(), Error> {
        let geometry = sample.geometry;
        let behind = self.plane_len() * self.spec.max_order + self.parity.unwrap_or(0);
        let (planes, signs) = words.split_at_mut(behind);
        let (scales, lanes) = scales.split_at_mut(self.lines() * self.spec.max_order);
        let run = geometry.group_channels();
        let lanes = &mut lanes[..image.len() / run * LANES];
        let runs = ValueRuns { values: image, run, first_word: 0, step: geometry.group_words(), plane: 0 };
        self.next_plane(call, &runs, Disjoint::new(signs), &[], lanes);
        // This also finds what a stride steps over.
        if !dispatch(self.isa, AllFinite(lanes)) {
            return Err(Error::NotFinite);
        }
        let out_width = if self.is_flat() { sample.rows } else { self.out[1] };
        let (planes, scales) = (Disjoint::new(planes), Disjoint::new(scales));
        let work = geometry.depth().div_ceil(8) * geometry.groups * call.order;
        let (order, plane, lines) = (call.order, self.plane_len(), self.lines());
        Grid::lines(call.parallel, sample.rows, work).check(|rows| {
            let pack =
                PackWindows { geometry, image, signs, lanes, rows, out_width, order, planes, plane, scales, lines };
            dispatch(self.isa, pack)
        })
    }
}

/// Runs of values that are quantized plane by plane, and where their planes lie.
struct ValueRuns<'a> {
    /// The values of all runs, one after another.
    values: &'a [f32],
    /// Values of a run.
    run: usize,
    /// Where the first run starts in a plane.
    first_word: usize,
    /// Words between neighbouring runs.
    step: usize,
    /// Words of a plane.
    plane: usize,
}

fn check_finite(scales: &[f32]) -> Result<(), Error> {
    if scales.iter().all(|scale| scale.is_finite()) { Ok(()) } else { Err(Error::NotFinite) }
}
