//! PNG images as arrays of height x width x channels, 8 bits a channel.

use super::{Array, Values};
use png::{ColorType, DecodingError, Transformations};
use std::io::{BufRead, Cursor, Read};

/// What an [`Array`] from such a file calls itself.
pub(super) const KIND: &str = "a PNG image";

/// The most memory that one image may take, so that a tiny file cannot claim a huge one.
const MAX_BYTES: usize = 256 << 20;

/// Reads one image: palettes are expanded, 16-bit channels narrowed to 8, an alpha channel that hides nothing is dropped,
/// and colour whose channels are all equal is grey.
pub(super) fn decode(reader: &mut dyn BufRead) -> Result<Array, String> {
    let mut file = Vec::new();
    reader.take(MAX_BYTES as u64).read_to_end(&mut file).map_err(|error| format!("cannot be read: {error}"))?;
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(file), png::Limits { bytes: MAX_BYTES });
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut image = decoder.read_info().map_err(describe)?;
    // The decoder takes a palette's colours to be whole.
    if image.info().palette.as_ref().is_some_and(|palette| palette.is_empty() || palette.len() % 3 != 0) {
        return Err("is a damaged PNG image: its palette holds a part of a colour; save it again".into());
    }
    let size = image.output_buffer_size().filter(|&size| size <= MAX_BYTES);
    let size = size.ok_or_else(|| format!("is a PNG image of more than {MAX_BYTES} bytes; make it smaller"))?;
    let mut pixels = vec![0; size];
    let info = image.next_frame(&mut pixels).map_err(describe)?;
    image.finish().map_err(describe)?;
    pixels.truncate(info.buffer_size());
    let mut channels = info.color_type.samples();
    if matches!(info.color_type, ColorType::GrayscaleAlpha | ColorType::Rgba) {
        if pixels.chunks_exact(channels).any(|pixel| pixel[channels - 1] != 255) {
            return Err("is a PNG image with transparent pixels; save it without an alpha channel".into());
        }
        pixels = keep(&pixels, channels, channels - 1);
        channels -= 1;
    }
    if channels == 3 && pixels.chunks_exact(3).all(|pixel| pixel[0] == pixel[1] && pixel[0] == pixel[2]) {
        pixels = keep(&pixels, 3, 1);
        channels = 1;
    }
    let dims = vec![info.height as usize, info.width as usize, channels];
    Ok(Array::row_major(KIND, dims, Values::U8(pixels)))
}

/// The first `kept` of every `channels` values.
fn keep(pixels: &[u8], channels: usize, kept: usize) -> Vec<u8> {
    pixels.chunks_exact(channels).flat_map(|pixel| &pixel[..kept]).copied().collect()
}

fn describe(error: DecodingError) -> String {
    match error {
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "is a PNG image that is cut short; copy it again".into()
        }
        DecodingError::IoError(error) => format!("cannot be read: {error}"),
        DecodingError::LimitsExceeded => format!("is a PNG image of more than {MAX_BYTES} bytes; make it smaller"),
        error => format!("is a damaged PNG image: {error}; save it again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(color: ColorType, depth: png::BitDepth, size: [u32; 2], pixels: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, size[1], size[0]);
        encoder.set_color(color);
        encoder.set_depth(depth);
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
        bytes
    }

    fn decode_slice(mut bytes: &[u8]) -> Result<Array, String> {
        decode(&mut bytes)
    }

    #[test]
    fn grey_colour_and_alpha() {
        let bit = png::BitDepth::Eight;
        let grey = decode_slice(&encode(ColorType::Grayscale, bit, [2, 3], &[0, 1, 2, 3, 4, 255])).unwrap();
        assert_eq!((grey.dims, grey.values), (vec![2, 3, 1], Values::U8(vec![0, 1, 2, 3, 4, 255])));
        let colour = decode_slice(&encode(ColorType::Rgb, bit, [1, 2], &[9, 8, 7, 5, 5, 5])).unwrap();
        assert_eq!((colour.dims, colour.values), (vec![1, 2, 3], Values::U8(vec![9, 8, 7, 5, 5, 5])));
        let equal = decode_slice(&encode(ColorType::Rgba, bit, [1, 2], &[9, 9, 9, 255, 5, 5, 5, 255])).unwrap();
        assert_eq!((equal.dims, equal.values), (vec![1, 2, 1], Values::U8(vec![9, 5])));
        let sixteen = encode(ColorType::Grayscale, png::BitDepth::Sixteen, [1, 1], &[0xab, 0xcd]);
        assert_eq!(decode_slice(&sixteen).unwrap().values, Values::U8(vec![0xab]));
        let clear = encode(ColorType::GrayscaleAlpha, bit, [1, 1], &[9, 254]);
        assert!(decode_slice(&clear).unwrap_err().contains("transparent"));
    }

    #[test]
    fn a_palette_of_parts_of_colours_is_refused() {
        let file = include_bytes!("../../../fuzz/regressions/inputs/palette_of_parts.png");
        assert!(decode_slice(file).unwrap_err().contains("palette"));
    }

    #[test]
    fn damage_is_found() {
        let whole = encode(ColorType::Grayscale, png::BitDepth::Eight, [4, 4], &[7; 16]);
        for len in 0..whole.len() {
            assert!(decode_slice(&whole[..len]).is_err(), "{len} bytes");
        }
        let data = whole.windows(4).position(|name| name == b"IDAT").unwrap() + 6;
        let mut flipped = whole;
        flipped[data] ^= 4;
        assert!(decode_slice(&flipped).unwrap_err().contains("damaged"));
    }
}
