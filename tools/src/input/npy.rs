//! NumPy's `.npy`: a magic number, a version, a header that is a Python dictionary of three entries, and the values.
//! Source: NumPy Enhancement Proposal 1 and `numpy.lib.format`, versions 1.0 to 3.0.
//!
//! The header is scanned, not evaluated: no recursion, no allocation beyond its checked length, so a hostile file costs
//! nothing but its error.

use super::{Array, Values, count, expect_end, read_exactly, strides};
use std::io::BufRead;

/// NumPy itself refuses longer headers unless told otherwise (`max_header_size`).
const MAX_HEADER: usize = 10_000;

/// Reads one array to its end.
pub(super) fn decode(reader: &mut dyn BufRead) -> Result<Array, String> {
    let start = read_exactly(reader, 8, "the magic number")?;
    let width = match start[6] {
        1 => 2,
        2 | 3 => 4,
        major => return Err(format!("has npy version {major}; versions 1 to 3 can be read")),
    };
    let mut len = read_exactly(reader, width, "the header's length")?;
    len.resize(4, 0);
    let len = u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize;
    if len > MAX_HEADER {
        return Err(format!("has a header of {len} bytes, more than {MAX_HEADER}; it is damaged or no plain array"));
    }
    let header = read_exactly(reader, len, "the header")?;
    let header = std::str::from_utf8(&header).map_err(|_| "has a header that is not text".to_owned())?;
    let Header { descr, column_major, dims } = Header::parse(header)?;
    let len = count(&dims)?;
    let what = format!("data of {} of type {descr}", super::sizes(&dims));
    let values = match descr {
        "|u1" | "<u1" | "u1" => Values::U8(read_exactly(reader, len, &what)?),
        "<f4" => {
            let bytes = read_exactly(reader, 4 * len, &what)?;
            Values::F32(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
        }
        other => {
            return Err(format!(
                "holds values of type {other}; only float32 ('<f4') and uint8 ('|u1') can be read: save \
                 x.astype(numpy.float32)"
            ));
        }
    };
    expect_end(reader)?;
    let strides = if column_major {
        let mut reversed = strides(&dims.iter().rev().copied().collect::<Vec<_>>());
        reversed.reverse();
        reversed
    } else {
        strides(&dims)
    };
    Ok(Array { kind: "an npy array", dims, strides, values, labels: None })
}

/// The three entries of a header.
struct Header<'a> {
    descr: &'a str,
    column_major: bool,
    dims: Vec<usize>,
}

impl<'a> Header<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let damaged = |what: &str| format!("has a damaged header: {what}; save the array again with numpy.save");
        let entry = |key: &str| {
            ['\'', '"']
                .iter()
                .find_map(|quote| text.split_once(&format!("{quote}{key}{quote}")))
                .and_then(|(_, rest)| rest.trim_start().strip_prefix(':'))
                .map(str::trim_start)
                .ok_or_else(|| damaged(&format!("no entry `{key}`")))
        };
        let descr = entry("descr")?;
        if descr.starts_with('[') {
            return Err("holds records of several fields; save one field as a plain float32 array".into());
        }
        let mut parts = descr.splitn(3, ['\'', '"']);
        let (Some(""), Some(descr), Some(_)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(damaged("`descr` is not a string"));
        };
        let order = entry("fortran_order")?;
        let column_major = match (order.starts_with("True"), order.starts_with("False")) {
            (true, _) => true,
            (_, true) => false,
            _ => return Err(damaged("`fortran_order` is neither True nor False")),
        };
        let list = entry("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let (list, _) = list.ok_or_else(|| damaged("`shape` is not a tuple"))?;
        let dims = list.split(',').map(str::trim).filter(|size| !size.is_empty());
        // Python 2 wrote long integers with an L.
        let dims: Result<_, _> = dims.map(|size| size.trim_end_matches('L').parse::<usize>()).collect();
        let dims = dims.map_err(|_| damaged(&format!("`shape` holds a size that is no number: ({list})")))?;
        Ok(Self { descr, column_major, dims })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn decode_slice(mut bytes: &[u8]) -> Result<Array, String> {
        decode(&mut bytes)
    }

    #[test]
    fn row_and_column_major() {
        let data: Vec<u8> = [1f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let rows = file("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", &data);
        let array = decode_slice(&rows).unwrap();
        assert_eq!((array.dims, array.strides), (vec![2, 3], vec![3, 1]));
        assert_eq!(array.values, Values::F32(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let columns = file("{'descr': '<f4', 'fortran_order': True, 'shape': (2L, 3L)}", &data);
        assert_eq!(decode_slice(&columns).unwrap().strides, [1, 2]);
        for len in 0..rows.len() {
            assert!(decode_slice(&rows[..len]).unwrap_err().contains("cut short"), "{len} bytes");
        }
    }

    #[test]
    fn refusals_name_the_reason() {
        let refuse = |header: &str, data: &[u8]| decode_slice(&file(header, data)).unwrap_err();
        let of = |descr: &str, shape: &str| format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}");
        assert!(refuse(&of("'<f8'", "(1,)"), &[0; 8]).contains("<f8"));
        assert!(refuse(&of("'>f4'", "(1,)"), &[0; 4]).contains("astype(numpy.float32)"));
        assert!(refuse(&of("[('a', '<f4')]", "(1,)"), &[0; 4]).contains("records"));
        assert!(refuse(&of("'|u1'", "(4294967296, 4294967296)"), &[]).contains("more than"));
        assert!(refuse(&of("'|u1'", "(-1,)"), &[]).contains("no number"));
        assert!(refuse(&of("'|u1'", "3"), &[]).contains("not a tuple"));
        assert!(refuse(&of("'|u1'", "(1,)"), &[1, 2]).contains("after the end"));
        assert!(refuse("{'descr': '|u1'}", &[]).contains("no entry `fortran_order`"));
        assert!(refuse(&"(".repeat(20_000), &[]).contains("more than"));
        assert!(refuse(&"(".repeat(9_000), &[]).contains("no entry `descr`"));
        assert!(decode_slice(b"\x93NUMPY\x09\x00").unwrap_err().contains("version 9"));
    }
}
