//! Safe functions check every length before unchecked reads and writes: a wrong one panics, in front of fenced memory.

mod common;

use common::{Fenced, backends};
use horq_kernels::elementwise;
use horq_kernels::pool::{self, PoolShape};
use horq_kernels::{
    Basis, BinaryCall, BinaryConv, BinaryInput, BinaryScratch, BinarySpec, Epilogue, FloatCall, FloatConv, Geometry,
    Inline, Isa, Padding, ScaleMode, Step, Window, gemm,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn panics(work: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_err()
}

const GEOMETRY: Geometry = Geometry {
    height: 3,
    width: 4,
    channels: 40,
    filters: 20,
    groups: 1,
    window: Window { padding: [1, 0, 0, 1], ..Window::square(2) },
};

type Change = fn(&mut Lengths);
type Pool = fn(Isa, &PoolShape, &[f32], &mut [f32]);

/// The lengths of everything that a call reads or writes; the vectors of steps count as one.
#[derive(Clone, Copy)]
struct Lengths {
    input: usize,
    panels: usize,
    alpha: usize,
    vectors: usize,
    add: usize,
    scales: usize,
    words: usize,
    row_scales: usize,
    output: usize,
    order: usize,
    bases: usize,
}

fn run_binary(isa: Isa, mode: ScaleMode, pool: Option<usize>, change: impl Fn(&mut Lengths)) {
    let spec = BinarySpec { geometry: GEOMETRY, padding: Padding::ValidTaps, mode, max_order: 3, max_batch: 2, pool };
    let good = vec![0; GEOMETRY.bit_panel_len()];
    let conv = BinaryConv::new(isa, spec, &[&good]).expect("a good layer");
    let [rows, columns] = spec.output().expect("a good layer");
    let (need, out) = (conv.scratch_len(), 2 * rows * columns * 20);
    let mut n = Lengths {
        input: 2 * GEOMETRY.input_len(),
        panels: good.len(),
        alpha: GEOMETRY.padded_filters(),
        vectors: GEOMETRY.padded_filters(),
        add: out,
        scales: 3,
        words: need.words,
        row_scales: need.scales,
        output: out,
        order: 3,
        bases: 1,
    };
    change(&mut n);
    let panels = Fenced::new(n.panels, 0u32);
    let [input, alpha, vectors, add, scales] =
        [n.input, n.alpha, n.vectors, n.add, n.scales].map(|len| Fenced::new(len, 1.0));
    let [mut row_scales, mut output] = [n.row_scales, n.output].map(|len| Fenced::new(len, 0.0));
    let mut words = Fenced::new(n.words, 0);
    let bases = vec![Basis { panels: &panels, alpha: &alpha }; n.bases];
    let steps = horq_oracle::steps(&vectors, &vectors, &add);
    let call = BinaryCall {
        input: BinaryInput::Values(&input),
        pack: None,
        order: n.order,
        scales: &scales,
        bases: &bases,
        epilogue: Epilogue { steps: &steps },
        parallel: &Inline,
        clock: None,
    };
    let scratch = BinaryScratch { words: &mut words, scales: &mut row_scales };
    conv.run(call, &mut output, scratch).expect("finite");
}

#[test]
fn binary_layers_check_lengths() {
    for isa in backends() {
        let unpooled = common::MODES.map(|mode| (mode, None));
        let pooled =
            [ScaleMode::Image, ScaleMode::Fixed, ScaleMode::None, ScaleMode::Halving].map(|mode| (mode, Some(3)));
        for (mode, pool) in unpooled.into_iter().chain(pooled) {
            run_binary(isa, mode, pool, |_| {});
            // Fewer samples than prepared for are fine.
            run_binary(isa, mode, pool, |n| {
                n.input /= 2;
                n.output /= 2;
            });
            let changes: [(&str, Change); 15] = [
                ("short input", |n| n.input -= 1),
                ("one sample less", |n| n.input /= 2),
                ("too many samples", |n| {
                    n.input = n.input / 2 * 3;
                    n.output = n.output / 2 * 3;
                    n.add = n.output;
                }),
                ("short panels", |n| n.panels -= 1),
                ("long panels", |n| n.panels += 16),
                ("short alpha", |n| n.alpha -= 1),
                ("short vectors", |n| n.vectors -= 1),
                ("unpadded vectors", |n| n.vectors = 20),
                ("short add", |n| n.add -= 1),
                ("short words", |n| n.words -= 1),
                ("short scratch scales", |n| n.row_scales -= 1),
                ("short output", |n| n.output -= 1),
                ("order 0", |n| n.order = 0),
                ("order 4", |n| n.order = 4),
                ("two bases", |n| n.bases = 2),
            ];
            for (name, change) in changes {
                assert!(
                    panics(|| run_binary(isa, mode, pool, change)),
                    "{isa}, {mode:?}, {pool:?}: {name} went through"
                );
            }
            // The sum stands last of the steps; no pool may be behind it, or behind more steps than there are.
            let steps = horq_oracle::steps(&[], &[], &[]).len();
            for before in [steps, steps + 1] {
                assert!(
                    panics(|| run_binary(isa, mode, Some(before), |_| {})),
                    "{isa}, {mode:?}: a pool behind {before}"
                );
            }
            let constants = panics(|| run_binary(isa, mode, pool, |n| n.scales = 2));
            assert_eq!(constants, mode == ScaleMode::Fixed, "{isa}, {mode:?}: one an order is for mode fixed");
            let constants = panics(|| run_binary(isa, mode, pool, |n| n.scales = 0));
            assert_eq!(constants, mode.has_constants(), "{isa}, {mode:?}: constants are for modes that have them");
        }
    }
}

#[test]
fn float_layers_check_lengths() {
    let out = 2 * 3 * 4 * 20;
    let run = |isa, input: usize, weight: usize, vector: usize, add: usize, output: usize, scratch: usize| {
        let conv = FloatConv::new(isa, GEOMETRY).expect("a good layer");
        let [input, weight, vector, add] = [input, weight, vector, add].map(|len| Fenced::new(len, 1.0));
        let [mut output, mut scratch] = [output, conv.scratch_len() - scratch].map(|len| Fenced::new(len, 0.0));
        let steps = [Step::Bias(&vector), Step::Add(&add)];
        let epilogue = Epilogue { steps: &steps };
        let call = FloatCall { input: &input, weight: &weight, epilogue, parallel: &Inline, clock: None };
        conv.run(call, &mut output, &mut scratch);
    };
    let (input, weight, vector) = (2 * GEOMETRY.input_len(), GEOMETRY.float_panel_len(), GEOMETRY.padded_filters());
    for isa in backends() {
        run(isa, input, weight, vector, out, out, 0);
        assert!(panics(|| run(isa, input - 1, weight, vector, out, out, 0)), "{isa}: short input");
        assert!(panics(|| run(isa, input / 2, weight, vector, out, out, 0)), "{isa}: one sample less");
        assert!(panics(|| run(isa, input, weight - 1, vector, out, out, 0)), "{isa}: short weights");
        assert!(panics(|| run(isa, input, weight, vector - 1, out, out, 0)), "{isa}: short bias");
        assert!(panics(|| run(isa, input, weight, vector, out - 1, out, 0)), "{isa}: short add");
        assert!(panics(|| run(isa, input, weight, vector, out, out - 1, 0)), "{isa}: short output");
        assert!(panics(|| run(isa, input, weight, vector, out, out, 1)), "{isa}: short scratch");
    }
}

#[test]
fn pools_and_products_check_lengths() {
    let shape = PoolShape { height: 4, width: 4, channels: 3, window: Window::square(2).with_stride(2) };
    for isa in backends() {
        let pools: [(&str, Pool); 2] = [("max", pool::max_pool), ("average", pool::average_pool)];
        for (name, pool) in pools {
            pool(isa, &shape, &[0.0; 48], &mut [0.0; 12]);
            assert!(panics(|| pool(isa, &shape, &[0.0; 47], &mut [0.0; 12])), "{isa}, {name}: short input");
            assert!(panics(|| pool(isa, &shape, &[0.0; 48], &mut [0.0; 11])), "{isa}, {name}: short output");
            let wide = PoolShape { window: Window::square(5), ..shape };
            assert!(panics(|| pool(isa, &wide, &[0.0; 48], &mut [0.0; 12])), "{isa}, {name}: large window");
        }
        assert!(panics(|| pool::global_average_pool(isa, 4, 3, &[0.0; 12], &mut [0.0; 4])), "{isa}: global");
        assert!(panics(|| pool::global_average_pool(isa, 4, 3, &[0.0; 16], &mut [0.0; 4])), "{isa}: global");
        for (channels, input, vector, other, output) in
            [(4, 3, 4, 4, 4), (4, 4, 4, 5, 5), (4, 4, 4, 4, 5), (4, 4, 3, 3, 4), (3, 4, 4, 3, 4)]
        {
            let [vector, other] = [vector, other].map(|len| vec![0.0; len]);
            for step in horq_oracle::steps(&vector, &vector, &other) {
                let run = || elementwise::step(isa, channels, &vec![0.0; input], &step, &mut vec![0.0; output]);
                let fits = input == output && matches!(step, Step::Relu | Step::HardSwish | Step::Clip { .. });
                assert_eq!(panics(run), !fits, "{isa}: {step:?} of {input} to {output} values");
            }
        }
        assert!(panics(|| elementwise::softmax(isa, 3, &[0.0; 4], &mut [0.0; 4])), "{isa}: softmax");
        assert!(panics(|| elementwise::concat(isa, 2..4, &[0.0; 4], 3, &mut [0.0; 6])), "{isa}: concat");
        assert!(panics(|| elementwise::concat(isa, 0..2, &[0.0; 4], 3, &mut [0.0; 5])), "{isa}: concat");
        let counts = |words: usize, rows: usize, panels: usize, counts: usize| {
            let (rows, panels) = (Fenced::new(rows, 0u32), Fenced::new(panels, 0u32));
            gemm::counts(isa, &rows, words, &panels, &mut Fenced::new(counts, 0), &Inline);
        };
        counts(2, 6, 64, 96);
        assert!(panics(|| counts(0, 6, 64, 96)), "{isa}: no words");
        assert!(panics(|| counts(2, 5, 64, 96)), "{isa}: part of a row");
        assert!(panics(|| counts(2, 6, 63, 96)), "{isa}: part of a panel");
        assert!(panics(|| counts(2, 6, 64, 95)), "{isa}: short counts");
    }
}
