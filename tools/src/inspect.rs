//! `horq inspect`: what a model holds.

use crate::cli;
use crate::failure::Failure;
use crate::input::sizes;
use crate::model::{self, Cost};
use crate::table::{Table, amount, bytes};
use crate::terminal::Style;
use horq::graph::{Node, Op, Shape};
use horq::{Latency, Loss, Model, escaped};
use horq_kernels::{Padding, Window};
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
    let (major, minor) = model.version();
    let golden = model.golden().map_or("none".into(), |golden| {
        format!("{} samples with answers, for `horq verify --selftest`", golden.samples)
    });
    writeln!(out, "file      {}: {} bytes, format {major}.{minor}", escaped(&args.model), model.file_len())?;
    for (name, shape) in model.inputs() {
        writeln!(out, "input     {}: {shape}", escaped(name))?;
    }
    for (name, shape) in model.outputs() {
        writeln!(out, "output    {}: {shape}", escaped(name))?;
    }
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
        let scales = quantizer.map_or("", |quantizer| quantizer.mode.name());
        table.row([
            node.name.clone(),
            node.op.kind().into(),
            node.inputs.join(", "),
            details(node),
            shape.to_string(),
            order,
            scales.into(),
            unless_zero(cost.macs.bit, |macs| amount(macs as f64)),
            cost.float_products(),
            unless_zero(cost.macs.int8, |macs| amount(macs as f64)),
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
        amount(total.macs.bit as f64),
        total.float_products(),
        amount(total.macs.int8 as f64),
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
    write_points(&model, out)
}

/// The table of operating points, if there are any, and a line for each cascade.
fn write_points(model: &Model, out: &mut dyn Write) -> Result<(), Failure> {
    let points = model.points();
    if points.is_empty() {
        return Ok(());
    }
    let binary =
        || model.graph().nodes.iter().filter_map(|node| Some((node.name.as_str(), node.op.quantizer()?.order)));
    let loss =
        |loss: Option<&Loss>| loss.map_or_else(String::new, |loss| format!("{:.3} {}", loss.value, loss.measure));
    let took = |latency: Option<&Latency>| {
        let text =
            |at: &Latency| format!("{:.1} us, {} thread(s), {}, {}", at.microseconds, at.threads, at.cpu, at.backend);
        latency.map_or_else(String::new, text)
    };
    let mut table = Table::new(&["point", "", "orders", "loss", "of data", "latency"]);
    for point in &points.all {
        let orders = binary().map(|(layer, highest)| match point.orders.get(layer) {
            Some(order) => format!("{layer} {order}"),
            None => format!("{layer} {highest}"),
        });
        let is_default = points.default.as_ref() == Some(&point.name);
        table.row([
            point.name.clone(),
            if is_default { "default" } else { "" }.into(),
            orders.collect::<Vec<_>>().join(", "),
            loss(point.loss.as_ref()),
            point.loss.as_ref().map_or_else(String::new, |loss| loss.data.clone()),
            took(point.latency.as_ref()),
        ]);
    }
    write!(out, "\n{}", table.render(Style::detect(false)))?;
    for cascade in &points.cascades {
        let (low, high, margin) = (escaped(&cascade.low), escaped(&cascade.high), cascade.margin);
        let figures = [loss(cascade.loss.as_ref()), took(cascade.latency.as_ref())];
        let figures = figures.iter().filter(|text| !text.is_empty()).map(|text| format!("; {}", escaped(text)));
        let figures = figures.collect::<String>();
        writeln!(out, "cascade   {low}, then {high} where the margin is below {margin:.4}{figures}")?;
    }
    Ok(())
}

fn unless_zero(count: u64, show: impl Fn(u64) -> String) -> String {
    if count == 0 { String::new() } else { show(count) }
}

/// What a row says about a node beyond its columns: "5x5, stride 2, padding 1, 2 bases".
fn details(node: &Node) -> String {
    let mut parts = node.op.window().map(window_parts).unwrap_or_default();
    let fields = model::fields(&node.op);
    let count = |name: &str| match &fields[name] {
        Value::Array(list) => list.len() as u64,
        value => value.as_u64().unwrap_or(0),
    };
    let at_least = |name: &str, least: u64| fields.get(name).map(|_| count(name)).filter(|&n| n >= least);
    parts.extend(at_least("groups", 2).map(|n| format!("{n} groups")));
    if let Op::BinaryConv2d(conv) = &node.op
        && conv.layout.pad_value == Padding::One
        && conv.layout.sliding.window.padding != [0; 4]
    {
        parts.push("padded with +1".into());
    }
    parts.extend(at_least("bases", 2).map(|n| format!("{n} bases")));
    if let Op::AffineByOrder(op) = &node.op {
        parts.push(format!("{} orders, of {}", op.rows.len(), op.order_of));
    }
    parts.extend(at_least("entries", 0).map(|n| format!("{n} weight values")));
    parts.extend(at_least("zero_point", 0).map(|n| format!("zero point {n}")));
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
    let value = |(name, shape): (&str, Shape)| json!({"name": name, "shape": Vec::<usize>::from(shape)});
    let inputs: Vec<Value> = model.inputs().map(value).collect();
    let outputs: Vec<Value> = model.outputs().map(value).collect();
    let mut total = Cost::default();
    let layers: Vec<Value> = model::nodes(model)
        .map(|(node, input, shape)| {
            let cost = Cost::of(node, input, shape);
            total = total.plus(cost);
            let mut layer = json!({
                "name": node.name, "op": node.op.kind(), "inputs": node.inputs, "shape": Vec::<usize>::from(shape),
            });
            merge(&mut layer, costs(cost));
            for (name, value) in model::fields(&node.op) {
                match name.as_str() {
                    "kernel" | "stride" | "dilation" | "padding" | "groups" | "entries" | "zero_point"
                    | "pad_value" | "order" => layer[name] = value,
                    "mode" => layer["scale_mode"] = value,
                    "bases" => layer[name] = value.as_array().map_or(0, Vec::len).into(),
                    _ => {}
                }
            }
            layer
        })
        .collect();
    let (major, minor) = model.version();
    json!({
        "file": file,
        "file_bytes": model.file_len(),
        "format": [major, minor],
        "input": inputs[0],
        "inputs": inputs,
        "output": outputs[0],
        "outputs": outputs,
        "producer": model.producer(),
        "digest": model.digest(),
        "golden_samples": model.golden().map_or(0, |golden| golden.samples),
        "notes": model.notes(),
        "points": points(model),
        "layers": layers,
        "total": costs(total),
    })
}

/// The operating points as the file has them; null if it has none.
fn points(model: &Model) -> Value {
    let points = model.points();
    if points.is_empty() { Value::Null } else { serde_json::from_str(&points.to_json()).unwrap_or_default() }
}

fn costs(cost: Cost) -> Value {
    json!({
        "binary_macs": cost.macs.bit, "sign_macs": cost.macs.binary_weight, "code_macs": cost.macs.codebook,
        "float_macs": cost.macs.float, "int8_macs": cost.macs.int8, "bytes": cost.bytes,
        "float_bytes": cost.float_bytes, "compression": cost.compression(),
    })
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}
