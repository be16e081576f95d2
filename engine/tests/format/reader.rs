//! A second reader, written from `docs/format.md` alone: it parses files by hand and computes answers with plain loops. It
//! shares no code with the library, so where both agree to the bit, the document says what the library does.

mod functions;
mod moving;
mod sequences;

use std::collections::HashMap;

use horq::Model;
use serde_json::Value;

use crate::zoo::{
    answers, every_op, every_op_but_softmax, every_op_input, halving, packed, packed_input, small, small_input,
};

/// A value of the graph: height, width, channels (a vector is an image of one pixel) and the elements.
#[derive(Clone)]
struct Tensor {
    shape: [usize; 3],
    x: Vec<f32>,
}

pub(crate) use functions::is_open;

pub(crate) struct Reader<'a> {
    header: Value,
    data: &'a [u8],
    graph: Value,
    /// Section 5: a reader may run every layer at a lower order.
    order: usize,
    /// Section 2: the orders of an operating point, for the layers that it names.
    orders: serde_json::Map<String, Value>,
}

impl<'a> Reader<'a> {
    /// Sections 1 to 3.
    pub(crate) fn new(file: &'a [u8], order: usize) -> Self {
        let n = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&file[8..8 + n]).unwrap();
        let metadata = &header["__metadata__"];
        assert_eq!(metadata["format"], "horq");
        assert!(metadata["format_version"].as_str().unwrap().starts_with("1."));
        let graph = serde_json::from_str(metadata["graph"].as_str().unwrap()).unwrap();
        Self { header, data: &file[8 + n..], graph, order, orders: serde_json::Map::new() }
    }

    /// The reader of a file at one of its operating points, which it finds by name; by the word `default`, the default.
    pub(crate) fn at_point(file: &'a [u8], name: &str) -> Self {
        let mut reader = Self::new(file, 8);
        let text = reader.header["__metadata__"]["points"].as_str().unwrap();
        let points: Value = serde_json::from_str(text).unwrap();
        let name = if name == "default" { points["default"].as_str().unwrap() } else { name };
        let all = points["points"].as_array().unwrap();
        let point = all.iter().find(|point| point["name"] == name).unwrap();
        reader.orders = point["orders"].as_object().unwrap().clone();
        reader
    }

    /// The order of a binary layer that holds so many.
    fn order_of(&self, layer: &str, highest: usize) -> usize {
        self.orders.get(layer).map_or(self.order.min(highest), |order| order.as_u64().unwrap() as usize)
    }

    /// The 32-bit elements of the tensor that a field names.
    fn words(&self, field: &Value) -> Vec<u32> {
        let entry = &self.header[field.as_str().unwrap()];
        let offset = |i: usize| entry["data_offsets"][i].as_u64().unwrap() as usize;
        let bytes = self.data[offset(0)..offset(1)].chunks(4);
        bytes.map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap())).collect()
    }

    fn floats(&self, field: &Value) -> Vec<f32> {
        self.words(field).into_iter().map(f32::from_bits).collect()
    }

    pub(crate) fn run(&self, sample: &[f32]) -> Vec<f32> {
        self.run_many(&[sample]).remove(0)
    }

    /// Section 3: a sample of each input to the answer of each output.
    pub(crate) fn run_many(&self, samples: &[&[f32]]) -> Vec<Vec<f32>> {
        let all = |first: &str, more: &str| {
            let more = self.graph[more].as_array().cloned().unwrap_or_default();
            std::iter::once(self.graph[first].clone()).chain(more).collect::<Vec<Value>>()
        };
        let inputs = all("input", "more_inputs");
        assert_eq!(inputs.len(), samples.len());
        let mut values = HashMap::new();
        for (input, sample) in inputs.iter().zip(samples) {
            let shape: Vec<usize> = serde_json::from_value(input["shape"].clone()).unwrap();
            let shape = if shape.len() == 1 { [1, 1, shape[0]] } else { [shape[0], shape[1], shape[2]] };
            values.insert(input["name"].clone(), Tensor { shape, x: sample.to_vec() });
        }
        for node in self.graph["nodes"].as_array().unwrap() {
            let inputs: Vec<_> = node["inputs"].as_array().unwrap().iter().map(|name| values[name].clone()).collect();
            values.insert(node["name"].clone(), self.node(node, &inputs));
        }
        all("output", "more_outputs").iter().map(|name| values[name].x.clone()).collect()
    }

    /// Section 4.
    fn node(&self, node: &Value, inputs: &[Tensor]) -> Tensor {
        let x = &inputs[0];
        let [height, width, channels] = x.shape;
        let by_channel = |f: &dyn Fn(f32, usize) -> f32| Tensor {
            shape: x.shape,
            x: x.x.iter().enumerate().map(|(i, &x)| f(x, i % channels)).collect(),
        };
        match node["op"].as_str().unwrap() {
            "conv2d" | "dense" | "codebook_conv2d" | "codebook_dense" => self.float_layer(node, x),
            "binary_weight_conv2d" | "binary_weight_dense" => self.signed_layer(node, x),
            "binary_conv2d" | "binary_dense" => self.binary_layer(node, x),
            "int8_conv2d" | "int8_dense" => self.int8_layer(node, x),
            "affine" | "affine_by_order" => {
                let row = match node["rows"].as_array() {
                    Some(rows) => &rows[self.order_of(node["order_of"].as_str().unwrap(), rows.len()) - 1],
                    None => node,
                };
                let (scale, shift) = (self.floats(&row["scale"]), self.floats(&row["shift"]));
                by_channel(&|x, c| {
                    let product = x * scale[c];
                    product + shift[c]
                })
            }
            "relu" => by_channel(&|x, _| if x < 0.0 { 0.0 } else { x }),
            "hard_swish" => by_channel(&|x, _| x * (x + 3.0).clamp(0.0, 6.0) / 6.0),
            "prelu" => {
                let slope = self.floats(&node["slope"]);
                by_channel(&|x, c| if x >= 0.0 { x } else { x * slope[c] })
            }
            op @ ("max_pool" | "average_pool") => {
                let window = Window::of(node, x.shape);
                let mut y = Vec::new();
                for taps in window.all() {
                    let valid: Vec<usize> = taps.into_iter().flatten().collect();
                    for c in 0..channels {
                        let tap = valid.iter().map(|pixel| x.x[pixel * channels + c]);
                        y.push(match op {
                            "max_pool" => tap.reduce(f32::max).unwrap(),
                            _ => tap.fold(0.0, |s, x| s + x) / valid.len() as f32,
                        });
                    }
                }
                Tensor { shape: [window.out[0], window.out[1], channels], x: y }
            }
            "global_average_pool" => {
                let sum = |c| (0..height * width).fold(0.0, |s: f32, pixel| s + x.x[pixel * channels + c]);
                let y = (0..channels).map(|c| sum(c) / (height * width) as f32).collect();
                Tensor { shape: [1, 1, channels], x: y }
            }
            "add" => Tensor { shape: x.shape, x: x.x.iter().zip(&inputs[1].x).map(|(a, b)| a + b).collect() },
            "concat" => {
                let pixel = |i: usize| inputs.iter().flat_map(move |t| &t.x[i * t.shape[2]..][..t.shape[2]]);
                let y = (0..height * width).flat_map(pixel).copied().collect();
                Tensor { shape: [height, width, inputs.iter().map(|t| t.shape[2]).sum()], x: y }
            }
            "flatten" => Tensor { shape: [1, 1, x.x.len()], x: x.x.clone() },
            "softmax" => {
                let y = x.x.chunks(channels).flat_map(|x| {
                    let m = x.iter().copied().reduce(f32::max).unwrap();
                    let e: Vec<f32> = x.iter().map(|x| (x - m).exp()).collect();
                    let s: f32 = e.iter().fold(0.0, |s, e| s + e);
                    e.into_iter().map(move |e| e / s)
                });
                Tensor { shape: x.shape, x: y.collect() }
            }
            op => functions::node(self, node, inputs)
                .or_else(|| moving::node(self, node, inputs))
                .or_else(|| sequences::node(self, node, inputs))
                .unwrap_or_else(|| panic!("{op}")),
        }
    }

    fn float_layer(&self, node: &Value, x: &Tensor) -> Tensor {
        let layer = Layer::of(node, x.shape);
        let bias = self.bias(node, layer.filters);
        let depth = layer.window.taps() * layer.g;
        // Section 6: a group a channel and a filter a group; the panels are those of one channel to as many filters.
        let depthwise = layer.groups > 1 && layer.groups == layer.channels && layer.groups == layer.filters;
        let float_depthwise = depthwise && node.get("codes").is_none();
        let weight: Box<dyn Fn(usize, usize, usize) -> f32> = if node.get("codes").is_some() {
            let (codes, codebook) = (self.words(&node["codes"]), self.floats(&node["codebook"]));
            let b = match node["entries"].as_u64().unwrap() {
                0..=8 => 3,
                9..=16 => 4,
                _ => 5,
            };
            let per_word = 32 / b;
            let words = depth.div_ceil(per_word);
            Box::new(move |panel, k, lane| {
                let word = codes[(panel * words + k / per_word) * 16 + lane];
                codebook[(word >> (b * (k % per_word))) as usize % (1 << b)]
            })
        } else {
            let weight = self.floats(&node["weight"]);
            Box::new(move |panel, k, lane| weight[(panel * depth + k) * 16 + lane])
        };
        let mut y = Vec::new();
        for taps in layer.window.all() {
            for f in 0..layer.filters {
                let (panel, lane) = if float_depthwise { (f / 16, f % 16) } else { layer.lane(f) };
                let mut s = 0.0;
                for (t, pixel) in taps.iter().enumerate().filter_map(|(t, pixel)| Some((t, (*pixel)?))) {
                    for c in 0..layer.g {
                        let w = weight(panel, t * layer.g + c, lane);
                        s = x.x[layer.element(f, pixel, c)].mul_add(w, s);
                    }
                }
                y.push(bias.as_ref().map_or(s, |bias| s + bias[f]));
            }
        }
        Tensor { shape: [layer.window.out[0], layer.window.out[1], layer.filters], x: y }
    }

    /// Section 4, the sum of signed x.
    fn signed_layer(&self, node: &Value, x: &Tensor) -> Tensor {
        let layer = Layer::of(node, x.shape);
        let (bits, alpha) = (self.words(&node["weight"]), self.floats(&node["alpha"]));
        let bias = self.bias(node, layer.filters);
        let words = layer.g.div_ceil(32);
        let mut y = Vec::new();
        for taps in layer.window.all() {
            for f in 0..layer.filters {
                let (panel, lane) = layer.lane(f);
                let mut sum = 0.0f32;
                for (t, pixel) in taps.iter().enumerate().filter_map(|(t, pixel)| Some((t, (*pixel)?))) {
                    for word in 0..words {
                        let bits = bits[((panel * taps.len() + t) * words + word) * 16 + lane];
                        let s = |i: usize| match word * 32 + i {
                            c if c >= layer.g => 0.0,
                            c if bits >> i & 1 == 1 => -x.x[layer.element(f, pixel, c)],
                            c => x.x[layer.element(f, pixel, c)],
                        };
                        for (first, sixth) in [(0, true), (6, true), (12, false), (17, false), (22, false), (27, false)]
                        {
                            let last = if sixth { s(first + 5) } else { 0.0 };
                            let low = (s(first) + s(first + 1)) + s(first + 2);
                            sum += low + ((s(first + 3) + s(first + 4)) + last);
                        }
                    }
                }
                let product = alpha[f] * sum;
                y.push(bias.as_ref().map_or(product, |bias| product + bias[f]));
            }
        }
        Tensor { shape: [layer.window.out[0], layer.window.out[1], layer.filters], x: y }
    }

    /// Section 4, 8-bit layers.
    fn int8_layer(&self, node: &Value, x: &Tensor) -> Tensor {
        let layer = Layer::of(node, x.shape);
        let weight: Vec<i8> = self
            .words(&node["weight"])
            .into_iter()
            .flat_map(|word| word.to_le_bytes().map(|byte| byte as i8))
            .collect();
        let (alpha, zero_point) = (self.floats(&node["alpha"]), node["zero_point"].as_i64().unwrap());
        let inverse = 1.0 / self.floats(&node["input_scale"])[0];
        let bias = self.bias(node, layer.filters);
        let q = |x: f32| ((x * inverse).round_ties_even() as i64 + zero_point).clamp(0, 255);
        let columns = layer.window.kernel[1];
        let by_row = layer.groups == 1 && (layer.window.dilation[1] == 1 || columns == 1);
        let run = if by_row { columns * layer.g } else { layer.g };
        let rows = layer.window.taps() * layer.g / run * run.div_ceil(4);
        let mut y = Vec::new();
        for taps in layer.window.all() {
            for f in 0..layer.filters {
                let (panel, lane) = layer.lane(f);
                let mut sum = 0;
                for (t, pixel) in taps.iter().enumerate().filter_map(|(t, pixel)| Some((t, (*pixel)?))) {
                    for c in 0..layer.g {
                        let k = t * layer.g + c;
                        let row = panel * rows + k / run * run.div_ceil(4) + k % run / 4;
                        let w = weight[row * 64 + lane * 4 + k % run % 4];
                        sum += (q(x.x[layer.element(f, pixel, c)]) - zero_point) * i64::from(w);
                    }
                }
                let product = alpha[f] * sum as f32;
                y.push(bias.as_ref().map_or(product, |bias| product + bias[f]));
            }
        }
        Tensor { shape: [layer.window.out[0], layer.window.out[1], layer.filters], x: y }
    }

    /// Section 5.
    fn binary_layer(&self, node: &Value, x: &Tensor) -> Tensor {
        let layer = Layer::of(node, x.shape);
        let bases: Vec<_> = node["bases"].as_array().unwrap().iter().collect();
        let bases: Vec<_> = bases.iter().map(|b| (self.words(&b["weight"]), self.floats(&b["alpha"]))).collect();
        let bias = self.bias(node, layer.filters);
        let order = self.order_of(node["name"].as_str().unwrap(), node["order"].as_u64().unwrap() as usize);
        let mode = node["mode"].as_str().unwrap();
        let constants = match mode {
            "fixed" => self.floats(&node["scales"]),
            "halving" => {
                let b = self.floats(&node["scales"])[order - 1];
                (0..order as i32).map(|k| b / 2.0_f32.powi(k)).collect()
            }
            _ => vec![1.0; order],
        };
        let row = x.shape[1] * x.shape[2];
        let by_image = match mode {
            "image" => Some(scales(order, &x.x.chunks(row).collect::<Vec<_>>())),
            "fixed" | "none" | "halving" => Some(constants[..order].to_vec()),
            _ => None,
        };
        let words = layer.g.div_ceil(32);
        let mut y = Vec::new();
        for taps in layer.window.all() {
            for f in 0..layer.filters {
                let valid: Vec<&[f32]> =
                    taps.iter().flatten().map(|&pixel| &x.x[layer.element(f, pixel, 0)..][..layer.g]).collect();
                let b = by_image.clone().unwrap_or_else(|| scales(order, &valid));
                let (panel, lane) = layer.lane(f);
                let mut sum = 0.0;
                for (l, (bits, alpha)) in bases.iter().enumerate() {
                    let mut d = vec![0i32; order];
                    for (t, pixel) in taps.iter().enumerate() {
                        for c in 0..layer.g {
                            let word = bits[((panel * taps.len() + t) * words + c / 32) * 16 + lane];
                            let sign = if word >> (c % 32) & 1 == 1 { -1 } else { 1 };
                            let planes = match pixel {
                                Some(pixel) => signs(x.x[layer.element(f, *pixel, c)], &b),
                                None if node["pad_value"] == "one" => vec![1; order],
                                None => vec![0; order],
                            };
                            d.iter_mut().zip(planes).for_each(|(d, h)| *d += h * sign);
                        }
                    }
                    let product = if mode == "halving" {
                        let s = d.iter().fold(0_i64, |s, d| 2 * s + i64::from(*d));
                        (alpha[f] * b[order - 1]) * s as f32
                    } else {
                        alpha[f] * b.iter().zip(&d).fold(0.0, |t, (b, d)| t + b * *d as f32)
                    };
                    sum = if l == 0 { product } else { sum + product };
                }
                y.push(bias.as_ref().map_or(sum, |bias| sum + bias[f]));
            }
        }
        Tensor { shape: [layer.window.out[0], layer.window.out[1], layer.filters], x: y }
    }

    fn bias(&self, node: &Value, filters: usize) -> Option<Vec<f32>> {
        node.get("bias").filter(|bias| !bias.is_null()).map(|bias| self.floats(bias)[..filters].to_vec())
    }
}

/// The planes' signs of one element.
fn signs(x: f32, b: &[f32]) -> Vec<i32> {
    let (mut m, mut negative) = (x.abs(), x < 0.0);
    b.iter()
        .map(|b| {
            let h = if negative { -1 } else { 1 };
            negative ^= m < *b;
            m = (m - b).abs();
            h
        })
        .collect()
}

/// The means of a set of runs; each run's lanes are summed by themselves first.
fn scales(order: usize, runs: &[&[f32]]) -> Vec<f32> {
    let mut m: Vec<Vec<f32>> = runs.iter().map(|run| run.iter().map(|x| x.abs()).collect()).collect();
    let count: usize = m.iter().map(Vec::len).sum();
    (0..order)
        .map(|_| {
            let mut lanes = [0.0f32; 16];
            for run in &m {
                let mut row = [0.0f32; 16];
                run.iter().enumerate().for_each(|(j, m)| row[j % 16] += m);
                (0..16).for_each(|i| lanes[i] += row[i]);
            }
            for half in [8, 4, 2, 1] {
                (0..half).for_each(|i| lanes[i] += lanes[i + half]);
            }
            let b = if count == 0 { 0.0 } else { lanes[0] / count as f32 };
            m.iter_mut().flatten().for_each(|m| *m = (*m - b).abs());
            b
        })
        .collect()
}

struct Window {
    kernel: Vec<usize>,
    stride: Vec<usize>,
    dilation: Vec<usize>,
    padding: Vec<usize>,
    size: [usize; 2],
    out: [usize; 2],
}

impl Window {
    fn of(node: &Value, [height, width, _]: [usize; 3]) -> Self {
        let pair = |key: &str, default: &[usize]| match node.get(key) {
            Some(value) => serde_json::from_value(value.clone()).unwrap(),
            None => default.to_vec(),
        };
        let (kernel, stride, dilation) = (pair("kernel", &[1, 1]), pair("stride", &[1, 1]), pair("dilation", &[1, 1]));
        let padding = pair("padding", &[0; 4]);
        let size = [height, width];
        let out =
            [0, 1].map(|a| (size[a] + padding[a] + padding[a + 2] - (kernel[a] - 1) * dilation[a] - 1) / stride[a] + 1);
        Self { kernel, stride, dilation, padding, size, out }
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The taps of every output pixel: the input's pixel, or none where it is padding.
    fn all(&self) -> Vec<Vec<Option<usize>>> {
        let at = |axis: usize, out: usize, tap: usize| {
            let at = (out * self.stride[axis] + tap * self.dilation[axis]).checked_sub(self.padding[axis]);
            at.filter(|&at| at < self.size[axis])
        };
        let pixels = (0..self.out[0]).flat_map(|y| (0..self.out[1]).map(move |x| (y, x)));
        let window = |(y, x)| {
            let tap = |t: usize| Some(at(0, y, t / self.kernel[1])? * self.size[1] + at(1, x, t % self.kernel[1])?);
            (0..self.taps()).map(tap).collect()
        };
        pixels.map(window).collect()
    }
}

/// A layer with filters.
struct Layer {
    window: Window,
    filters: usize,
    groups: usize,
    channels: usize,
    /// Channels of a group.
    g: usize,
}

impl Layer {
    fn of(node: &Value, shape: [usize; 3]) -> Self {
        let filters = node["filters"].as_u64().unwrap() as usize;
        let groups = node["groups"].as_u64().unwrap_or(1) as usize;
        Self { window: Window::of(node, shape), filters, groups, channels: shape[2], g: shape[2] / groups }
    }

    /// Section 6: the panel and lane of a filter.
    fn lane(&self, f: usize) -> (usize, usize) {
        let per_group = self.filters / self.groups;
        let (r, q) = (f / per_group, f % per_group);
        (r * per_group.div_ceil(16) + q / 16, q % 16)
    }

    /// Where channel c of a filter's group lies at a pixel.
    fn element(&self, f: usize, pixel: usize, c: usize) -> usize {
        pixel * self.channels + f / (self.filters / self.groups) * self.g + c
    }
}

#[test]
fn a_reader_from_the_specification_gets_the_same_bits() {
    let files = [
        (small().to_bytes("logits").unwrap(), small_input()),
        (every_op_but_softmax().to_bytes("logits").unwrap(), every_op_input()),
        (every_op().to_bytes("probabilities").unwrap(), every_op_input()),
        (packed().to_bytes("logits").unwrap(), packed_input()),
        (halving().to_bytes("logits").unwrap(), every_op_input()),
    ];
    for (i, (file, input)) in files.iter().enumerate() {
        let model = Model::from_bytes(file).unwrap();
        for order in 1..=4 {
            let reader = Reader::new(file, order);
            let theirs: Vec<f32> = input.chunks(model.input_shape().len()).flat_map(|x| reader.run(x)).collect();
            let ours = answers(&model, order, input).unwrap();
            // The specification leaves the last place of softmax's exp open.
            let tolerance = if i == 2 { 1e-6 } else { 0.0 };
            let apart = ours.iter().zip(&theirs).any(|(a, b)| (a - b).abs() > tolerance);
            assert!(!apart && ours.len() == theirs.len(), "model {i}, order {order}: {ours:?} {theirs:?}");
        }
    }
}
