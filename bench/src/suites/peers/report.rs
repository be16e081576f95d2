//! Tables, records and figures of the suite `peers`.

use super::Entry;
use super::cases::Case;
use super::ratio::Spread;
use crate::harness::Harness;
use crate::report::record::Record;
use crate::text;
use horq_probe::clock::Timing;
use horq_probe::peak::Unit;

/// Of the records.
pub(super) const SUITE: &str = "peers";

/// Prints a case's tables and keeps its records.
///
/// # Errors
/// A message if a line cannot be written.
pub(super) fn case(harness: &mut Harness, case: &Case, entries: &[Entry]) -> Result<(), String> {
    let best = |unit| best(entries.iter().filter(|entry| is_peer(entry) && entry.unit == unit));
    let (int8, float) = (best(Unit::Int8), best(Unit::Float));
    let vectors = entries.iter().find(|entry| entry.engine == "openvino-vectors");
    let over = |entry: &Entry, other: Option<&Entry>| {
        text::or_dash(other.map(|other| Spread::of_turns(&entry.turns, &other.turns).text()))
    };
    let mut ours = Vec::new();
    for entry in entries.iter().filter(|entry| !is_peer(entry)) {
        let binary = entries.iter().find(|other| other.engine == "openvino" && other.order == entry.order);
        let binary = binary.filter(|_| entry.order.is_some());
        let mut row = vec![entry.label.clone(), time(entry)];
        row.extend([binary, int8, vectors, float].map(|other| over(entry, other)));
        ours.push(row);
    }
    let header = "ours over theirs | us | OpenVINO, same order | best int8 | int8 without matrix units | best f32";
    harness.table(&format!("peers {}: medians of the turns' ratios, and the middle half", case.name), header, ours);
    let row = |entry: &Entry| vec![entry.label.clone(), time(entry), entry.detail.clone()];
    let theirs: Vec<_> = entries.iter().filter(|entry| is_peer(entry)).map(row).collect();
    harness.table("", "theirs | us | by", theirs);
    let isa = harness.isas[0];
    let sizes = case.layer().map(|layer| layer.sizes()).transpose()?;
    for entry in entries {
        let spread = Spread::of(entry.turns.iter().copied());
        let timing = Timing { ns: spread.median, cycles: f64::NAN, spread: (spread.high - spread.low) / spread.median };
        let unit = if sizes.is_none() && !is_peer(entry) { Unit::Mixed } else { entry.unit };
        let record = Record::new(SUITE, &case.name, entry.engine, unit, entry.macs, timing);
        let record = record.with_order(entry.order, entry.mode);
        let record = sizes.map_or(record.clone(), |sizes| record.of_product(sizes));
        let record = if is_peer(entry) { record } else { record.on(isa) };
        let speedup_float = float.map(|float| Spread::of_turns(&float.turns, &entry.turns).median);
        harness.emit(Record { speedup_float, ..record })?;
    }
    Ok(())
}

fn is_peer(entry: &Entry) -> bool {
    !entry.engine.starts_with("horq")
}

fn median(entry: &Entry) -> f64 {
    Spread::of(entry.turns.iter().copied()).median
}

fn time(entry: &Entry) -> String {
    text::micros(median(entry))
}

fn best<'a>(entries: impl Iterator<Item = &'a Entry>) -> Option<&'a Entry> {
    entries.min_by(|first, second| median(first).total_cmp(&median(second)))
}
