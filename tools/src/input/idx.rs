//! IDX, the format of the MNIST files: two zero bytes, a type, the number of axes, their sizes as big-endian u32, data.
//! Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section on file formats.

use super::{Array, Values, count, expect_end, read_exactly};
use std::io::BufRead;

/// What an [`Array`] from such a file calls itself.
pub(super) const KIND: &str = "an IDX file";

/// The type code of unsigned bytes.
const UNSIGNED_BYTE: u8 = 0x08;

/// Reads one IDX file to its end.
pub(super) fn decode(reader: &mut dyn BufRead) -> Result<Array, String> {
    let magic = read_exactly(reader, 4, "the magic number")?;
    let (kind, axes) = (magic[2], usize::from(magic[3]));
    if magic[..2] != [0, 0] || !(0x08..=0x0e).contains(&kind) {
        return Err("begins like an IDX file, but its type is none of that format".into());
    }
    if kind != UNSIGNED_BYTE {
        return Err(format!("holds values of IDX type {kind:#04x}; only unsigned bytes (0x08) can be read"));
    }
    if !(1..=4).contains(&axes) {
        return Err(format!("has {axes} axes; images have 3 or 4, labels 1"));
    }
    let header = read_exactly(reader, 4 * axes, "the list of sizes")?;
    let dims: Vec<usize> =
        header.chunks_exact(4).map(|size| u32::from_be_bytes([size[0], size[1], size[2], size[3]]) as usize).collect();
    let values = read_exactly(reader, count(&dims)?, &format!("data of {}", super::sizes(&dims)))?;
    expect_end(reader)?;
    Ok(Array::row_major(KIND, dims, Values::U8(values)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_values() {
        let bytes = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3, 4, 5, 255];
        let array = decode(&mut &bytes[..]).unwrap();
        assert_eq!(array.dims, [2, 1, 3]);
        assert_eq!(array.values, Values::U8(vec![1, 2, 3, 4, 5, 255]));
        for len in 0..bytes.len() {
            assert!(decode(&mut &bytes[..len]).unwrap_err().contains("cut short"), "{len} bytes");
        }
    }

    #[test]
    fn refusals_name_the_reason() {
        let refuse = |bytes: &[u8]| decode(&mut &bytes[..]).unwrap_err();
        assert!(refuse(&[0, 0, 0x0d, 1, 0, 0, 0, 0]).contains("0x0d"));
        assert!(refuse(&[0, 0, 8, 0]).contains("0 axes"));
        assert!(refuse(&[0, 0, 1, 1]).contains("none of that format"));
        assert!(refuse(&[0, 0, 8, 2, 255, 255, 255, 255, 255, 255, 255, 255]).contains("more than"));
        assert!(refuse(&[0, 0, 8, 1, 0, 0, 0, 1, 7, 7]).contains("after the end"));
    }
}
