//! The suite `conv`: whole binary convolutions, f32 in and f32 out, beside float convolutions of the same shape.

use crate::baselines::{fast_product, im2col, scalar_conv};
use crate::cli::{Command, fits, geometry};
use crate::data::{Numbers, zeros};
use crate::harness::Lab;
use crate::report::record::{Record, Run};
use crate::text;
use crate::variants::Form;
use horq_kernels::{Geometry, Isa, MAX_ORDER, ScaleMode, StageClock};
use horq_probe::clock::Timing;
use horq_probe::peak::Unit;

/// Height x width x channels x filters of the four stages of a residual network.
pub(crate) const SHAPES: [[usize; 4]; 4] = [[56, 56, 64, 64], [28, 28, 128, 128], [14, 14, 256, 256], [7, 7, 512, 512]];

/// The paper's scales, and the cheap ones.
pub(crate) const MODES: [ScaleMode; 2] = [ScaleMode::Window, ScaleMode::Image];

/// Constants of [`ScaleMode::Fixed`]: what residuals of a normal distribution have for scales. Their values cost nothing.
pub(crate) const FIXED_SCALES: [f32; MAX_ORDER] = [0.80, 0.48, 0.27, 0.17, 0.11, 0.08, 0.06, 0.04];

/// A convolution's times at one order and mode.
pub(crate) struct Binary {
    pub form: Form,
    pub timing: Timing,
    /// Shares of quantize, bits and epilogue.
    pub stages: [f64; 3],
    pub fraction: Option<f64>,
}

/// All times of one convolution.
pub(crate) struct Times {
    /// The scalar loop.
    pub scalar: Timing,
    /// The faster of im2col with the crate `gemm` and the float kernel of horq.
    pub float: Timing,
    pub binary: Vec<Binary>,
}

/// What runs before anything is measured: the shapes of the command line.
///
/// # Errors
/// A message that names the shape.
pub(crate) fn check(command: Option<&Command>) -> Result<(), String> {
    let Some(Command::Conv { shapes, kernel, stride, .. }) = command else { return Ok(()) };
    for shape in if shapes.is_empty() { &SHAPES[..] } else { shapes } {
        let geometry = geometry(*shape, *kernel, *stride);
        let named = |error: String| format!("conv {}: {error}", case(&geometry));
        let [rows, columns] = geometry.validate().map_err(|error| named(error.to_string()))?;
        fits(rows * columns, geometry.depth()).and(fits(geometry.filters, geometry.depth())).map_err(named)?;
    }
    Ok(())
}

/// The name of a shape in tables and records.
pub(crate) fn case(geometry: &Geometry) -> String {
    let Geometry { height, width, channels, filters, window, .. } = geometry;
    format!("{height}x{width}x{channels}x{filters} k{} s{}", window.kernel[0], window.stride[0])
}

/// The name of a mode in tables.
pub(crate) fn mode_name(mode: ScaleMode) -> &'static str {
    match mode {
        ScaleMode::Window => "window",
        ScaleMode::Image => "image",
        ScaleMode::Fixed => "fixed",
        ScaleMode::None => "none",
    }
}

/// Runs the suite.
pub(crate) fn run(lab: &mut Lab, geometries: &[Geometry], orders: &[usize], modes: &[ScaleMode]) -> Result<(), String> {
    let mut table = Vec::new();
    for isa in lab.isas().to_vec() {
        for geometry in geometries {
            let times = measure(lab, "conv", geometry, isa, orders, modes)?;
            for binary in &times.binary {
                let Binary { form, timing, stages, fraction } = binary;
                let macs = form.macs(geometry, 1)?;
                let percent = |stage: usize| format!("{:.0} %", 100.0 * stages[stage]);
                table.push(vec![
                    case(geometry),
                    isa.name().into(),
                    form.order().map_or("-".into(), |order| order.to_string()),
                    form.name().into(),
                    text::micros(timing.ns),
                    text::number(Some(macs / timing.cycles)),
                    text::percent(*fraction),
                    percent(0),
                    percent(1),
                    percent(2),
                    text::number(Some(times.float.over(*timing))),
                    text::number(Some(times.scalar.over(*timing))),
                ]);
            }
        }
    }
    let header = [
        "layer (H x W x C x N)",
        "isa",
        "order",
        "mode",
        "us",
        "bMAC/cycle",
        "of limit",
        "quantize",
        "bits",
        "epilogue",
        "x float",
        "x scalar",
    ];
    lab.table("conv: whole layers, f32 in, f32 out (packed: planes in, planes out)", &header, table);
    Ok(())
}

/// Measures one convolution in all ways and emits the records.
///
/// # Errors
/// A message if a shape does not fit or a line cannot be written.
pub(crate) fn measure(
    lab: &mut Lab,
    suite: &'static str,
    geometry: &Geometry,
    isa: Isa,
    orders: &[usize],
    modes: &[ScaleMode],
) -> Result<Times, String> {
    let case = case(geometry);
    let shape = geometry.validate().map_err(|error| format!("{case}: {error}"))?;
    let (m, n, k) = (shape[0] * shape[1], geometry.filters, geometry.depth());
    let macs = m as f64 * n as f64 * k as f64;
    let threads = lab.threads();
    let record = |engine, unit, macs, timing| Record {
        m: Some(m),
        n: Some(n),
        k: Some(k),
        threads,
        ..Record::new(suite, case.clone(), engine, unit, macs, timing)
    };
    let mut numbers = Numbers::new(2);
    let (input, weights) = (numbers.floats(geometry.input_len()), numbers.floats(n * k));
    let mut output = zeros(m * n);

    lab.step(&format!("{suite} {case}: float"));
    // One row in the middle of the image stands for all of them.
    let row = shape[0] / 2 * shape[1]..(shape[0] / 2 + 1) * shape[1];
    let scalar = lab.time_scalar(&mut || scalar_conv(geometry, &input, &weights, row.clone(), &mut output));
    let scalar = scalar.scale(shape[0] as f64);
    lab.emit(Record { threads: 1, ..record("scalar", Unit::Float, macs, scalar) })?;

    let mut unfolded = zeros(m * k);
    let by_crate = lab.time_products(Unit::Float, None, macs, &mut |workers| {
        workers.install(|| {
            im2col(geometry, &input, &mut unfolded);
            fast_product(m, n, k, &unfolded, &weights, &mut output, threads);
        });
    });
    drop(unfolded);
    let mut kernel = Form::Float.prepare(isa, *geometry, 1)?;
    let by_kernel = lab.time_products(Unit::Float, Some(isa), macs, &mut |workers| kernel(workers, None));
    let float = by_kernel.0.min(by_crate.0);
    for (engine, isa, (timing, limit_fraction)) in [("im2col+gemm", None, by_crate), ("horq-f32", Some(isa), by_kernel)]
    {
        let speedup_scalar = Some(scalar.over(timing));
        lab.emit(Record { isa, limit_fraction, speedup_scalar, ..record(engine, Unit::Float, macs, timing) })?;
    }

    let mut binary = Vec::new();
    let mut forms: Vec<Form> =
        modes.iter().flat_map(|&mode| orders.iter().map(move |&order| Form::Binary { order, mode })).collect();
    if modes.contains(&ScaleMode::Fixed) && Form::packs(geometry) {
        forms.extend(orders.iter().map(|&order| Form::Packed { order }));
    }
    for form in forms {
        lab.step(&format!("{suite} {case}: {form:?}"));
        let result = binary_kernel(lab, geometry, isa, form)?;
        let [quantize, bits, epilogue] = result.stages.map(|share| Some((share * result.timing.ns).round()));
        lab.emit(Record {
            run: Run { quantize, bits, epilogue, ..Run::default() },
            order: form.order(),
            mode: form.mode(),
            isa: Some(isa),
            limit_fraction: result.fraction,
            speedup_scalar: Some(scalar.over(result.timing)),
            speedup_float: Some(float.over(result.timing)),
            ..record(form.engine(), Unit::Bit, form.macs(geometry, 1)?, result.timing)
        })?;
        binary.push(result);
    }
    Ok(Times { scalar, float, binary })
}

fn binary_kernel(lab: &mut Lab, geometry: &Geometry, isa: Isa, form: Form) -> Result<Binary, String> {
    let mut run = form.prepare(isa, *geometry, 1)?;
    let macs = form.macs(geometry, 1)?;
    let (timing, fraction) = lab.time_products(Unit::Bit, Some(isa), macs, &mut |workers| run(workers, None));
    // Reading the clock between stages costs time, so the shares come from runs of their own.
    let clock = StageClock::default();
    (0..3).for_each(|_| run(lab.workers(), Some(&clock)));
    let [quantize, bits, epilogue, _] = clock.nanoseconds().map(|ns| ns as f64);
    let total = (quantize + bits + epilogue).max(1.0);
    let stages = [quantize / total, bits / total, epilogue / total];
    Ok(Binary { form, timing, stages, fraction })
}
