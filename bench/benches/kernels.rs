//! Regression benches of the kernels: small, a few seconds in all. `horq-bench` is what measures them against limits.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use horq_kernels::{
    Basis, BinaryCall, BinaryConv, BinaryInput, BinaryScratch, BinarySpec, Epilogue, FloatCall, FloatConv, Geometry,
    Inline, Isa, Padding, ScaleMode, Window, float_env, gemm, weights,
};
use std::time::Duration;

/// Values in (-1, 1), the same in every run.
fn floats(n: usize) -> Vec<f32> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_769) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

fn words(n: usize) -> Vec<u32> {
    (1..=n as u32).map(|i| i.wrapping_mul(2_654_435_769)).collect()
}

fn isa() -> Isa {
    Isa::from_env().expect("HORQ_ISA names a backend of this CPU")
}

/// A layer of a residual network: 14 x 14 pixels, 128 channels to 128 filters, 3 x 3.
const LAYER: Geometry = Geometry {
    height: 14,
    width: 14,
    channels: 128,
    filters: 128,
    groups: 1,
    window: Window::square(3).with_padding(1),
};

fn bit_product(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bit product");
    for [m, n, k] in [[192, 256, 2304], [1, 4096, 4096]] {
        let (rows, panels) = (words(m * k / 32), words(n * k / 32));
        let mut counts = vec![0; m * n];
        group.throughput(Throughput::Elements((m * n * k) as u64));
        group.bench_function(format!("{m}x{n}x{k}"), |bencher| {
            bencher.iter(|| gemm::counts(isa(), &rows, k / 32, &panels, &mut counts, &Inline));
        });
    }
}

/// One layer in each mode and at two orders; with one filter, what is left is the quantizer.
fn binary_layers(criterion: &mut Criterion) {
    for (name, filters) in [("quantizer", 1), ("binary convolution", 128)] {
        let mut group = criterion.benchmark_group(name);
        for mode in [ScaleMode::Window, ScaleMode::Image, ScaleMode::Fixed] {
            for order in [1, 2] {
                let geometry = Geometry { filters, ..LAYER };
                let panels = weights::bits::pack_bits(&geometry, &floats(filters * geometry.depth()));
                let spec = BinarySpec {
                    geometry,
                    padding: Padding::ValidTaps,
                    mode,
                    max_order: order,
                    max_batch: 1,
                    pool: None,
                };
                let conv = BinaryConv::new(isa(), spec, &[&panels]).expect("the shape is valid");
                let len = conv.scratch_len();
                let (mut scratch_words, mut scratch_scales) = (vec![0; len.words], vec![0.0; len.scales]);
                let (input, alpha) = (floats(geometry.input_len()), geometry.pad_filters(&vec![0.1; filters]));
                let mut output = vec![0.0; 14 * 14 * filters];
                group.bench_function(BenchmarkId::new(format!("{mode:?}"), order), |bencher| {
                    bencher.iter(|| {
                        let call = BinaryCall {
                            input: BinaryInput::Values(&input),
                            pack: None,
                            order,
                            scales: &[0.8, 0.5],
                            bases: &[Basis { panels: &panels, alpha: &alpha }],
                            epilogue: Epilogue::default(),
                            parallel: &Inline,
                            clock: None,
                        };
                        let scratch = BinaryScratch { words: &mut scratch_words, scales: &mut scratch_scales };
                        conv.run(call, &mut output, scratch).expect("the input is finite");
                    });
                });
            }
        }
    }
}

fn float_convolution(criterion: &mut Criterion) {
    let conv = FloatConv::new(isa(), LAYER).expect("the shape is valid");
    let weight = weights::floats::pack_floats(&LAYER, &floats(LAYER.filters * LAYER.depth()));
    let input = floats(LAYER.input_len());
    let (mut output, mut scratch) = (vec![0.0; 14 * 14 * LAYER.filters], vec![0.0; conv.scratch_len()]);
    let mut group = criterion.benchmark_group("float convolution");
    group.throughput(Throughput::Elements((14 * 14 * LAYER.filters * LAYER.depth()) as u64));
    group.bench_function("14x14x128x128", |bencher| {
        bencher.iter(|| {
            let epilogue = Epilogue::default();
            let call = FloatCall { input: &input, weight: &weight, epilogue, parallel: &Inline, clock: None };
            conv.run(call, &mut output, &mut scratch);
        });
    });
}

/// What [`float_env::in_default`] adds to a call, in the caller's usual mode; `horq-bench` cannot see so little.
fn float_environment(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("floating-point environment");
    let call = || std::hint::black_box(std::hint::black_box(3.0f32) / 7.0);
    group.bench_function("call", |bencher| bencher.iter(call));
    group.bench_function("call in the default environment", |bencher| bencher.iter(|| float_env::in_default(call)));
}

criterion_group! {
    name = kernels;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300));
    targets = bit_product, binary_layers, float_convolution, float_environment
}
criterion_main!(kernels);
