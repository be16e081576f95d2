//! What the suite prints.

use super::{Running, layers};
use crate::harness::Harness;
use crate::text::{mebibytes, micros, number, or_dash, percent};
use horq_probe::peak::Unit;

/// The tables that have a row for each network, order and mode.
#[derive(Default)]
pub(super) struct Rows {
    latency: Vec<Vec<String>>,
    cold: Vec<Vec<String>>,
}

impl Rows {
    pub(super) fn add(&mut self, running: &Running) {
        let Running { case, latency, .. } = running;
        let name = vec![
            format!("{}, order {}", case.name, case.order),
            or_dash(case.mode.map(horq::ScaleMode::name)),
            running.isa.name().into(),
        ];
        let mut row = name.clone();
        let timing = running.rounds.best();
        row.extend([micros(timing.ns), percent(Some(timing.spread))]);
        row.extend([0.5, 0.9, 0.99, 0.999].map(|part| or_dash(latency.percentile(part).map(micros))));
        row.extend([micros(latency.max()), percent(latency.spread()), latency.runs().to_string()]);
        row.extend([latency.throughput(running.batch), latency.allocations()].map(|value| number(Some(value))));
        self.latency.push(row);

        let start = running.cold();
        let file = case.model.file_len();
        let times = start.phases().map(|(_, ns)| ns).into_iter().chain([start.answered]);
        let mut row = name;
        row.extend(times.map(|ns| number(Some(ns as f64 / 1e6))));
        row.extend([start.minor_faults, start.major_faults].map(or_dash));
        row.extend([Some(file), Some(start.arena), start.rss, start.peak_rss].map(mebibytes));
        let beyond = start.rss.map(|rss| rss as f64 - (file + start.arena) as f64);
        row.push(number(beyond.map(|bytes| bytes / 1024.0 / 1024.0)));
        self.cold.push(row);
    }

    pub(super) fn print(self, harness: &Harness) {
        let title = "network: latency of one run in us (best: undisturbed CPU time; the others: wall clock)";
        let header = "network | mode | isa | best us | of rounds | p50 | p90 | p99 | p99.9 | max | spread | runs | samples/s | allocations";
        harness.table(title, header, self.latency);
        let title = "cold: ms from the start of a process to its first answer, page faults, memory in MiB (beyond file and arena)";
        let header = "network | mode | isa | start | open | session | run | all ms | minor | major | file | arena | rss | peak | beyond MiB";
        harness.table(title, header, self.cold);
    }
}

/// Each layer's time.
pub(super) fn layers(harness: &Harness, running: &Running) {
    let (batch, total) = (running.batch, running.layers.total());
    let per_ns = |macs: f64, ns: f64| number((macs > 0.0).then_some(macs / ns));
    let mut rows = Vec::new();
    for layer in &running.layers.0 {
        let ns = layers::nanoseconds(layer);
        let (unit, macs) = layers::macs(layer, batch);
        let stages = layers::stages(layer);
        // Stages are summed over threads.
        let product = if unit == Unit::Bit { stages[1] } else { stages[3] } / harness.threads() as f64;
        let mut row = vec![layer.name.clone(), layer.op.into(), micros(ns), percent(Some(ns / total))];
        row.extend(stages.map(micros));
        row.push(per_ns(macs, ns));
        row.extend([ns, product].map(|ns| percent(layers::fraction(harness, layer, batch, ns))));
        rows.push(row);
    }
    let (title, sum, plain) = (running.case.title(), micros(total), micros(running.rounds.best().ns));
    let title = format!("{title}, {}: us by stage; sum of the layers {sum} us, unprofiled {plain} us", running.isa);
    let header =
        "layer | operation | us | share | quantize | bits | epilogue | float | MAC/ns | of limit | its product";
    harness.table(&title, header, rows);
}
