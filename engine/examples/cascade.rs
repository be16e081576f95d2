//! Accuracy and mean time of every operating point and every cascade of a model, image by image, on CIFAR-10 batches.
//!
//!     cargo run --release -p horq --example cascade -- tuned.horq test_batch.bin

use horq::{Model, RunOptions, Session, SessionOptions};
use std::time::Instant;

/// Bytes of an image in a batch: its label, then 32 x 32 pixels of red, of green, of blue.
const IMAGE: usize = 1 + 3 * 1024;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((path, batches)) = arguments.split_first() else { return Err("give a model and CIFAR-10 batches".into()) };
    let model = Model::open(path)?;
    let mut session = Session::new(&model, SessionOptions::new())?;
    if session.input_len() != IMAGE - 1 {
        return Err("the model does not read images of 32x32x3".into());
    }
    let mut images: Vec<(u8, Vec<f32>)> = Vec::new();
    for batch in batches {
        for image in std::fs::read(batch)?.chunks_exact(IMAGE) {
            let pixels = (0..1024).flat_map(|pixel| (0..3).map(move |channel| 1 + channel * 1024 + pixel));
            images.push((image[0], pixels.map(|place| f32::from(image[place])).collect()));
        }
    }
    println!(
        "{path}: {} images, {}\n\n| answered by | accuracy | again | mean, us |\n|---|---|---|---|",
        images.len(),
        session.isa()
    );
    let points = model.points();
    let mut output = vec![0.0; session.output_len()];
    for point in 0..points.all.len() + points.cascades.len() {
        let (mut right, mut again, mut nanoseconds) = (0, 0, 0);
        let cascade = point.checked_sub(points.all.len());
        let name = match cascade {
            None => points.all[point].name.clone(),
            Some(cascade) => format!("{}, then {}", points.cascades[cascade].low, points.cascades[cascade].high),
        };
        if cascade.is_none() {
            session.set_point(&name)?;
        }
        for (label, image) in &images {
            let began = Instant::now();
            match cascade {
                None => session.run(image, &mut output)?,
                Some(cascade) => again += session.run_cascade(cascade, image, &mut output, &RunOptions::new())?,
            }
            nanoseconds += began.elapsed().as_nanos();
            let best = (0..output.len()).max_by(|&a, &b| output[a].total_cmp(&output[b]));
            right += usize::from(best == Some(usize::from(*label)));
        }
        let count = images.len() as f64;
        let share = |part: usize| 100.0 * part as f64 / count;
        println!(
            "| {name} | {:.2} % | {:.1} % | {:.1} |",
            share(right),
            share(again),
            nanoseconds as f64 / count / 1000.0
        );
    }
    Ok(())
}
