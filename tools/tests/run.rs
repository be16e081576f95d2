//! `horq run`: every kind of input, right and wrong.

mod common;

use common::{Files, answers, gzip, horq, idx, network, noise, npy, npy_f32, png};

/// Three samples of 2x2 pixels whose brightest are 2, 0 and 3.
const PIXELS: [u8; 12] = [1, 2, 200, 3, 250, 0, 0, 9, 4, 5, 6, 7];

fn classes(said: common::Said) -> Vec<u64> {
    let lines = said.ok();
    let line =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["top"][0]["class"].as_u64().unwrap();
    lines.lines().map(line).collect()
}

#[test]
fn arrays_images_and_data_sets_give_the_same_answers() {
    let files = Files::new();
    let model = files.brightest();
    let floats = PIXELS.map(f32::from);
    let batches = [
        files.write("f32.npy", &npy_f32(&[3, 2, 2, 1], &floats)),
        files.write("nchw.npy", &npy_f32(&[3, 1, 2, 2], &floats)),
        files.write("rows.npy", &npy_f32(&[3, 4], &floats)),
        files.write("u8.npy", &npy("|u1", &[3, 2, 2], &PIXELS)),
        files.write("images.idx", &idx(&[3, 2, 2], &PIXELS)),
        files.write("images.idx.gz", &gzip(&idx(&[3, 2, 2], &PIXELS))),
    ];
    for batch in &batches {
        for size in ["1", "2", "64"] {
            assert_eq!(
                classes(horq(&["run", &model, batch, "--json", "--batch", size])),
                [2, 0, 3],
                "{batch} by {size}"
            );
        }
    }
    let images: Vec<String> = (0..3)
        .map(|i| files.write(&format!("{i}.png"), &png(png::ColorType::Grayscale, [2, 2], &PIXELS[4 * i..4 * i + 4])))
        .collect();
    assert_eq!(
        classes(horq(&["run", &model, &images[0], &images[1], &images[2], &batches[0], "--json"])),
        [2, 0, 3, 2, 0, 3]
    );
    let rgb: Vec<u8> = PIXELS[..4].iter().flat_map(|&v| [v; 3]).collect();
    let grey_in_rgb = files.write("rgb.png", &png(png::ColorType::Rgb, [2, 2], &rgb));
    assert_eq!(classes(horq(&["run", &model, &grey_in_rgb, "--json"])), [2]);
}

#[test]
fn text_shows_the_likeliest_classes_of_each_sample() {
    let files = Files::new();
    let model = files.brightest();
    let input = files.write("x.npy", &npy_f32(&[2, 4], &[0.0, 2.0, 1.0, -1.0, 5.0, 0.0, 0.0, 0.0]));
    let text = horq(&["run", &model, &input, "--top", "2"]).ok();
    // Softmax of (0, 2, 1, -1): .087, .644, .237, .032.
    assert_eq!(text, format!("{input}[0]  1  64.4 %  2  23.7 %\n{input}[1]  0  98.0 %  1   0.7 %\n"));
    let scaled = horq(&["run", &model, &input, "--top", "1", "--scale", "-1", "--shift", "-3"]).ok();
    assert!(scaled.contains("[0]  3 ") && scaled.contains("[1]  1 "), "{scaled}");
}

#[test]
fn labels_give_the_accuracy() {
    let files = Files::new();
    let model = files.brightest();
    let images = files.write("images.gz", &gzip(&idx(&[3, 2, 2], &PIXELS)));
    let labels = files.write("labels.gz", &gzip(&idx(&[3], &[2, 1, 3])));
    let text = horq(&["run", &model, &images, "--labels", &labels]).ok();
    assert!(text.starts_with("top-1 accuracy 66.67 %: 2 of 3 right, 1 wrong\n"), "{text}");
    let json = horq(&["run", &model, &images, "--labels", &labels, "--json", "--batch", "2"]).json();
    assert_eq!((json["right"].as_u64(), json["samples"].as_u64()), (Some(2), Some(3)));
}

#[test]
fn answers_are_the_library_s_at_every_order_batch_and_thread_count() {
    let files = Files::new();
    let model = files.network();
    let input = noise(7 * 192, 20);
    let path = files.write("x.npy", &npy_f32(&[7, 8, 8, 3], &input));
    let outputs = |args: &[&str]| -> Vec<f32> {
        let args = [&["run", &model, &path, "--json", "--top", "5"], args].concat();
        let mut outputs = vec![0.0; 35];
        for (i, line) in horq(&args).ok().lines().enumerate() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            for top in line["top"].as_array().unwrap() {
                outputs[5 * i + top["class"].as_u64().unwrap() as usize] = top["output"].as_f64().unwrap() as f32;
            }
        }
        outputs
    };
    let full = answers(&network(true), &input);
    assert_eq!(outputs(&[]), full);
    assert_eq!(outputs(&["--batch", "3", "--threads", "2"]), full);
    let (first, mixed) = (outputs(&["--order", "1"]), outputs(&["--order", "1", "--layer-order", "conv2=3"]));
    assert_ne!(first, full);
    assert_ne!(mixed, full);
    assert_ne!(mixed, first);
    assert_eq!(outputs(&["--order", "1", "--layer-order", "conv2=3", "--layer-order", "fc1=2"]), full);
}

#[test]
fn an_order_beyond_the_model_is_said_aloud() {
    let files = Files::new();
    let model = files.network();
    let input = files.write("x.npy", &npy_f32(&[8, 8, 3], &noise(192, 1)));
    let said = horq(&["run", &model, &input, "--order", "5"]);
    assert_eq!(said.code, 0);
    assert!(said.err.contains("up to order 3"), "{}", said.err);
    let said = horq(&["run", &files.brightest(), &files.write("y.npy", &npy_f32(&[4], &[0.0; 4])), "--order", "2"]);
    assert!(said.code == 0 && said.err.contains("no layer is binary"), "{said:?}");
}

#[test]
fn cifar_batches_bring_their_labels_and_notes_the_names() {
    let files = Files::new();
    let model = files.named();
    // The brightest channel of the first pixel is the class.
    let record = |label: u8, colour: usize| {
        let mut record = vec![0; 1 + 3 * 1024];
        record[0] = label;
        record[1 + 1024 * colour] = 9;
        record
    };
    let batch = files.write("batch.bin", &[record(0, 0), record(2, 2), record(1, 0)].concat());
    let text = horq(&["run", &model, &batch, "--top", "1"]).ok();
    let found: Vec<&str> = text.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(found, ["red", "blue", "red"], "{text}");
    let text = horq(&["run", &model, &batch, "--labels", &batch]).ok();
    assert!(text.contains("2 of 3 right"), "{text}");
    let json = horq(&["run", &model, &batch, "--top", "1", "--json"]).ok();
    assert!(json.lines().next().unwrap().contains(r#""name":"red""#), "{json}");
}

#[test]
fn bad_inputs_are_named() {
    let files = Files::new();
    let model = files.brightest();
    let fails = |bytes: &[u8], words: &[&str]| {
        let path = files.write("bad", bytes);
        horq(&["run", &model, &path]).fails(1, &[&["error: ", &path], words].concat());
    };
    let good = npy_f32(&[2, 2], &[0.0; 4]);
    fails(&good[..good.len() - 1], &["cut short", "copy it again"]);
    fails(&good[..40], &["cut short"]);
    fails(&npy_f32(&[3, 3], &[0.0; 9]), &["3x3", "2x2x1", "2 rows, 2 columns"]);
    fails(&npy("<f8", &[2, 2], &[0; 32]), &["<f8", "astype(numpy.float32)"]);
    fails(&npy_f32(&[0, 2, 2], &[]), &["no sample"]);
    fails(&npy_f32(&[2, 2], &[0.0, f32::NAN, 0.0, 0.0]), &["value 1", "NaN"]);
    fails(b"", &["is empty"]);
    fails(&[0; 100], &["filled with zeros", "which is no input", "again"]);
    fails(&[200; 100], &["neither an npy array, a PNG image, an IDX file nor"]);
    fails(b"GIF89a", &["a GIF picture", "save it as PNG"]);
    let image = png(png::ColorType::Grayscale, [2, 2], &[1, 2, 3, 4]);
    let mut damaged = image.clone();
    let data = image.windows(4).position(|name| name == b"IDAT").unwrap();
    damaged[data + 6] ^= 1;
    fails(&damaged, &["damaged PNG", "save it again"]);
    fails(&image[..image.len() - 20], &["PNG"]);
    fails(&png(png::ColorType::Grayscale, [3, 2], &[0; 6]), &["PNG image of 3x2x1", "2x2x1"]);
    fails(&png(png::ColorType::Rgb, [2, 2], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3]), &["2x2x3", "2x2x1", "grey"]);
    fails(&gzip(&idx(&[3, 2, 2], &PIXELS))[..20], &["cannot be read"]);
    fails(&idx(&[4, 2, 2], &PIXELS), &["cut short"]);
    horq(&["run", &model, &files.path("absent.npy")]).fails(1, &["absent.npy", "cannot be opened"]);
    horq(&["run", &model, &files.path("")]).fails(1, &["is a directory"]);
}

#[test]
fn bad_labels_are_named() {
    let files = Files::new();
    let model = files.brightest();
    let images = files.write("images", &idx(&[3, 2, 2], &PIXELS));
    let fails = |bytes: &[u8], words: &[&str]| {
        let labels = files.write("labels", bytes);
        horq(&["run", &model, &images, "--labels", &labels]).fails(1, &[&[labels.as_str()], words].concat());
    };
    fails(&idx(&[2], &[0, 1]), &["2 labels", "3 samples"]);
    fails(&idx(&[3], &[0, 1, 4]), &["label 2 is 4", "4 outputs"]);
    fails(&idx(&[3, 2, 2], &PIXELS), &["not a list of labels"]);
    fails(&npy("|u1", &[3], &[0, 1, 2]), &["not a list of labels"]);
}

#[test]
fn bad_models_and_arguments_are_named() {
    let files = Files::new();
    let (model, network) = (files.brightest(), files.network());
    let input = files.write("x.npy", &npy_f32(&[4], &[0.0; 4]));
    let image = files.write("i.npy", &npy_f32(&[8, 8, 3], &[0.0; 192]));
    horq(&["run", &files.path("absent.horq"), &input]).fails(1, &["absent.horq"]);
    horq(&["run", &files.path(""), &input]).fails(1, &["is a directory"]);
    horq(&["run", &input, &input]).fails(1, &["x.npy", "not a .horq file", "where inputs are asked for"]);
    horq(&["run", &network, &image, "--layer-order", "conv9=1"]).fails(2, &["conv9", "conv2, fc1"]);
    horq(&["run", &network, &image, "--layer-order", "fc1=3"]).fails(2, &["fc1=3"]);
    for wrong in [
        &["--order", "9"][..],
        &["--order", "0"],
        &["--layer-order", "conv2"],
        &["--layer-order", "conv2=0"],
        &["--top", "0"],
        &["--batch", "0"],
        &["--threads", "0"],
        &["--threads", "100000"],
        &["--scale", "nan"],
        &["--layout", "hwcn"],
    ] {
        horq(&[&["run", &model, &input], wrong].concat()).fails(2, &["error: "]);
    }
    horq(&["run", &model]).fails(2, &["INPUTS"]);
}
