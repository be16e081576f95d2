//! `horq inspect`: what a model holds.

use crate::cli;
use crate::failure::Failure;
use crate::input::sizes;
use crate::model::{self, Cost};
use crate::table::{Table, amount, bytes};
use crate::terminal::Style;
use horq::graph::{Node, Op};
use horq::{Model, escaped};
use horq_kernels::{Padding, ScaleMode, Window};
use horq_probe::display::printable;
use serde_json::{Value, json};
use std::io::Write;

/// Runs the command.
pub(crate) fn inspect(args: &cli::Inspect, out: &mut dyn Write) -> Result<(), Failure> {
    let model = model::open(&args.model)?;
    if args.json {
        let document = document(&args.model.to_string_lossy(), &model);
        return Ok(writeln!(out, "{}", printable(&format!("{document:#}")))?);
    }
    let graph = model.graph();
    let (major, minor) = model.version();
    let golden = model.golden().map_or("none".into(), |golden| {
        format!("{} samples with answers, for `horq verify --selftest`", golden.samples)
    });
    writeln!(out, "file      {}: {} bytes, format {major}.{minor}", escaped(&args.model), model.file_len())?;
    writeln!(out, "input     {}: {}", escaped(&graph.input.name), model.input_shape())?;
    writeln!(out, "output    {}: {}", escaped(&graph.output), model.output_shape())?;
    writeln!(out, "producer  {}", escaped(model.producer()))?;
    writeln!(out, "digest    {}", model.digest())?;
    writeln!(out, "example   {golden}")?;
    for (key, value) in model.notes() {
        writeln!(out, "note      {}: {}", escaped(key), escaped(value))?;
    }
    let mut table = Table::new(&[
        "layer",
        "operation",
        "reads",
        "details",
        "shape",
        ">order",
        "scales",
        ">binary MACs",
        ">float MACs",
        ">int8 MACs",
        ">bytes",
        ">as f32",
    ]);
    let mut total = Cost::default();
    for (node, input, shape) in model::nodes(&model) {
        let cost = Cost::of(node, input, shape);
        total = total.plus(cost);
        let quantizer = node.op.quantizer();
        let order = quantizer.map_or(String::new(), |quantizer| quantizer.order.to_string());
        let scales = quantizer.map_or("", |quantizer| mode(quantizer.mode));
        table.row([
            node.name.clone(),
            node.op.kind().into(),
            node.inputs.join(", "),
            details(node),
            shape.to_string(),
            order,
            scales.into(),
            unless_zero(cost.bit_macs, |macs| amount(macs as f64)),
            cost.float_products(),
            unless_zero(cost.int8_macs, |macs| amount(macs as f64)),
            unless_zero(cost.bytes, bytes),
            unless_zero(cost.float_bytes, bytes),
        ]);
    }
    table.rule();
    let empty = String::new;
    table.row([
        "total".into(),
        empty(),
        empty(),
        empty(),
        empty(),
        empty(),
        empty(),
        amount(total.bit_macs as f64),
        total.float_products(),
        amount(total.int8_macs as f64),
        bytes(total.bytes),
        bytes(total.float_bytes),
    ]);
    write!(out, "\n{}", table.render(Style::detect(false)))?;
    if let Some(compression) = total.compression() {
        writeln!(
            out,
            "\nThe parameters are {compression:.1} times smaller than in f32. Binary MACs are at full order."
        )?;
    }
    Ok(())
}

fn unless_zero(count: u64, show: impl Fn(u64) -> String) -> String {
    if count == 0 { String::new() } else { show(count) }
}

/// The name of a scale mode in the file.
pub(crate) fn mode(mode: ScaleMode) -> &'static str {
    mode.name()
}

/// What a row says about a node beyond its columns: "5x5, stride 2, padding 1, 2 bases".
fn details(node: &Node) -> String {
    let mut parts = node.op.window().map(window_parts).unwrap_or_default();
    match &node.op {
        Op::Conv2d { groups, .. }
        | Op::BinaryConv2d { groups, .. }
        | Op::BinaryWeightConv2d { groups, .. }
        | Op::CodebookConv2d { groups, .. }
        | Op::Int8Conv2d { groups, .. }
            if *groups > 1 =>
        {
            parts.push(format!("{groups} groups"));
        }
        _ => {}
    }
    if let Op::BinaryConv2d { pad_value: Padding::One, window, .. } = &node.op
        && window.padding != [0; 4]
    {
        parts.push("padded with +1".into());
    }
    if let Op::BinaryConv2d { bases, .. } | Op::BinaryDense { bases, .. } = &node.op
        && bases.len() > 1
    {
        parts.push(format!("{} bases", bases.len()));
    }
    if let Op::AffineByOrder { order_of, rows } = &node.op {
        parts.push(format!("{} orders, of {order_of}", rows.len()));
    }
    if let Op::CodebookConv2d { entries, .. } | Op::CodebookDense { entries, .. } = &node.op {
        parts.push(format!("{entries} weight values"));
    }
    if let Op::Int8Conv2d { zero_point, .. } | Op::Int8Dense { zero_point, .. } = &node.op {
        parts.push(format!("zero point {zero_point}"));
    }
    parts.join(", ")
}

fn window_parts(window: &Window) -> Vec<String> {
    let pair = |name: &str, [rows, columns]: [usize; 2]| match (rows, columns) {
        (1, 1) => None,
        _ if rows == columns => Some(format!("{name} {rows}")),
        _ => Some(format!("{name} {rows}x{columns}")),
    };
    let padding = match window.padding {
        [0, 0, 0, 0] => None,
        [top, left, bottom, right] if [left, bottom, right] == [top; 3] => Some(format!("padding {top}")),
        [top, left, bottom, right] => Some(format!("padding {top},{left},{bottom},{right}")),
    };
    let rest = [pair("stride", window.stride), pair("dilation", window.dilation), padding];
    [sizes(&window.kernel)].into_iter().chain(rest.into_iter().flatten()).collect()
}

/// Everything as JSON, with exact numbers.
fn document(file: &str, model: &Model) -> Value {
    let graph = model.graph();
    let mut total = Cost::default();
    let layers: Vec<Value> = model::nodes(model)
        .map(|(node, input, shape)| {
            let cost = Cost::of(node, input, shape);
            total = total.plus(cost);
            let mut layer = json!({
                "name": node.name, "op": node.op.kind(), "inputs": node.inputs, "shape": Vec::<usize>::from(shape),
            });
            merge(&mut layer, costs(cost));
            if let Some(window) = node.op.window() {
                let Window { kernel, stride, dilation, padding } = window;
                merge(
                    &mut layer,
                    json!({"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}),
                );
            }
            if let Some(quantizer) = node.op.quantizer() {
                merge(&mut layer, json!({"order": quantizer.order, "scale_mode": mode(quantizer.mode)}));
            }
            match &node.op {
                Op::Conv2d { groups, .. } | Op::BinaryWeightConv2d { groups, .. } => {
                    merge(&mut layer, json!({"groups": groups}));
                }
                Op::CodebookConv2d { groups, entries, .. } => {
                    merge(&mut layer, json!({"groups": groups, "entries": entries}));
                }
                Op::Int8Conv2d { groups, zero_point, .. } => {
                    merge(&mut layer, json!({"groups": groups, "zero_point": zero_point}));
                }
                Op::Int8Dense { zero_point, .. } => merge(&mut layer, json!({"zero_point": zero_point})),
                Op::CodebookDense { entries, .. } => merge(&mut layer, json!({"entries": entries})),
                Op::BinaryConv2d { groups, bases, pad_value, .. } => {
                    let pad_value = if *pad_value == Padding::One { "one" } else { "valid-taps" };
                    merge(&mut layer, json!({"groups": groups, "bases": bases.len(), "pad_value": pad_value}));
                }
                Op::BinaryDense { bases, .. } => merge(&mut layer, json!({"bases": bases.len()})),
                _ => {}
            }
            layer
        })
        .collect();
    let (major, minor) = model.version();
    json!({
        "file": file,
        "file_bytes": model.file_len(),
        "format": [major, minor],
        "input": {"name": graph.input.name, "shape": Vec::<usize>::from(model.input_shape())},
        "output": {"name": graph.output, "shape": Vec::<usize>::from(model.output_shape())},
        "producer": model.producer(),
        "digest": model.digest(),
        "golden_samples": model.golden().map_or(0, |golden| golden.samples),
        "notes": model.notes(),
        "layers": layers,
        "total": costs(total),
    })
}

fn costs(cost: Cost) -> Value {
    json!({
        "binary_macs": cost.bit_macs, "sign_macs": cost.sign_macs, "code_macs": cost.code_macs,
        "float_macs": cost.float_macs, "int8_macs": cost.int8_macs, "bytes": cost.bytes,
        "float_bytes": cost.float_bytes, "compression": cost.compression(),
    })
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}
