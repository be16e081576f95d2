//! CIFAR-10's binary version: records of a label and a picture of 32 x 32 pixels, red, green and blue planes by rows.
//! Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; the data set's page describes the
//! format. It has no magic number: a file is told by its size and its labels.

use super::{Array, MAX_VALUES, Values};
use std::io::{BufRead, Read};

/// What an [`Array`] from such a file calls itself.
pub(super) const KIND: &str = "a CIFAR-10 batch";

const CHANNELS: usize = 3;
const SIZE: usize = 32;
const PIXELS: usize = CHANNELS * SIZE * SIZE;
const RECORD: usize = 1 + PIXELS;
const CLASSES: u8 = 10;

/// Reads a whole file; none if it is no such file.
pub(super) fn decode(reader: &mut dyn BufRead) -> Result<Option<Array>, String> {
    let mut bytes = Vec::new();
    let limit = (MAX_VALUES / RECORD * RECORD) as u64;
    reader.take(limit + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.is_empty() || bytes.len() as u64 > limit || bytes.len() % RECORD != 0 {
        return Ok(None);
    }
    let labels: Vec<u8> = bytes.iter().step_by(RECORD).copied().collect();
    if labels.iter().any(|&label| label >= CLASSES) {
        return Ok(None);
    }
    let pixels = bytes.chunks_exact(RECORD).flat_map(|record| &record[1..]).copied().collect();
    let dims = vec![labels.len(), CHANNELS, SIZE, SIZE];
    Ok(Some(Array { labels: Some(labels), ..Array::row_major(KIND, dims, Values::U8(pixels)) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_and_labels() {
        let mut bytes = vec![7; 2 * RECORD];
        bytes[RECORD] = 9;
        bytes[RECORD + 1 + 2 * SIZE * SIZE] = 255;
        let array = decode(&mut &bytes[..]).unwrap().unwrap();
        assert_eq!(array.dims, [2, 3, 32, 32]);
        assert_eq!(array.labels, Some(vec![7, 9]));
        let Values::U8(pixels) = &array.values else { panic!("pixels are bytes") };
        assert_eq!((pixels.len(), pixels[PIXELS + 2 * SIZE * SIZE]), (2 * PIXELS, 255));
    }

    #[test]
    fn other_files_are_told_by_size_and_label() {
        for bytes in [vec![], vec![1; RECORD - 1], vec![1; RECORD + 1], vec![10; RECORD]] {
            assert!(decode(&mut &bytes[..]).unwrap().is_none(), "{} bytes", bytes.len());
        }
    }
}
