//! The suite `peak`: the limits of this machine's instructions, which the harness measured when it was opened.

use crate::harness::Harness;
use crate::report::record::Record;
use crate::text;
use horq_probe::peak::{Limit, Unit};

/// Prints and keeps the limits.
///
/// # Errors
/// A message if a line cannot be written.
pub(crate) fn run(harness: &mut Harness) -> Result<(), String> {
    let (mut table, mut records) = (Vec::new(), Vec::new());
    for peak in harness.peaks.iter() {
        let Limit { name, unit, isa, .. } = peak.limit;
        let record = Record::new("peak", name, "limit", unit, peak.per_round(), peak.round);
        let [per_cycle, per_ns] = [record.per_cycle(), Some(peak.per_ns())].map(text::number);
        let spread = text::percent(record.spread);
        table.push(vec![name.into(), unit.name().into(), per_cycle, per_ns, spread, text::or_dash(isa)]);
        let record = Record { limit_fraction: Some(1.0), rounds: Some(harness.rounds), ..record };
        records.push(isa.map_or(record.clone(), |isa| record.on(isa)));
    }
    records.into_iter().try_for_each(|record| harness.emit(record))?;
    let title = "peak: the limits of this machine, one thread, in registers";
    harness.table(title, "instructions | unit | per cycle | per ns | spread | limit of", table);
    let peaks = &harness.peaks;
    let Some(bits) = peaks.of(harness.isas[0]) else { return Ok(()) };
    for (name, unit) in [("f32", Unit::Float), ("int8", Unit::Int8)] {
        if let Some(ratio) = peaks.best(unit).map(|peak| bits.over(peak)) {
            let (bits, wins) = (bits.limit.name, ratio.floor() + 1.0);
            harness.say(&format!(
                "{bits}: {ratio:.1} / K times the best {name} at order K, so {name} wins from order {wins:.0}"
            ));
        }
    }
    Ok(())
}
