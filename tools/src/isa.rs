//! `horq isa`: which instruction sets there are, which one is used, and why.

use crate::cli;
use crate::failure::Failure;
use crate::table::Table;
use crate::terminal::Style;
use horq::Threads;
use horq::selftest::{FINGERPRINT, Fingerprint};
use horq_kernels::Isa;
use horq_probe::display::printable;
use serde_json::json;
use std::io::Write;

/// Runs the command.
pub(crate) fn isa(args: &cli::Isa, out: &mut dyn Write) -> Result<(), Failure> {
    let used = used()?;
    let forced = setting("HORQ_ISA");
    let required = setting("HORQ_REQUIRE_ISA");
    let failed = |error: horq::Error| Failure::Failed(error.to_string());
    let fingerprint = Fingerprint::of(used, Threads::Inline).map_err(failed)?.number();
    if args.json {
        let sets: Vec<_> = Isa::ALL
            .into_iter()
            .map(|isa| json!({"name": isa.name(), "available": isa.is_available(), "used": isa == used}))
            .collect();
        let document = json!({
            "arch": std::env::consts::ARCH, "used": used.name(), "horq_isa": forced, "horq_require_isa": required,
            "instruction_sets": sets, "fingerprint": fingerprint, "fingerprint_of_every_cpu": FINGERPRINT,
        });
        return Ok(writeln!(out, "{}", printable(&format!("{document:#}")))?);
    }
    let mut table = Table::new(&["instruction set", "counts bits with", "here", ""]);
    let mut sets = Isa::ALL;
    sets.reverse();
    for isa in sets {
        let mark = if isa == used { "used" } else { "" };
        table.row([isa.name().into(), isa.description().into(), here(isa), mark.into()]);
    }
    write!(out, "{}", table.render(Style::detect(false)))?;
    match &forced {
        Some(name) => writeln!(out, "\n{used} is used because HORQ_ISA={name} demands it.")?,
        None => writeln!(
            out,
            "\n{used} is used: the best that this CPU has. HORQ_ISA=NAME forces another; HORQ_REQUIRE_ISA=NAME,... \
             makes a missing one an error."
        )?,
    }
    if let Some(list) = required {
        writeln!(out, "HORQ_REQUIRE_ISA={list}: all there.")?;
    }
    match fingerprint == FINGERPRINT {
        true => writeln!(out, "Fingerprint of its answers: {fingerprint}, as on every CPU.")?,
        false => writeln!(
            out,
            "Fingerprint of its answers: {fingerprint}, but every CPU should give {FINGERPRINT}: `horq verify --selftest` tells \
             more."
        )?,
    }
    Ok(())
}

/// The instruction set that sessions use.
pub(crate) fn used() -> Result<Isa, Failure> {
    Isa::from_env().map_err(|error| Failure::Failed(error.to_string()))
}

fn setting(name: &str) -> Option<String> {
    // As `Isa::from_env` reads it, which has accepted it.
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn here(isa: Isa) -> String {
    match isa.arch() {
        _ if isa.is_available() => "yes".into(),
        Some(arch) if arch != std::env::consts::ARCH => format!("no: a set of {arch}"),
        _ => "no: this CPU lacks it".into(),
    }
}
