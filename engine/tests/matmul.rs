//! Matrix products of two values beside plain loops, to the bit, and beside f64.

mod common;

use common::everywhere::everywhere;
use common::random::{rng, values};
use common::{Net, assert_same_bits, options, run};
use horq::graph::Shape;
use horq::ops::{Add, Affine, Conv2d, MatMul, MaxPool, Relu, Softmax};
use horq::{Builder, Error, Isa, Session, Window};
use rand::Rng;

/// Which of the two values has one row for all.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Single {
    None,
    First,
    Second,
}

/// A net of one product: the first value [h, m, k], the second [h, m, n], or [h, n, k] where n = m if transposed.
struct Product {
    net: Net,
    /// The nets of the two values alone.
    parts: [Net; 2],
    sizes: [usize; 4],
    transposed: bool,
    single: Single,
}

fn conv(rng: &mut impl Rng, channels: usize, filters: usize) -> Conv2d<horq::PlainValues<'static>> {
    let weight: Vec<f32> = (0..channels * filters).map(|_| rng.random_range(-1.0..1.0)).collect();
    Conv2d::new(Window::square(1), filters, weight)
}

impl Product {
    fn new(seed: u64, [h, m, channels]: [usize; 3], transposed: bool, single: Single) -> Self {
        let rng = &mut rng(seed);
        let shape = Shape::Image { height: h, width: m, channels };
        let (k, n) = if transposed { (channels, m) } else { (m, channels) };
        // Over the rows, whose largest values make one.
        let mut window = Window::square(1);
        window.kernel = [h, 1];
        let value = |net: Net, name: &str, conv: Conv2d<_>, is_single: bool| {
            let net = net.node(name, &["x"], conv);
            if is_single { net.node(&format!("{name}1"), &[name], MaxPool::new(window)) } else { net }
        };
        let convs = [conv(rng, channels, k), conv(rng, channels, channels)];
        let parts = [
            value(Net::new(shape), "a", convs[0].clone(), single == Single::First),
            value(Net::new(shape), "b", convs[1].clone(), single == Single::Second),
        ];
        let net = value(Net::new(shape), "a", convs[0].clone(), single == Single::First);
        let net = value(net, "b", convs[1].clone(), single == Single::Second);
        let names = parts.each_ref().map(|part| part.output().to_owned());
        let op = if transposed { MatMul::transposed() } else { MatMul::new() };
        let net = net.node("y", &[&names[0], &names[1]], op);
        Self { net, parts, sizes: [h, m, k, n], transposed, single }
    }

    /// Calls `each` with every output's factors, sample by sample.
    fn each(&self, input: &[f32], mut each: impl FnMut(&[(f32, f32)])) {
        let [h, m, k, n] = self.sizes;
        for sample in input.chunks(self.net.input.len()) {
            let [a, b] = self
                .parts
                .each_ref()
                .map(|part| run(&mut Session::new(&part.model(), options(1, Isa::Portable)).unwrap(), sample));
            for r in 0..h {
                let [a_row, b_row] = [Single::First, Single::Second].map(|one| if self.single == one { 0 } else { r });
                for i in 0..m {
                    for j in 0..n {
                        let b_at = |c: usize| if self.transposed { j * k + c } else { c * n + j };
                        let factors = |c| (a[(a_row * m + i) * k + c], b[b_row * k * n + b_at(c)]);
                        each(&(0..k).map(factors).collect::<Vec<_>>());
                    }
                }
            }
        }
    }
}

#[test]
fn products_are_sums_of_fused_steps() {
    let sizes = [[1, 1, 1], [1, 5, 3], [3, 7, 16], [2, 17, 33], [4, 40, 20], [1, 41, 24], [5, 3, 130]];
    for (i, sizes) in sizes.into_iter().enumerate() {
        for transposed in [false, true] {
            for single in [Single::None, Single::First, Single::Second] {
                let what = format!("{sizes:?}, transposed {transposed}, {single:?}");
                let product = Product::new(i as u64, sizes, transposed, single);
                let answers = everywhere(&product.net, 70 + i as u64);
                let mut expected = Vec::new();
                product.each(&answers.input, |factors| {
                    let sum = factors.iter().fold(0.0f32, |sum, &(a, b)| a.mul_add(b, sum));
                    let exact = factors.iter().fold([0.0; 2], |[sum, all], &(a, b)| {
                        let product = f64::from(a) * f64::from(b);
                        [sum + product, all + product.abs()]
                    });
                    let bound = factors.len() as f64 * f64::from(f32::EPSILON) * exact[1];
                    assert!((f64::from(sum) - exact[0]).abs() <= bound, "{what}: {sum}, but {exact:?}");
                    expected.push(sum);
                });
                assert_same_bits(&answers.output, &expected, &what);
            }
        }
    }
}

/// An affine, a summand and an activation behind a product run in its epilogue, row by row of the image.
#[test]
fn what_follows_a_product_is_fused_into_it() {
    let product = Product::new(9, [3, 6, 21], true, Single::None);
    let rng = &mut rng(10);
    let (scale, shift) = (values(rng, 6), values(rng, 6));
    let net = product.net.clone().node("mask", &["x"], conv(rng, 21, 6));
    let net = net.node("scaled", &["y"], Affine::new(scale.clone(), shift.clone()));
    let net = net.node("masked", &["mask", "scaled"], Add).node("z", &["masked"], Relu);
    let answers = everywhere(&net, 11);
    let mask = Net { nodes: net.nodes.iter().filter(|(name, ..)| name == "mask").cloned().collect(), ..net.clone() };
    let mut session = Session::new(&mask.model(), options(3, Isa::Portable)).unwrap();
    let mask = run(&mut session, &answers.input);
    let mut expected = Vec::new();
    product.each(&answers.input, |factors| {
        let sum = factors.iter().fold(0.0f32, |sum, &(a, b)| a.mul_add(b, sum));
        let i = expected.len();
        let scaled = sum * scale[i % 6];
        let masked = scaled + shift[i % 6] + mask[i];
        expected.push(if masked < 0.0 { 0.0 } else { masked });
    });
    assert_same_bits(&answers.output, &expected, "fused");
    let session = Session::new(&net.model(), options(1, Isa::Portable)).unwrap();
    let layer = session.profile().iter().find(|layer| layer.name == "y").unwrap();
    assert_eq!(layer.fused, ["scaled", "masked", "z"]);
    assert_eq!(layer.macs.float, 3 * 6 * 6 * 21);
}

#[test]
fn a_value_times_itself_and_vectors() {
    // x xᵀ of a vector is its square; the softmax keeps the product from being the whole model.
    let net = Net::new(Shape::Flat(5)).node("square", &["x", "x"], MatMul::transposed()).then("y", Softmax);
    let model = net.model();
    assert_eq!(model.shapes(), [Shape::Flat(1), Shape::Flat(1)]);
    let net = Net::new(Shape::Flat(5)).node("y", &["x", "x"], MatMul::transposed());
    let answers = everywhere(&net, 12);
    for (x, y) in answers.input.chunks(5).zip(&answers.output) {
        assert_eq!(x.iter().fold(0.0f32, |sum, x| x.mul_add(*x, sum)).to_bits(), y.to_bits());
    }
}

fn refusal(first: Shape, second_filters: usize, op: MatMul) -> String {
    let mut builder = Builder::new("x", first);
    builder.add("b", &["x"], conv(&mut rng(1), first.channels(), second_filters)).unwrap();
    let error = builder.add("y", &["x", "b"], op).unwrap_err();
    assert!(matches!(error, Error::Graph(_)), "{error:?}");
    error.to_string()
}

#[test]
fn shapes_that_do_not_go_together_are_refused() {
    let image = Shape::Image { height: 2, width: 4, channels: 3 };
    let text = refusal(image, 3, MatMul::new());
    assert!(text.contains("`y` (matmul)") && text.contains("2x4x3 and 2x4x3") && text.contains("width of the second"));
    let text = refusal(image, 5, MatMul::transposed());
    assert!(text.contains("2x4x3 and 2x4x5") && text.contains("make the channels of the two equal"), "{text}");
    let mut flag = MatMul::new();
    flag.transposed = 2;
    assert!(refusal(image, 3, flag).contains("transposed is 2; it must be 0 or 1"));
    let mut builder = Builder::new("x", image);
    let mut window = Window::square(1);
    (window.kernel, window.padding) = ([2, 1], [1, 0, 1, 0]);
    builder.add("b", &["x"], MaxPool::new(window)).unwrap();
    let text = builder.add("y", &["x", "b"], MatMul::transposed()).unwrap_err().to_string();
    assert!(text.contains("2x4x3 and 3x4x3") && text.contains("make the heights equal, or one of them 1"), "{text}");
    let text = builder.add("y", &["x"], MatMul::new()).unwrap_err().to_string();
    assert!(text.contains("reads 1 values, but must read 2"), "{text}");
}
