//! Which suites a command runs, and what becomes of their results.

use crate::chart::Figure;
use crate::cli::{Cli, Command, Reports};
use crate::harness::Harness;
use crate::output::{Output, create_folder, save};
use crate::programs;
use crate::report::compare::Comparison;
use crate::report::record::{self, Record};
use crate::report::{crossover, tables};
use crate::suites::curve::{self, Curve};
use crate::suites::network::Depth;
use crate::suites::{conv, gemm, network, peak, peers, weights};
use horq::escaped;
use horq_kernels::{Isa, ScaleMode};
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
    let output = Rc::new(Output::new(cli.options.json_to_stdout()));
    let result = execute(cli, &output);
    output.end(result)
}

fn execute(cli: &Cli, output: &Rc<Output>) -> Result<ExitCode, String> {
    let reports = &cli.reports;
    match &cli.command {
        Some(Command::Compare { old, new, runs, all, suite }) => {
            let (blocks, planned) = match &suite[..] {
                [] => (vec![[record::read_runs(old)?, record::read_runs(new)?]], 1),
                _ => programs::take_turns([old, new], suite, *runs)?,
            };
            let comparison = Comparison::new(&blocks, planned);
            comparison.report(*all, &|text| output.say(text));
            let failed = reports.fail_on_regression && comparison.regressions()? > 0;
            return Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS });
        }
        Some(Command::Tables { record }) => {
            if reports.documents.is_empty() {
                return Err("tables needs --document FILE.md, whose tables it rewrites".into());
            }
            return rewrite(reports, record).map(|()| ExitCode::SUCCESS);
        }
        _ if reports.fail_on_regression => {
            return Err("--fail-on-regression: one run cannot tell a change from noise; \
                        `horq-bench compare OLD_PROGRAM NEW_PROGRAM -- SUITE` makes enough of both, in turns"
                .into());
        }
        _ if !reports.documents.is_empty() && reports.record.is_none() => {
            return Err("--document needs --record DIR: its tables name the record that they come from".into());
        }
        _ => {}
    }
    // Whatever can be wrong is found before a minute of measuring, not after it.
    let draws = matches!(cli.command, None | Some(Command::Curve { .. } | Command::All(_)));
    let out = reports.out.as_deref().or(draws.then_some(Path::new(OUT)));
    out.map_or(Ok(()), create_folder)?;
    let mut beside = Vec::new();
    match &cli.command {
        Some(Command::Conv(arguments)) => arguments.check()?,
        Some(Command::Network(arguments)) => arguments.check()?,
        Some(Command::Curve { beside: other, .. } | Command::All(other)) => {
            beside = other.peers.as_deref().map(peers::read).transpose()?.unwrap_or_default();
        }
        _ => {}
    }
    let old = reports.compare.as_deref().map(record::read).transpose()?;
    let mut harness = Harness::new(&cli.options, output.clone())?;
    measure(&mut harness, cli.command.as_ref())?;
    harness.save_json()?;
    if let Some(warning) = harness.loaded() {
        harness
            .say(&format!("\n{warning} The spread is how much longer the slowest round took; the least time counts."));
    }
    // A record of its own, beside that of the other suites.
    let suite = matches!(cli.command, Some(Command::Peers(_))).then_some("peers");
    keep(&harness, reports, suite)?;
    if let Some(first) = beside.first() {
        let title = format!("from which order on others win: the record of {}, commit {}", first.date, first.commit);
        harness.say(&crossover::table(&title, &crossover::contests(&beside)));
    }
    if let Some(out) = out {
        write(&harness, out, &beside)?;
    }
    if let Some(old) = old {
        let blocks = [[vec![old], vec![harness.records.clone()]]];
        Comparison::new(&blocks, 1).report(true, &|text| harness.say(text));
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(harness: &mut Harness, command: Option<&Command>) -> Result<(), String> {
    match command {
        None => {
            peak::run(harness)?;
            gemm::run(harness, &gemm::Arguments::default())?;
            conv::run(harness, &conv::Arguments::default())?;
            weights::run(harness)?;
            curve::run(harness, &Curve::ALL)?;
            network::run(harness, &network::Arguments::few(), Depth::Overview)
        }
        Some(Command::Peak) => peak::run(harness),
        Some(Command::Gemm(arguments)) => gemm::run(harness, arguments),
        Some(Command::Conv(arguments)) => conv::run(harness, arguments),
        Some(Command::Weights) => weights::run(harness),
        Some(Command::Curve { curves, .. }) => {
            curve::run(harness, if curves.is_empty() { &Curve::ALL } else { curves })
        }
        Some(Command::Network(arguments)) => network::run(harness, arguments, Depth::Whole),
        Some(Command::Peers(arguments)) => peers::run(harness, arguments),
        Some(Command::All(_)) => all(harness),
        Some(Command::Compare { .. } | Command::Tables { .. }) => unreachable!("these measure nothing"),
    }
}

/// Everything that a record keeps: the best backend in all suites, the others where their part of their own limits is of interest.
fn all(harness: &mut Harness) -> Result<(), String> {
    peak::run(harness)?;
    let isas = harness.isas.clone();
    // The best first.
    let every: Vec<Isa> = Isa::available().collect::<Vec<_>>().into_iter().rev().collect();
    let (with_all, with_avx2) = (harness.isas_and(&every), harness.isas_and(&[Isa::Avx2]));
    harness.isas = with_all;
    gemm::run(harness, &gemm::Arguments::default())?;
    harness.isas = with_avx2.clone();
    let mode = vec![ScaleMode::Fixed, ScaleMode::Image, ScaleMode::Window, ScaleMode::Halving];
    conv::run(harness, &conv::Arguments { order: vec![1, 2, 3, 4], mode, ..conv::Arguments::default() })?;
    weights::run(harness)?;
    harness.isas = isas.clone();
    network::run(harness, &network::Arguments::many(), Depth::Record)?;
    harness.isas = with_avx2.into_iter().filter(|isa| !isas.contains(isa)).collect();
    network::run(harness, &network::Arguments::few(), Depth::Overview)?;
    harness.isas = isas;
    curve::run(harness, &Curve::ALL)
}

/// Keeps the record and rewrites the documents that show it.
fn keep(harness: &Harness, reports: &Reports, suite: Option<&str>) -> Result<(), String> {
    let Some(folder) = &reports.record else { return Ok(()) };
    let path = harness.record_path(folder, suite);
    path.parent().map_or(Ok(()), create_folder)?;
    save(&path, record::csv(&harness.records))?;
    harness.say(&format!("record kept in {}", escaped(&path)));
    rewrite(reports, &path)
}

fn rewrite(reports: &Reports, record: &Path) -> Result<(), String> {
    reports.documents.iter().try_for_each(|document| tables::rewrite(document, record))
}

/// Writes results and figures into a folder; those of `peers` from the record beside, where there is one.
fn write(harness: &Harness, out: &Path, beside: &[Record]) -> Result<(), String> {
    save(&out.join("results.jsonl"), harness.lines())?;
    save(&out.join("results.csv"), record::csv(&harness.records))?;
    let (turns, caption) = match beside {
        [] => (&harness.records[..], harness.caption()),
        _ => (beside, peers::caption(beside)),
    };
    let figures: Vec<(String, Figure)> = gemm::figure(harness)
        .into_iter()
        .chain(Curve::ALL.into_iter().filter_map(|which| curve::figure(harness, which)))
        .chain(curve::times(harness, &crossover::contests(beside)))
        .chain(peers::figures(turns, &caption))
        .collect();
    for (name, figure) in &figures {
        figure.write(out, name)?;
    }
    let names: Vec<&str> = figures.iter().map(|(name, _)| name.as_str()).collect();
    let drawn = if names.is_empty() { String::new() } else { format!(", {} (.svg, .png)", names.join(", ")) };
    harness.say(&format!("\nwritten to {}: results.jsonl, results.csv{drawn}", escaped(out)));
    Ok(())
}
