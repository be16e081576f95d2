//! Fits an array to a model's input: which axis is which, and where each sample's values lie.

use super::{Array, png, sizes};
use horq::graph::Shape;

/// In which order an image's axes stand in an array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arrangement {
    /// Whichever fits; channels last where both would.
    #[default]
    Auto,
    /// Height, width, channels, as the engine has them.
    Nhwc,
    /// Channels, height, width, as PyTorch has them.
    Nchw,
}

/// Where an array keeps the values of each sample.
#[derive(Debug)]
pub(crate) struct Layout {
    /// How many samples there are, at least one.
    pub(crate) samples: usize,
    sample_stride: usize,
    /// Size and stride of each axis, in the order in which the model reads.
    axes: Vec<[usize; 2]>,
}

impl Layout {
    /// Finds the samples of `array` for an input of that shape.
    ///
    /// An image model takes `[H,W,C]`, `[C,H,W]`, `[H,W]` (one channel) or one row of H*W*C values, a flat model any axes
    /// whose product is its length; each with or without an axis of samples before it.
    pub(crate) fn fit(array: &Array, shape: Shape, arrangement: Arrangement) -> Result<Self, String> {
        let rank = array.dims.len();
        // One sample, then with an axis of samples in front.
        let splits = [0, 1].into_iter().filter(|&split| split <= rank);
        for split in splits {
            let axes: Vec<[usize; 2]> = array.dims[split..]
                .iter()
                .zip(&array.strides[split..])
                .map(|(&size, &stride)| [size, stride])
                .collect();
            let Some(axes) = arrange(&axes, shape, arrangement, array.kind == png::KIND) else { continue };
            let (samples, sample_stride) = if split == 1 { (array.dims[0], array.strides[0]) } else { (1, 0) };
            if samples == 0 {
                return Err(format!("is {} of {}: it holds no sample", array.kind, array.sizes()));
            }
            return Ok(Self { samples, sample_stride, axes });
        }
        let arranged = if arrangement == Arrangement::Auto { "" } else { ", with the --layout given," };
        let axes = if array.kind == png::KIND { " (rows, columns, channels)" } else { "" };
        Err(format!("is {} of {}{axes}, but{arranged} the model takes {}", array.kind, array.sizes(), accepted(shape)))
    }

    /// Copies one sample in the order in which the model reads it.
    pub(crate) fn copy(&self, array: &Array, sample: usize, out: &mut [f32]) {
        fn copy_axes(array: &Array, start: usize, axes: &[[usize; 2]], out: &mut [f32]) {
            match *axes {
                [[size, stride], ref inner @ ..] if !inner.is_empty() => {
                    let chunk = out.len() / size;
                    for (index, out) in out.chunks_exact_mut(chunk).enumerate() {
                        copy_axes(array, start + index * stride, inner, out);
                    }
                }
                [[_, 0]] => {
                    array.values.gather(start, 1, &mut out[..1]);
                    let value = out[0];
                    out.fill(value);
                }
                [[_, stride]] => array.values.gather(start, stride, out),
                _ => array.values.gather(start, 1, out),
            }
        }
        copy_axes(array, sample * self.sample_stride, &self.axes, out);
    }
}

/// The axes of one sample in the model's order, if they fit.
fn arrange(axes: &[[usize; 2]], shape: Shape, arrangement: Arrangement, png: bool) -> Option<Vec<[usize; 2]>> {
    let dims: Vec<usize> = axes.iter().map(|axis| axis[0]).collect();
    let Shape::Image { height, width, channels } = shape else {
        let Shape::Flat(features) = shape else { return None };
        // The product was checked when the file was read.
        return (dims.iter().product::<usize>() == features).then(|| axes.to_vec());
    };
    let (last, first) = (arrangement != Arrangement::Nchw, arrangement != Arrangement::Nhwc);
    if last && dims == [height, width, channels] || channels == 1 && dims == [height, width] {
        return Some(axes.to_vec());
    }
    if first && dims == [channels, height, width] {
        return Some(vec![axes[1], axes[2], axes[0]]);
    }
    if last && dims == [height * width * channels] {
        return Some(axes.to_vec());
    }
    // A grey image has three equal channels.
    (png && dims == [height, width, 1] && channels == 3).then(|| vec![axes[0], axes[1], [3, 0]])
}

/// What a model's input accepts, for messages.
fn accepted(shape: Shape) -> String {
    match shape {
        Shape::Flat(features) => format!("{features} values a sample (or Nx{features})"),
        Shape::Image { height, width, channels } => {
            let colour = match channels {
                1 => "1 channel: grey".into(),
                3 => "3 channels: RGB".into(),
                _ => format!("{channels} channels"),
            };
            format!(
                "{} ({height} rows, {width} columns, {colour}) or {}, each also with an axis of samples in front; \
                 resize or reorder it",
                sizes(&[height, width, channels]),
                sizes(&[channels, height, width]),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Values;
    use super::*;

    const IMAGE: Shape = Shape::Image { height: 2, width: 3, channels: 2 };

    fn counting(dims: &[usize]) -> Array {
        let len = dims.iter().product::<usize>();
        Array::row_major("an npy array", dims.to_vec(), Values::F32((0..len).map(|v| v as f32).collect()))
    }

    fn sample(array: &Array, shape: Shape, arrangement: Arrangement, index: usize) -> Vec<f32> {
        let len = Vec::<usize>::from(shape).iter().product();
        let mut out = vec![f32::NAN; len];
        Layout::fit(array, shape, arrangement).unwrap().copy(array, index, &mut out);
        out
    }

    #[test]
    fn channels_last_first_and_flat() {
        let whole: Vec<f32> = (0..12).map(|v| v as f32).collect();
        let next: Vec<f32> = (12..24).map(|v| v as f32).collect();
        let turned = vec![0.0, 6.0, 1.0, 7.0, 2.0, 8.0, 3.0, 9.0, 4.0, 10.0, 5.0, 11.0];
        for dims in [&[2, 3, 2][..], &[12], &[1, 2, 3, 2], &[1, 12]] {
            assert_eq!(sample(&counting(dims), IMAGE, Arrangement::Auto, 0), whole, "{dims:?}");
        }
        assert_eq!(sample(&counting(&[2, 2, 3, 2]), IMAGE, Arrangement::Auto, 1), next);
        assert_eq!(sample(&counting(&[2, 2, 3]), IMAGE, Arrangement::Auto, 0), turned);
        assert_eq!(sample(&counting(&[5, 2, 2, 3]), IMAGE, Arrangement::Nchw, 0), turned);
        assert_eq!(sample(&counting(&[2, 2, 3]), Shape::Flat(12), Arrangement::Auto, 0), whole);
        assert_eq!(sample(&counting(&[2, 2, 3]), Shape::Flat(6), Arrangement::Auto, 1), whole[6..]);
        let grey = Shape::Image { height: 2, width: 3, channels: 1 };
        for dims in [&[2, 3][..], &[2, 3, 1], &[1, 2, 3], &[1, 1, 2, 3], &[1, 6]] {
            assert_eq!(sample(&counting(dims), grey, Arrangement::Auto, 0), whole[..6], "{dims:?}");
        }
        assert_eq!(sample(&counting(&[2, 2, 3]), grey, Arrangement::Auto, 1), whole[6..]);
    }

    #[test]
    fn the_arrangement_decides_where_both_fit() {
        let cube = Shape::Image { height: 2, width: 2, channels: 2 };
        let array = counting(&[2, 2, 2]);
        let straight: Vec<f32> = (0..8).map(|v| v as f32).collect();
        assert_eq!(sample(&array, cube, Arrangement::Auto, 0), straight);
        assert_eq!(sample(&array, cube, Arrangement::Nchw, 0), [0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]);
        assert!(Layout::fit(&counting(&[2, 2, 3]), IMAGE, Arrangement::Nhwc).is_err());
    }

    #[test]
    fn column_major_reads_by_its_strides() {
        let mut array = counting(&[3, 2]);
        array.strides = vec![1, 3];
        assert_eq!(sample(&array, Shape::Flat(2), Arrangement::Auto, 1), [1.0, 4.0]);
        assert_eq!(sample(&array, Shape::Flat(6), Arrangement::Auto, 0), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }

    #[test]
    fn a_grey_image_fills_three_channels() {
        let image = Array::row_major(png::KIND, vec![1, 2, 1], Values::U8(vec![3, 4]));
        let shape = Shape::Image { height: 1, width: 2, channels: 3 };
        assert_eq!(sample(&image, shape, Arrangement::Auto, 0), [3.0, 3.0, 3.0, 4.0, 4.0, 4.0]);
    }

    #[test]
    fn a_misfit_names_both_shapes() {
        let message = Layout::fit(&counting(&[5, 5]), IMAGE, Arrangement::Auto).unwrap_err();
        assert!(message.contains("5x5") && message.contains("2x3x2") && message.contains("2 rows"), "{message}");
        let empty = Array::row_major("an npy array", vec![0, 2, 3, 2], Values::F32(vec![]));
        assert!(Layout::fit(&empty, IMAGE, Arrangement::Auto).unwrap_err().contains("no sample"));
    }
}
