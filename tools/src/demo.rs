//! `horq demo`: bundled networks read digits that the program draws itself, or name the pictures of a CIFAR-10 batch.

mod subject;

use crate::answer::{Confidence, top1};
use crate::cli;
use crate::failure::Failure;
use crate::model::{highest_order, note};
use crate::table::{Table, percent, time};
use crate::terminal::{Color, Style};
use horq::{Order, Session, SessionOptions};
use horq_probe::display::{columns, padded, padded_left};
use std::io::Write;
use std::time::Instant;
use subject::{Picture, Subject};

/// Orders shown side by side, if the model has them.
const ORDERS: usize = 4;
/// Of so many runs of one picture the fastest is shown.
const RUNS: usize = 50;
/// Columns between cards.
const GAP: usize = 3;
/// The most cards side by side: ten make two rows.
const ACROSS: usize = 5;

/// What the network says to one picture at one order.
struct Reading {
    class: usize,
    confidence: f64,
    nanoseconds: f64,
}

/// Runs the command.
pub(crate) fn demo(args: &cli::Demo, out: &mut dyn Write) -> Result<(), Failure> {
    let subject = Subject::of(args)?;
    let fail = |error: horq::Error| Failure::Failed(format!("the bundled model: {error}"));
    let style = Style::detect(args.ascii);
    let highest = highest_order(&subject.model);
    let orders: Vec<usize> = match args.order.map(usize::from) {
        Some(order) if order > highest => {
            note(&format!("the bundled model goes up to order {highest}, so --order {order} runs that"));
            vec![highest]
        }
        Some(order) => vec![order],
        None => (1..=highest.min(ORDERS)).collect(),
    };
    let mut session = Session::new(&subject.model, SessionOptions::new()).map_err(fail)?;
    let confidence = Confidence::of(&subject.model);
    let width = subject.width();
    let mut cards = Vec::with_capacity(subject.pictures.len());
    let mut totals = vec![(0, 0.0, 0.0); orders.len()];
    for picture in &subject.pictures {
        let mut card = style.picture(&picture.grey, subject.size, subject.margin);
        let name = &subject.classes[picture.class];
        let title = format!("{}: {name}", subject.told);
        let centred = padded_left(&title, (width + columns(&title)) / 2);
        card.insert(0, style.paint(Color::Bold, &padded(&centred, width)));
        card.push(style.paint(Color::Dim, &subject.heading()));
        for (&order, total) in orders.iter().zip(&mut totals) {
            session.set_order(Order::new(order).map_err(fail)?);
            let reading = read(&mut session, confidence, picture).map_err(fail)?;
            total.0 += usize::from(reading.class == picture.class);
            total.1 += reading.confidence;
            total.2 += reading.nanoseconds;
            card.push(line(style, &subject, order, picture, &reading));
        }
        cards.push(card);
    }
    let across = ((style.width + GAP) / (width + GAP)).clamp(1, ACROSS);
    for row in cards.chunks(across) {
        for line in 0..row[0].len() {
            let parts: Vec<&str> = row.iter().map(|card| card[line].as_str()).collect();
            writeln!(out, "{}", parts.join(&" ".repeat(GAP)).trim_end())?;
        }
        writeln!(out)?;
    }
    let mut table = Table::new(&[">order", ">right", ">mean confidence", ">time a picture"]);
    for (order, (right, confidence, nanoseconds)) in orders.iter().zip(totals) {
        let n = cards.len() as f64;
        table.row([
            order.to_string(),
            format!("{right} of {}", cards.len()),
            percent(confidence / n),
            time(nanoseconds / n),
        ]);
    }
    write!(out, "{}", table.render(style))?;
    writeln!(out, "\n{} with {} kernels on one thread; {}", subject.title, session.isa(), subject.next)?;
    Ok(())
}

/// Runs one picture.
fn read(session: &mut Session, confidence: Confidence, picture: &Picture) -> Result<Reading, horq::Error> {
    let mut output = vec![0.0; session.output_len()];
    let mut nanoseconds = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        session.run(&picture.input, &mut output)?;
        nanoseconds = nanoseconds.min(start.elapsed().as_nanos() as f64);
    }
    let class = top1(&output);
    Ok(Reading { class, confidence: confidence.probabilities(&output)[class], nanoseconds })
}

/// One order's line under a picture; a wrong answer is marked without colour, too.
fn line(style: Style, subject: &Subject, order: usize, picture: &Picture, reading: &Reading) -> String {
    let (mark, color) = if reading.class == picture.class { (' ', Color::Green) } else { ('!', Color::Red) };
    let width = subject.name_width();
    let class = style.paint(color, &padded(&format!("{}{mark}", subject.classes[reading.class]), width));
    let (sure, time) = (percent(reading.confidence), time(reading.nanoseconds));
    format!("{order:>5} {class}{sure:>8}{}", style.paint(Color::Dim, &format!("{time:>8}")))
}
