//! Which suites a command runs, and what becomes of their results.

use crate::chart::Figure;
use crate::cli::{Cli, Command, Curve};
use crate::harness::{Lab, create_folder};
use crate::output::Output;
use crate::report::compare::Comparison;
use crate::report::record::{self, Record, Row};
use crate::report::{crossover, tables};
use crate::suites::network::Depth;
use crate::suites::{conv, curve, gemm, network, peers, weights};
use crate::text;
use horq::escaped;
use horq_kernels::{Isa, ScaleMode};
use horq_probe::peak::Unit;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

/// Where results go if nobody says.
const OUT: &str = "horq-bench-out";

/// Runs what the command line asks for.
///
/// # Errors
/// A message for the person who asked.
pub(crate) fn run(cli: &Cli) -> Result<ExitCode, String> {
    let output = Rc::new(Output::new(cli.common.json_to_stdout()));
    let result = execute(cli, &output);
    output.end(result)
}

fn execute(cli: &Cli, output: &Rc<Output>) -> Result<ExitCode, String> {
    let common = &cli.common;
    match &cli.command {
        Some(Command::Compare { old, new, all }) => {
            let (old, new) = (record::read(old)?, record::read(new)?);
            return Ok(compare(&old, &new, *all, common.fail_on_regression, &|text| output.say(text)));
        }
        Some(Command::Tables { record }) => {
            let readme = common.readme.as_deref().ok_or("tables needs --readme FILE.md, whose tables it rewrites")?;
            return tables::rewrite(readme, record).map(|()| ExitCode::SUCCESS);
        }
        _ if common.readme.is_some() && common.record.is_none() => {
            return Err("--readme needs --record DIR: its tables name the record that they come from".into());
        }
        _ => {}
    }
    let draws = matches!(cli.command, None | Some(Command::Curve { .. } | Command::All(_)));
    let out = common.out.as_deref().or(draws.then_some(Path::new(OUT)));
    // Before a minute of measuring, not after it.
    out.map_or(Ok(()), create_folder)?;
    conv::check(cli.command.as_ref())?;
    network::check(cli.command.as_ref())?;
    let old = common.compare.as_deref().map(record::read).transpose()?;
    let beside = match &cli.command {
        Some(Command::Curve { beside, .. } | Command::All(beside)) => beside.peers.as_deref(),
        _ => None,
    };
    let beside = beside.map(peers::read).transpose()?.unwrap_or_default();
    let mut lab = Lab::new(common, output.clone())?;
    match &cli.command {
        None => {
            peak(&mut lab)?;
            gemm::run(&mut lab, &gemm::SHAPES, 1)?;
            conv::run(&mut lab, &conv::SHAPES.map(|shape| crate::cli::geometry(shape, 3, 1)), &[1, 2], &conv::MODES)?;
            weights::run(&mut lab)?;
            curve::run(&mut lab, &Curve::ALL)?;
            network::run(&mut lab, &network::few(), Depth::Overview)?;
        }
        Some(Command::Peak) => peak(&mut lab)?,
        Some(Command::Gemm { shapes, order }) => {
            gemm::run(&mut lab, if shapes.is_empty() { &gemm::SHAPES } else { shapes }, *order)?;
        }
        Some(Command::Conv { shapes, kernel, stride, order, mode }) => {
            let shapes = if shapes.is_empty() { &conv::SHAPES[..] } else { shapes };
            let geometries: Vec<_> =
                shapes.iter().map(|&shape| crate::cli::geometry(shape, *kernel, *stride)).collect();
            let orders = if order.is_empty() { &[1, 2][..] } else { order };
            let modes: Vec<ScaleMode> = mode.iter().map(|&mode| mode.into()).collect();
            conv::run(&mut lab, &geometries, orders, if modes.is_empty() { &conv::MODES } else { &modes })?;
        }
        Some(Command::Weights) => weights::run(&mut lab)?,
        Some(Command::Curve { curves, .. }) => {
            curve::run(&mut lab, if curves.is_empty() { &Curve::ALL } else { curves })?
        }
        Some(Command::Network(networks)) => network::run(&mut lab, networks, Depth::Whole)?,
        Some(Command::Peers(arguments)) => peers::run(&mut lab, arguments)?,
        Some(Command::All(_)) => all(&mut lab)?,
        Some(Command::Compare { .. } | Command::Tables { .. }) => unreachable!("these measure nothing"),
    }
    // A record of its own, beside that of the other suites.
    let suite = matches!(cli.command, Some(Command::Peers(_))).then_some("peers");
    let kept = lab.write(out, common.record.as_deref(), suite)?;
    if let Some((readme, kept)) = common.readme.as_deref().zip(kept.as_deref()) {
        tables::rewrite(readme, kept)?;
    }
    let contests = crossover::contests(&beside);
    if let Some(row) = beside.first() {
        let (header, table) = crossover::table(&contests);
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        lab.table(
            &format!("from which order on others win: the record of {}, commit {}", row.date, row.commit),
            &header,
            table,
        );
    }
    if let Some(out) = out {
        let measured = record::parse("the results", &lab.csv())?;
        let (turns, caption) = match &beside[..] {
            [] => (&measured, lab.caption()),
            _ => (&beside, peers::caption(&beside)),
        };
        let figures: Vec<(String, Figure)> = gemm::figure(&lab)
            .map(|figure| ("gemm".to_owned(), figure))
            .into_iter()
            .chain(Curve::ALL.into_iter().filter_map(|which| curve::figure(&lab, which)))
            .chain(curve::times(&lab, &contests))
            .chain(peers::figures(turns, &caption))
            .collect();
        for (name, figure) in &figures {
            figure.write(out, name)?;
        }
        let names: Vec<&str> = figures.iter().map(|(name, _)| name.as_str()).collect();
        let drawn = if names.is_empty() { String::new() } else { format!(", {} (.svg, .png)", names.join(", ")) };
        lab.say(&format!("\nwritten to {}: results.jsonl, results.csv{drawn}", escaped(out)));
    }
    let Some(old) = old else { return Ok(ExitCode::SUCCESS) };
    let new = record::parse("the results", &lab.csv())?;
    Ok(compare(&old, &new, false, common.fail_on_regression, &|text| lab.say(text)))
}

/// Everything that a record keeps: the best backend in all suites, the others where their part of their own limits is of interest.
fn all(lab: &mut Lab) -> Result<(), String> {
    peak(lab)?;
    let isas = lab.isas().to_vec();
    // The best first.
    let every: Vec<Isa> = Isa::available().collect::<Vec<_>>().into_iter().rev().collect();
    let (with_all, with_avx2) = (lab.isas_and(&every), lab.isas_and(&[Isa::Avx2]));
    lab.set_isas(with_all);
    gemm::run(lab, &gemm::SHAPES, 1)?;
    lab.set_isas(with_avx2.clone());
    let modes = [ScaleMode::Fixed, ScaleMode::Image, ScaleMode::Window];
    conv::run(lab, &conv::SHAPES.map(|shape| crate::cli::geometry(shape, 3, 1)), &[1, 2, 3, 4], &modes)?;
    weights::run(lab)?;
    lab.set_isas(isas.clone());
    network::run(lab, &network::many(), Depth::Record)?;
    lab.set_isas(with_avx2.into_iter().filter(|isa| !isas.contains(isa)).collect());
    network::run(lab, &network::few(), Depth::Overview)?;
    lab.set_isas(isas);
    curve::run(lab, &Curve::ALL)
}

/// Prints how `new` stands to `old`, and gives the exit status.
fn compare(old: &[Row], new: &[Row], all: bool, fail: bool, say: &dyn Fn(&str)) -> ExitCode {
    let comparison = Comparison::new(old, new);
    let (header, rows) = comparison.table(all);
    if !rows.is_empty() {
        say(&text::table("compared", &header, rows));
    }
    say(&format!("\n{}", comparison.summary().join("\n")));
    if fail && comparison.regressions() > 0 { ExitCode::from(1) } else { ExitCode::SUCCESS }
}

/// The suite `peak`: what the lab measured when it was opened.
fn peak(lab: &mut Lab) -> Result<(), String> {
    let mut table = Vec::new();
    let mut records = Vec::new();
    for peak in lab.peaks().iter() {
        let record = Record::new("peak", peak.name().into(), "limit", peak.unit(), peak.per_round(), peak.round());
        table.push(vec![
            peak.name().to_owned(),
            peak.unit().name().to_owned(),
            text::number(record.per_cycle()),
            text::number(Some(peak.per_ns())),
            peak.isa().map_or("-", |isa| isa.name()).to_owned(),
        ]);
        records.push(Record { isa: peak.isa(), limit_fraction: Some(1.0), ..record });
    }
    records.into_iter().try_for_each(|record| lab.emit(record))?;
    lab.table(
        "peak: the limits of this machine, one thread, in registers",
        &["instructions", "unit", "per cycle", "per ns", "limit of"],
        table,
    );
    if let Some((bits, others)) = lab.isas().first().and_then(|&isa| lab.peaks().of(isa)).map(|bits| {
        let over = |unit| lab.peaks().best(unit).map(|peak| bits.over(peak));
        (bits.name(), [("f32", over(Unit::Float)), ("int8", over(Unit::Int8))])
    }) {
        for (name, ratio) in others.into_iter().filter_map(|(name, ratio)| Some((name, ratio?))) {
            lab.say(&format!(
                "{bits}: {ratio:.1} / K times the best {name} at order K, so {name} wins from order {:.0}",
                ratio.floor() + 1.0
            ));
        }
    }
    Ok(())
}
