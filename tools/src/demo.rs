//! `horq demo`: the bundled LeNet reads digits that the program draws itself.

use crate::answer::{Confidence, top1};
use crate::cli;
use crate::digits::{self, SIZE};
use crate::failure::Failure;
use crate::model::{highest_order, note};
use crate::table::{Table, percent, time};
use crate::terminal::{Color, Style};
use horq::{Model, Session, SessionOptions};
use std::io::Write;
use std::time::Instant;

/// LeNet-5, trained on MNIST; its card lies beside the file in `models/`.
const LENET: &[u8] = include_bytes!("../models/lenet5.horq");

/// Orders shown side by side, if the model has them.
const ORDERS: usize = 4;
/// Of so many runs of one digit the fastest is shown.
const RUNS: usize = 50;
/// Pixels left out on each side of a picture: the ink stays inside a box of 20 pixels about the middle.
const MARGIN: usize = 2;
/// Columns of a picture and of the lines below it.
const CARD: usize = SIZE - 2 * MARGIN;
/// Columns between cards.
const GAP: usize = 3;
/// The most cards side by side: ten digits make two rows.
const ACROSS: usize = 5;

/// What the network says to one digit at one order.
struct Reading {
    class: usize,
    confidence: f64,
    nanoseconds: f64,
}

/// Runs the command.
pub(crate) fn demo(args: &cli::Demo, out: &mut dyn Write) -> Result<(), Failure> {
    let fail = |error: horq::Error| Failure::Failed(format!("the bundled model: {error}"));
    let style = Style::detect(args.ascii);
    let model = Model::from_bytes(LENET).map_err(fail)?;
    let highest = highest_order(&model);
    let orders: Vec<usize> = match args.order.map(usize::from) {
        Some(order) if order > highest => {
            note(&format!("the bundled model goes up to order {highest}, so --order {order} runs that"));
            vec![highest]
        }
        Some(order) => vec![order],
        None => (1..=highest.min(ORDERS)).collect(),
    };
    let mut session = Session::new(&model, SessionOptions::new()).map_err(fail)?;
    let confidence = Confidence::of(&model);
    let mut cards = Vec::with_capacity(10);
    let mut totals = vec![(0, 0.0, 0.0); orders.len()];
    for digit in 0..10 {
        let image = digits::draw(digit, args.seed);
        let mut card = style.picture(&image, SIZE, MARGIN);
        card.insert(0, style.paint(Color::Bold, &format!("{:^CARD$}", format!("drawn: {digit}"))));
        card.push(style.paint(Color::Dim, &format!("{:<CARD$}", "order is    sure    time")));
        for (&order, total) in orders.iter().zip(&mut totals) {
            session.set_order(order).map_err(fail)?;
            let reading = read(&mut session, confidence, &image).map_err(fail)?;
            let right = reading.class == digit;
            total.0 += usize::from(right);
            total.1 += reading.confidence;
            total.2 += reading.nanoseconds;
            card.push(line(style, order, right, &reading));
        }
        cards.push(card);
    }
    let across = ((style.width + GAP) / (CARD + GAP)).clamp(1, ACROSS);
    for row in cards.chunks(across) {
        for line in 0..row[0].len() {
            let parts: Vec<&str> = row.iter().map(|card| card[line].as_str()).collect();
            writeln!(out, "{}", parts.join(&" ".repeat(GAP)).trim_end())?;
        }
        writeln!(out)?;
    }
    let mut table = Table::new(&[">order", ">right", ">mean confidence", ">time a digit"]);
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
    let next = args.seed.wrapping_add(1);
    writeln!(
        out,
        "\nLeNet-5 with {} kernels on one thread; `horq demo --seed {next}` draws in another hand.",
        session.isa()
    )?;
    Ok(())
}

/// Runs one picture, its pixels as numbers from 0 to 255.
fn read(session: &mut Session, confidence: Confidence, image: &[u8]) -> Result<Reading, horq::Error> {
    let input: Vec<f32> = image.iter().map(|&ink| ink.into()).collect();
    let mut output = vec![0.0; session.output_len()];
    let mut nanoseconds = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        session.run(&input, &mut output)?;
        nanoseconds = nanoseconds.min(start.elapsed().as_nanos() as f64);
    }
    let class = top1(&output);
    Ok(Reading { class, confidence: confidence.probabilities(&output)[class], nanoseconds })
}

/// One order's line under a picture; a wrong answer is marked without colour, too.
fn line(style: Style, order: usize, right: bool, reading: &Reading) -> String {
    let mark = if right { ' ' } else { '!' };
    let color = if right { Color::Green } else { Color::Red };
    let class = style.paint(color, &format!("{}{mark}", reading.class));
    let (sure, time) = (percent(reading.confidence), time(reading.nanoseconds));
    format!("{order:>5} {class}{sure:>8}{}", style.paint(Color::Dim, &format!("{time:>8}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The drawn digits are good enough, and the bundled model whole: it reads nearly all of them, in a hundred hands.
    #[test]
    fn the_bundled_model_reads_what_is_drawn() {
        let model = Model::from_bytes(LENET).unwrap();
        let mut session = Session::new(&model, SessionOptions::new()).unwrap();
        let orders = highest_order(&model).min(ORDERS);
        let mut right = vec![[0; 10]; orders];
        for (digit, seed) in (0..1000).map(|i| (i % 10, i as u64 / 10)) {
            let input = digits::draw(digit, seed).map(f32::from);
            for order in 1..=orders {
                session.set_order(order).unwrap();
                let mut output = [0.0; 10];
                session.run(&input, &mut output).unwrap();
                right[order - 1][digit] += usize::from(top1(&output) == digit);
            }
        }
        for (right, order) in right.iter().zip(1..) {
            let all: usize = right.iter().sum();
            assert!(all >= 970 && right.iter().all(|&right| right >= 90), "order {order}: {all} of 1000, {right:?}");
        }
    }
}
