//! High-order residual quantization as the paper states it (HORQ, section 3): the worked example, what is true of the
//! residuals, and the counterexamples to what is said of them and is not.

mod common;

use common::{Layer, backends, rng};
use horq_kernels::{Geometry, MAX_ORDER, ScaleMode};
use horq_oracle::{Means, Residuals, planes};
use rand::Rng;
use rand::rngs::StdRng;

const X: [f32; 4] = [-1.1, 0.9, 0.8, 0.5];
const W: [f32; 4] = [0.8, 0.7, 0.7, 0.9];
const B: [f64; 4] = [0.825, 0.175, 0.125, 0.025];
const H: [[i32; 4]; 4] = [[-1, 1, 1, 1], [-1, 1, -1, -1], [-1, -1, 1, -1], [1, 1, 1, -1]];
const ESTIMATES: [f64; 4] = [1.27875, 1.0075, 0.81375, 0.8525];

fn normal(rng: &mut StdRng) -> f64 {
    let (u, v): (f64, f64) = (rng.random_range(f64::EPSILON..1.0), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[test]
fn the_worked_example_by_the_formulas() {
    let (x, w) = (X.map(f64::from), W.map(f64::from));
    let exact: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
    assert!((exact - 0.76).abs() < 1e-6, "{exact}");
    let residuals = Residuals::new(&x, 4);
    for k in 0..4 {
        assert!((residuals.scales[k] - B[k]).abs() < 1e-7, "b_{}: {}", k + 1, residuals.scales[k]);
        assert_eq!(residuals.signs[k], H[k].map(f64::from), "H_{}", k + 1);
        let estimate = residuals.dot(&w, k + 1);
        assert!((estimate - ESTIMATES[k]).abs() < 1e-6, "order {}: {estimate}", k + 1);
    }
    assert!(residuals.energy(4) < 1e-12, "R_4 = 0");
    // The limit is a X . sign(W), because W stays at the first order, and not X . W.
    let a = w.iter().sum::<f64>() / 4.0;
    assert!((a - 0.775).abs() < 1e-7);
    assert!((residuals.dot(&w, 4) - a * x.iter().sum::<f64>()).abs() < 1e-12);
}

#[test]
fn the_worked_example_on_every_backend() {
    let quantized = planes(&[&X], 4, Means::Runs).expect("finite");
    for k in 0..4 {
        assert_eq!(quantized.signs[k], H[k]);
        assert!((f64::from(quantized.scales[k]) - B[k]).abs() < 1e-6);
    }
    for mode in [ScaleMode::Window, ScaleMode::Image] {
        let mut layer = Layer::plain(Geometry::dense(4, 1), mode, W.to_vec(), X.to_vec());
        layer.bases[0].1 = vec![0.775];
        let panels = layer.panels();
        for isa in backends() {
            for (k, estimate) in ESTIMATES.iter().enumerate() {
                layer.order = k + 1;
                let y = layer.run(isa, &panels).expect("finite")[0];
                assert!((f64::from(y) - estimate).abs() < 1e-6, "{isa}, {mode:?}, order {}: {y}", k + 1);
            }
        }
    }
}

#[test]
fn residuals_are_orthogonal_and_lose_energy() {
    for seed in 0..2000 {
        let mut rng = rng(seed);
        let n = rng.random_range(1..200);
        let x: Vec<f64> = common::values(&mut rng, n).into_iter().map(f64::from).collect();
        let residuals = Residuals::new(&x, MAX_ORDER);
        let energy = residuals.energy(0);
        for k in 1..=MAX_ORDER {
            let (h, r) = (&residuals.signs[k - 1], &residuals.residuals[k]);
            let dot: f64 = r.iter().zip(h).map(|(r, h)| r * h).sum();
            assert!(dot.abs() <= 1e-12 * n as f64 * x.iter().fold(0.0, |m, x| x.abs().max(m)), "R_{k} . H_{k} = {dot}");
            let (before, after, b) = (residuals.energy(k - 1), residuals.energy(k), residuals.scales[k - 1]);
            assert!((after - (before - n as f64 * b * b)).abs() <= 1e-12 * energy, "energy at order {k}, seed {seed}");
            assert!(after <= (1.0 - 1.0 / n as f64) * before + 1e-12 * energy, "bound at order {k}, seed {seed}");
            assert!(after <= before * (1.0 + 1e-12), "the error never grows with the order");
        }
    }
}

/// The planes in f32 are those of the formulas wherever no decision is near a tie, and the error does not grow either.
#[test]
fn exact_planes_follow_the_formulas() {
    for seed in 0..500 {
        let mut rng = rng(seed);
        let n = rng.random_range(1..400);
        let x: Vec<f32> = (0..n).map(|_| normal(&mut rng) as f32).collect();
        let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let exact = planes(&[&x], 4, Means::Runs).expect("finite");
        let formula = Residuals::new(&wide, 4);
        for k in 0..4 {
            assert!((f64::from(exact.scales[k]) - formula.scales[k]).abs() < 1e-5, "b_{}, seed {seed}", k + 1);
            for i in 0..n {
                if formula.residuals[k][i].abs() > 1e-5 {
                    assert_eq!(
                        f64::from(exact.signs[k][i]),
                        formula.signs[k][i],
                        "H_{}, element {i}, seed {seed}",
                        k + 1
                    );
                }
            }
        }
    }
}

/// Relative squared error at orders 1 to 4 of the three distributions that the orders are judged by.
#[test]
fn residual_energy_of_known_distributions() {
    type Draw = fn(&mut StdRng) -> f64;
    let table: [(&str, Draw, [f64; 4]); 3] = [
        ("normal", normal, [0.363, 0.130, 0.058, 0.033]),
        ("uniform", |rng| rng.random_range(-1.0..1.0), [0.25, 0.0625, 0.0156, 0.0039]),
        ("rectified normal", |rng| normal(rng).max(0.0), [0.682, 0.256, 0.164, 0.093]),
    ];
    for (name, draw, expected) in table {
        let mut rng = rng(7);
        let x: Vec<f64> = (0..400_000).map(|_| draw(&mut rng)).collect();
        let residuals = Residuals::new(&x, 4);
        for (k, expected) in expected.into_iter().enumerate() {
            let error = residuals.energy(k + 1) / residuals.energy(0);
            assert!((error - expected).abs() < 0.003, "{name}, order {}: {error}, not {expected}", k + 1);
        }
    }
}

/// One exact step of the recursion on magnitudes that are integers over a common denominator: |n m - sum m|.
fn step(magnitudes: &[i64]) -> Vec<i64> {
    let (n, sum) = (magnitudes.len() as i64, magnitudes.iter().sum::<i64>());
    magnitudes.iter().map(|m| (n * m - sum).abs()).collect()
}

/// "An n-vector has at most n orders": no. This one of four elements takes eight.
#[test]
fn four_elements_can_take_eight_orders() {
    let mut magnitudes = vec![0, 0, 1, 12];
    for order in 1..=8 {
        assert!(magnitudes.iter().any(|&m| m != 0), "the residual is zero before order {order}");
        magnitudes = step(&magnitudes);
    }
    assert_eq!(magnitudes, [0; 4]);
    // All its numbers are multiples of powers of two, so the kernels' arithmetic is exact too.
    let exact = planes(&[&[0.0, 0.0, 1.0, 12.0]], 8, Means::Runs).expect("finite");
    assert!(exact.scales.iter().all(|&b| b > 0.0), "{:?}", exact.scales);
    assert_eq!(exact.residual, [0.0; 4]);
    let mut layer = Layer::plain(Geometry::dense(4, 1), ScaleMode::Window, vec![1.0; 4], vec![0.0, 0.0, 1.0, 12.0]);
    let panels = layer.panels();
    for isa in backends() {
        for order in 1..=8 {
            layer.order = order;
            let y = layer.run(isa, &panels).expect("finite")[0];
            let estimate: f32 = (0..order).map(|k| exact.scales[k] * exact.signs[k].iter().sum::<i32>() as f32).sum();
            assert_eq!(y, estimate, "{isa}, order {order}");
        }
        assert_eq!(layer.run(isa, &panels), Ok(vec![13.0]), "{isa}: the eighth order is exact");
    }
}

/// Some vectors of three and of five elements never end: the residual is the vector itself, scaled.
#[test]
fn three_and_five_elements_need_not_end() {
    for n in [3i64, 5] {
        let mut magnitudes = vec![1; n as usize];
        magnitudes[n as usize - 1] = n - 1;
        let scaled: Vec<i64> = magnitudes.iter().map(|m| m * (n - 2)).collect();
        // n R_1 = (n - 2) R_0, and so on for ever.
        assert_eq!(step(&magnitudes), scaled);
        let residuals = Residuals::new(&magnitudes.iter().map(|&m| m as f64).collect::<Vec<_>>(), 40);
        assert!((1..=40).all(|k| residuals.energy(k) > 0.0), "{n} elements");
    }
}

/// "Scales decrease": no.
#[test]
fn scales_may_grow() {
    let exact = planes(&[&[0.0, 0.0, 0.0, 4.0]], 2, Means::Runs).expect("finite");
    assert_eq!(exact.scales, [1.0, 1.5]);
    let mut rng = rng(3);
    let rectified: Vec<f64> = (0..400_000).map(|_| normal(&mut rng).max(0.0)).collect();
    let scales = Residuals::new(&rectified, 2).scales;
    assert!((scales[0] - 0.398).abs() < 0.003 && (scales[1] - 0.461).abs() < 0.003, "{scales:?}");
}

/// sign(0) = sign(-0.0) = +1, of activations and of weights, in every mode and at every order.
#[test]
fn zero_counts_as_positive() {
    for isa in backends() {
        for zero in [0.0, -0.0] {
            for mode in common::MODES {
                // Only zeros: scales are 0 in the modes that take a mean, and the sign shows in the others.
                let layer = Layer::plain(Geometry::dense(5, 2), mode, vec![zero; 10], vec![zero; 5]);
                let b = match mode {
                    ScaleMode::Fixed | ScaleMode::Halving => layer.scales[0],
                    ScaleMode::None => 1.0,
                    _ => 0.0,
                };
                assert_eq!(layer.run(isa, &layer.panels()), Ok(vec![5.0 * b; 2]), "{isa}, {mode:?}, {zero:?}");
            }
            // Beside other values: |x| = (0, 0, 0, 4) has b = 1, H = (+ + + +), then b = 1.5, H = (- - - +).
            for mode in [ScaleMode::Window, ScaleMode::Image] {
                let mut layer = Layer::plain(Geometry::dense(4, 1), mode, vec![1.0; 4], vec![zero, zero, zero, 4.0]);
                assert_eq!(layer.run(isa, &layer.panels()), Ok(vec![4.0]), "{isa}, {mode:?}, {zero:?}");
                layer.order = 2;
                assert_eq!(layer.run(isa, &layer.panels()), Ok(vec![4.0 - 3.0]), "{isa}, {mode:?}, {zero:?}");
            }
        }
    }
}

/// A tie (m = b) does not flip the sign: the residual is 0, whose sign is +.
#[test]
fn a_tie_keeps_the_sign() {
    for isa in backends() {
        for (sign, expected) in [(1.0f32, 3.0 * 2.0), (-1.0, -3.0 * 2.0)] {
            let mut layer = Layer::plain(Geometry::dense(3, 1), ScaleMode::None, vec![1.0; 3], vec![sign; 3]);
            layer.order = 2;
            assert_eq!(layer.run(isa, &layer.panels()), Ok(vec![expected]), "{isa}");
        }
    }
}
