//! Classifies images in the IDX format of MNIST, at every order that the model holds.
//!
//! `cargo run --release --example classify -- MODEL.horq IMAGES.idx3-ubyte [LABELS.idx1-ubyte]`
//!
//! Pixels go into the model as they are, 0 to 255; a model made for other values says so in its note `input`.

use horq::{Model, Order, Session, SessionOptions};
use std::error::Error;
use std::time::Instant;

/// Images of one run; a dense layer reads its weights once for all of them.
const BATCH: usize = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (model, images, labels) = match &arguments[..] {
        [model, images] => (model, images, None),
        [model, images, labels] => (model, images, Some(labels)),
        _ => return Err("usage: classify MODEL.horq IMAGES.idx3-ubyte [LABELS.idx1-ubyte]".into()),
    };
    let model = Model::open(model)?;
    if let Some(input) = model.notes().get("input") {
        println!("the model's input: {input}");
    }
    let pixels: Vec<f32> = idx(images)?.into_iter().map(f32::from).collect();
    let labels = labels.map(|path| idx(path)).transpose()?;

    let mut session = Session::new(&model, SessionOptions::new().batch(BATCH))?;
    if pixels.is_empty() || !pixels.len().is_multiple_of(session.input_len()) {
        let (found, shape) = (pixels.len(), model.input_shape());
        return Err(format!("{images} holds {found} pixels, which are no whole number of {shape} images").into());
    }
    let highest = session.profile().iter().filter_map(|layer| layer.order()).max().unwrap_or(1);
    for order in 1..=highest {
        session.set_order(Order::new(order)?);
        let start = Instant::now();
        let classes = classify(&mut session, &pixels)?;
        let each = start.elapsed().as_secs_f64() * 1e6 / classes.len() as f64;
        print!("order {order}: {} images, {each:.1} us each", classes.len());
        match &labels {
            Some(labels) if labels.len() == classes.len() => {
                let right = classes.iter().zip(labels).filter(|(class, label)| **class == usize::from(**label)).count();
                println!(", {right} right ({:.2} %)", 100.0 * right as f64 / classes.len() as f64);
            }
            Some(labels) => return Err(format!("{} labels for {} images", labels.len(), classes.len()).into()),
            None => println!(", the first are {:?}", &classes[..classes.len().min(10)]),
        }
    }
    Ok(())
}

/// The class with the largest value of each image.
fn classify(session: &mut Session, pixels: &[f32]) -> Result<Vec<usize>, horq::Error> {
    let (input_len, output_len) = (session.input_len(), session.output_len());
    let mut classes = Vec::with_capacity(pixels.len() / input_len);
    let mut scores = vec![0.0; BATCH * output_len];
    for images in pixels.chunks(BATCH * input_len) {
        let scores = &mut scores[..images.len() / input_len * output_len];
        session.run(images, scores)?;
        let best = |scores: &[f32]| (0..output_len).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap_or(0);
        classes.extend(scores.chunks(output_len).map(best));
    }
    Ok(classes)
}

/// The bytes of an IDX file of unsigned bytes: four bytes of magic, the last the number of dimensions, four bytes each.
fn idx(path: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    match bytes[..] {
        [0, 0, 8, dimensions, ..] if bytes.len() >= 4 + 4 * usize::from(dimensions) => {
            let (header, data) = bytes.split_at(4 + 4 * usize::from(dimensions));
            let sizes = header[4..].chunks(4).map(|size| u32::from_be_bytes([size[0], size[1], size[2], size[3]]));
            let elements: usize = sizes.map(|size| size as usize).product();
            match elements == data.len() {
                true => Ok(data.to_vec()),
                false => Err(format!("{path} states {elements} bytes of data, but holds {}", data.len()).into()),
            }
        }
        _ => Err(format!("{path} is no IDX file of bytes; if it ends in .gz, unpack it first").into()),
    }
}
