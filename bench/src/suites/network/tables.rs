//! What the suite prints.

use super::{Case, Measured, layers};
use crate::harness::Lab;
use crate::suites::conv::mode_name;
use crate::text;
use horq_kernels::Isa;
use horq_probe::peak::Unit;

/// The tables that have a row for each network, order and mode.
#[derive(Default)]
pub(super) struct Rows {
    latency: Vec<Vec<String>>,
    cold: Vec<Vec<String>>,
}

impl Rows {
    pub(super) fn add(&mut self, case: &Case, isa: Isa, result: &Measured) {
        let mode = case.mode.map_or("-", mode_name);
        let name = vec![format!("{}, order {}", case.name, case.order), mode.into(), isa.name().into()];
        let latency = &result.latency;
        let micros = |ns: Option<f64>| text::number(ns.map(|ns| ns / 1e3));
        let mut row = name.clone();
        row.push(text::micros(result.timing.ns));
        row.extend([0.5, 0.9, 0.99, 0.999].map(|part| micros(latency.percentile(part))));
        row.push(text::micros(latency.max()));
        row.push(text::percent(latency.spread()));
        row.push(latency.runs().to_string());
        row.push(text::number(Some(latency.throughput(result.batch))));
        row.push(text::number(Some(latency.allocations())));
        self.latency.push(row);

        let start = &result.start;
        let phases = [
            start.started,
            start.opened - start.started,
            start.prepared - start.opened,
            start.answered - start.prepared,
            start.answered,
        ];
        let count = |count: Option<usize>| count.map_or("-".into(), |count| count.to_string());
        let file = case.model.file_len();
        let beyond = start.rss.map(|rss| rss as f64 - (file + start.arena) as f64);
        let mut row = name;
        row.extend(phases.map(|ns| text::number(Some(ns as f64 / 1e6))));
        row.extend([start.minor_faults, start.major_faults].map(count));
        let memory = [Some(file), Some(start.arena), start.rss, start.peak_rss].map(|bytes| bytes.map(|b| b as f64));
        row.extend(memory.into_iter().chain([beyond]).map(|bytes| text::number(bytes.map(|b| b / 1024.0 / 1024.0))));
        self.cold.push(row);
    }

    pub(super) fn print(self, lab: &Lab) {
        let header = [
            "network",
            "mode",
            "isa",
            "best us",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "max",
            "spread",
            "runs",
            "samples/s",
            "allocations",
        ];
        lab.table(
            "network: latency of one run in us (best: undisturbed CPU time; the others: wall clock)",
            &header,
            self.latency,
        );
        let header = [
            "network",
            "mode",
            "isa",
            "start",
            "open",
            "session",
            "run",
            "all ms",
            "minor",
            "major",
            "file",
            "arena",
            "rss",
            "peak",
            "beyond MiB",
        ];
        lab.table(
            "cold: ms from the start of a process to its first answer, page faults, memory in MiB (beyond file and arena)",
            &header,
            self.cold,
        );
    }
}

/// Each layer's time.
pub(super) fn layers(lab: &Lab, case: &Case, isa: Isa, result: &Measured) {
    let total = result.layers.total();
    let per_ns = |macs: f64, ns: f64| text::number((macs > 0.0).then_some(macs / ns));
    let mut rows = Vec::new();
    for layer in &result.layers.0 {
        let ns = layers::nanoseconds(layer);
        let (unit, macs) = layers::macs(layer, result.batch);
        let stages = layers::stages(layer);
        // Stages are summed over threads.
        let product = if unit == Unit::Bit { stages[1] } else { stages[3] } / lab.threads() as f64;
        let mut row = vec![layer.name.clone(), layer.op.into(), text::micros(ns), text::percent(Some(ns / total))];
        row.extend(stages.map(text::micros));
        row.push(per_ns(macs, ns));
        row.push(text::percent(layers::fraction(lab, layer, result.batch, ns)));
        row.push(text::percent(layers::fraction(lab, layer, result.batch, product)));
        rows.push(row);
    }
    let header = [
        "layer",
        "operation",
        "us",
        "share",
        "quantize",
        "bits",
        "epilogue",
        "float",
        "MAC/ns",
        "of limit",
        "its product",
    ];
    let title = format!(
        "{}, {isa}: us by stage; sum of the layers {} us, unprofiled {} us",
        case.title(),
        text::micros(total),
        text::micros(result.timing.ns)
    );
    lab.table(&title, &header, rows);
}
