//! What the kernels refuse: values that are not finite, shapes that do not fit, instruction sets that are not there.

mod common;

use common::{Layer, MODES, PADDINGS, backends, rng, values};
use horq_kernels::{
    Basis, BinaryCall, BinaryConv, BinaryInput, BinaryKernel, BinaryScratch, BinarySpec, Epilogue, Error, FloatConv,
    Geometry, Inline, Isa, MAX_DEPTH, MAX_ORDER, MIN_HALVING_SCALE, PackInto, Padding, PlaneLayout, ScaleMode, Window,
};
use rand::Rng;
#[cfg(target_arch = "x86_64")]
use std::ffi::OsStr;

/// Shapes whose inputs are read in different ways: dense, packed tails, a stride that skips pixels, groups.
fn geometries() -> Vec<Geometry> {
    let square = |size, channels, filters, groups, window| Geometry {
        height: size,
        width: size,
        channels,
        filters,
        groups,
        window,
    };
    vec![
        Geometry::dense(1, 1),
        Geometry::dense(75, 3),
        square(3, 5, 2, 1, Window::square(3).with_padding(1)),
        square(4, 33, 17, 1, Window::square(1).with_stride(3)),
        square(3, 36, 4, 2, Window::square(2)),
        square(3, 6, 6, 6, Window::square(2).with_padding(1)),
        square(4, 3, 4, 1, Window { dilation: [2, 3], ..Window::square(2) }),
    ]
}

/// A value that is not finite is reported wherever it stands, in every sample, also where no window reads it.
#[test]
fn not_a_number_and_infinity_are_reported() {
    let isas = backends();
    for geometry in geometries() {
        for mode in MODES {
            for padding in PADDINGS {
                let mut rng = rng(1);
                let weights = values(&mut rng, geometry.filters * geometry.depth());
                let input: Vec<f32> = (0..2 * geometry.input_len()).map(|_| rng.random_range(-1.0..1.0)).collect();
                let mut layer = Layer::plain(geometry, mode, weights, input);
                layer.spec.padding = padding;
                let panels = layer.panels();
                for at in 0..layer.input.len() {
                    let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN, f32::from_bits(0x7f80_0001)];
                    let bad = bad[(at + mode as usize) % bad.len()];
                    let good = std::mem::replace(&mut layer.input[at], bad);
                    layer.order = 1 + at % 3;
                    for &isa in &isas {
                        let got = layer.run(isa, &panels);
                        assert_eq!(got, Err(Error::NotFinite), "{isa}: {bad} at {at} of {layer:?}");
                    }
                    layer.input[at] = good;
                }
                for &isa in &isas {
                    assert!(layer.run(isa, &panels).is_ok(), "{isa}: all is finite again, {layer:?}");
                }
            }
        }
    }
}

/// Finite values whose mean is not: an error where a mean is taken, an answer where none is.
#[test]
fn a_mean_that_overflows_is_reported() {
    for geometry in geometries() {
        // Depthwise windows and single values have means that do not overflow.
        if geometry.group_channels() < 3 {
            continue;
        }
        for mode in MODES {
            let weights = vec![1.0; geometry.filters * geometry.depth()];
            let layer = Layer::plain(geometry, mode, weights, vec![3e38; geometry.input_len()]);
            let panels = layer.panels();
            for isa in backends() {
                let got = layer.run(isa, &panels);
                if mode.is_constant() {
                    assert!(got.is_ok(), "{isa}, {layer:?}");
                } else {
                    assert_eq!(got, Err(Error::NotFinite), "{isa}, {layer:?}");
                }
            }
        }
    }
    // The mean of the second order may overflow where that of the first does not.
    let input: Vec<f32> = (0..4).map(|i| if i == 0 { 3.4e38 } else { 0.0 }).collect();
    let mut layer = Layer::plain(Geometry::dense(4, 1), ScaleMode::Window, vec![1.0; 4], input);
    for isa in backends() {
        layer.order = 1;
        assert!(layer.run(isa, &layer.panels()).is_ok(), "{isa}");
        layer.order = 2;
        assert_eq!(layer.run(isa, &layer.panels()), Err(Error::NotFinite), "{isa}");
    }
}

/// A layer whose scales halve has one that can be halved.
#[test]
fn a_scale_that_cannot_be_halved_is_refused() {
    let geometry = Geometry::dense(40, 3);
    let mut layer = Layer::plain(geometry, ScaleMode::Fixed, vec![1.0; 120], vec![1.0; 40]);
    let panels = layer.panels();
    for isa in backends() {
        let conv = BinaryConv::new(isa, BinarySpec { mode: ScaleMode::Halving, ..layer.spec }, &[&panels[0]])
            .expect("a layer");
        let layout = PlaneLayout::new(&BinarySpec { mode: ScaleMode::Halving, ..layer.spec }).expect("constant scales");
        for b in [0.0, -1.0, f32::NAN, f32::INFINITY, MIN_HALVING_SCALE / 2.0, MIN_HALVING_SCALE] {
            layer.scales[0] = b;
            let run = || {
                let need = conv.scratch_len();
                let (mut words, mut scales, mut output) = (vec![0; need.words], vec![0.0; need.scales], [0.0; 3]);
                let bases = [Basis { panels: &panels[0], alpha: &[1.0; 16] }];
                let call = BinaryCall {
                    input: BinaryInput::Values(&layer.input),
                    order: 2,
                    scales: &[b],
                    bases: &bases,
                    epilogue: Epilogue { steps: &[] },
                    pack: None,
                    parallel: &Inline,
                    clock: None,
                };
                conv.run(call, &mut output, BinaryScratch { words: &mut words, scales: &mut scales })
            };
            let pack = || {
                PackInto::new(layout, &mut vec![0; layout.len()], 2, Some(&[b]));
            };
            let refused = b.is_nan() || b.is_infinite() || b < MIN_HALVING_SCALE;
            assert_eq!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err(), refused, "{isa}: {b}");
            assert_eq!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(pack)).is_err(), refused, "{isa}: {b}");
        }
    }
}

/// Byte tables are for scales that halve, up to the order whose sums of four products fit a byte (order 6), or two of them where a
/// backend adds them up in bytes (order 5); what is asked for beyond that
/// is done by popcount.
#[test]
fn kernels_that_are_not_possible_are_not_taken() {
    let layer = Layer::plain(Geometry::dense(70, 40), ScaleMode::None, vec![1.0; 2800], vec![1.0; 70]);
    let panels = layer.panels();
    for isa in backends() {
        for mode in MODES {
            let spec = BinarySpec { mode, ..layer.spec };
            let conv = |kernel| BinaryConv::with_kernel(isa, spec, &[&panels[0]], kernel).expect("a good layer");
            let (chosen, popcount) = (conv(None), conv(Some(BinaryKernel::Popcount)));
            let tables = conv(Some(BinaryKernel::Tables));
            for order in 1..=MAX_ORDER {
                let highest = if isa == Isa::Avx512Vpopcnt { 6 } else { 5 };
                let possible = mode == ScaleMode::Halving && order <= highest;
                assert_eq!(tables.kernel(order) == BinaryKernel::Tables, possible, "{isa}, {mode:?}, order {order}");
                assert_eq!(popcount.kernel(order), BinaryKernel::Popcount);
                assert!(possible || chosen.kernel(order) == BinaryKernel::Popcount);
            }
            // What is known before anything is prepared is what the rule's layer takes.
            let memory = BinaryConv::memory(isa, spec, 1).expect("a good layer");
            assert_eq!(memory.of_values.words, chosen.scratch_len().words, "{isa}, {mode:?}");
            assert_eq!(memory.of_planes.words, chosen.scratch_len_of_planes().words, "{isa}, {mode:?}");
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let good = Geometry { height: 4, width: 4, channels: 4, filters: 4, groups: 1, window: Window::square(3) };
    let window = |window: Window| Geometry { window, ..good };
    let bad = [
        ("no rows", Geometry { height: 0, ..good }),
        ("no columns", Geometry { width: 0, ..good }),
        ("no channels", Geometry { channels: 0, ..good }),
        ("no filters", Geometry { filters: 0, ..good }),
        ("no groups", Geometry { groups: 0, ..good }),
        ("groups and channels", Geometry { groups: 2, channels: 5, ..good }),
        ("groups and filters", Geometry { groups: 2, filters: 5, ..good }),
        ("no taps", window(Window { kernel: [0, 3], ..Window::square(3) })),
        ("no stride", window(Window { stride: [1, 0], ..Window::square(3) })),
        ("no dilation", window(Window { dilation: [0, 1], ..Window::square(3) })),
        ("large kernel", window(Window::square(5))),
        ("large dilation", window(Window { dilation: [2, 1], ..Window::square(3) })),
        ("kernel overflow", window(Window::square(usize::MAX).with_padding(9))),
        ("dilation overflow", window(Window { dilation: [usize::MAX, 1], ..Window::square(3) })),
        ("padding overflow", window(Window::square(3).with_padding(usize::MAX / 2 + 1))),
        ("much padding", window(Window::square(3).with_padding(1 << 40))),
        ("channels overflow", Geometry { channels: usize::MAX, ..good }),
        ("filters overflow", Geometry { filters: usize::MAX, ..good }),
        ("a long sum", Geometry::dense(MAX_DEPTH + 1, 1)),
        ("a large output", Geometry { height: 1 << 16, width: 1 << 15, channels: 1, ..good }),
    ];
    for isa in backends() {
        for (name, geometry) in bad {
            for padding in [Padding::ValidTaps, Padding::One] {
                let mut spec = Layer::plain(good, ScaleMode::None, vec![1.0; 144], vec![1.0; 64]).spec;
                spec.geometry = geometry;
                spec.padding = padding;
                let got = BinaryConv::new(isa, spec, &[&[]]);
                assert!(matches!(got, Err(Error::Shape(_))), "{isa}, {name}: {got:?}");
            }
            assert!(matches!(FloatConv::new(isa, geometry), Err(Error::Shape(_))), "{isa}, {name}");
        }
        for max_order in [0, MAX_ORDER + 1] {
            let layer = Layer::plain(good, ScaleMode::None, vec![1.0; 144], vec![1.0; 64]);
            let spec = horq_kernels::BinarySpec { max_order, ..layer.spec };
            let got = BinaryConv::new(isa, spec, &[&layer.panels()[0]]);
            assert!(matches!(got, Err(Error::Shape(_))), "{isa}, order {max_order}: {got:?}");
        }
        let layer = Layer::plain(good, ScaleMode::None, vec![1.0; 144], vec![1.0; 64]);
        let got = BinaryConv::new(isa, layer.spec, &[&layer.panels()[0][1..]]);
        assert!(matches!(got, Err(Error::Shape(_))), "{isa}, short panels: {got:?}");
        let got = BinaryConv::new(isa, layer.spec, &[]);
        assert!(matches!(got, Err(Error::Shape(_))), "{isa}, no basis: {got:?}");
        // A pool needs two rows and columns of output, and windows that share planes.
        let flat = Geometry { height: 3, ..good };
        for (geometry, mode) in
            [(flat, ScaleMode::None), (good, ScaleMode::Window), (Geometry::dense(4, 4), ScaleMode::Image)]
        {
            let mut layer =
                Layer::plain(geometry, mode, vec![1.0; 4 * geometry.depth()], vec![1.0; geometry.input_len()]);
            layer.spec.pool = Some(0);
            let got = BinaryConv::new(isa, layer.spec, &[&layer.panels()[0]]);
            assert!(matches!(got, Err(Error::Shape(_))), "{isa}, {geometry:?}, {mode:?}: {got:?}");
        }
    }
}

#[test]
fn a_missing_instruction_set_is_refused() {
    let available = backends();
    let layer = Layer::plain(Geometry::dense(4, 1), ScaleMode::None, vec![1.0; 4], vec![1.0; 4]);
    let panels = layer.panels();
    let missing: Vec<Isa> = Isa::ALL.into_iter().filter(|isa| !available.contains(isa)).collect();
    assert!(!missing.is_empty(), "no CPU has the instruction sets of two architectures");
    for isa in missing {
        assert!(!isa.is_available());
        let got = BinaryConv::new(isa, layer.spec, &[&panels[0]]);
        assert!(matches!(got, Err(Error::MissingIsa(name, _)) if name == isa.name()), "{isa}: {got:?}");
        let got = FloatConv::new(isa, layer.spec.geometry);
        assert!(matches!(got, Err(Error::MissingIsa(name, _)) if name == isa.name()), "{isa}: {got:?}");
    }
}

#[test]
fn backends_are_those_that_the_cpu_has() {
    let available = backends();
    assert!(available.is_sorted(), "worst first");
    #[cfg(target_arch = "x86_64")]
    {
        assert_eq!(available.contains(&Isa::Sse42), is_x86_feature_detected!("popcnt"));
        assert_eq!(available.contains(&Isa::Avx2), is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"));
        assert_eq!(available.contains(&Isa::Avx512Bw), is_x86_feature_detected!("avx512bw"));
        assert_eq!(available.contains(&Isa::Avx512Vpopcnt), is_x86_feature_detected!("avx512vpopcntdq"));
        assert!(!available.contains(&Isa::Neon));
    }
    #[cfg(target_arch = "aarch64")]
    assert_eq!(available, [Isa::Portable, Isa::Neon]);
    for isa in Isa::ALL {
        assert_eq!(isa.name().parse(), Ok(isa));
        assert_eq!(isa.to_string(), isa.name());
    }
    assert!(matches!("avx1024".parse::<Isa>(), Err(Error::UnknownIsa(name, _)) if name == "avx1024"));
}

/// Runs a test of this file in a process of its own with those variables, and says whether it passed.
#[cfg(target_arch = "x86_64")]
fn passes<V: AsRef<OsStr>>(test: &str, variables: &[(&str, V)]) -> bool {
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "--include-ignored", test]).env_remove("HORQ_ISA").env_remove("HORQ_REQUIRE_ISA");
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command.output().expect("this program runs").status.success()
}

/// Not a test of its own: what the process that `the_environment_is_honoured` starts looks at.
#[test]
#[ignore = "run by the_environment_is_honoured with variables set"]
fn from_env_gives_what_is_expected() {
    let expected = std::env::var("EXPECTED").expect("set by the caller");
    let got = match Isa::from_env() {
        Ok(isa) => isa.to_string(),
        Err(Error::MissingIsa(name, _)) => format!("missing {name}"),
        Err(Error::UnknownIsa(name, _)) => format!("unknown {name}"),
        Err(error) => error.to_string(),
    };
    assert_eq!(got, expected);
}

#[test]
fn an_unknown_name_cannot_forge_a_line() {
    let error = "a\n\u{1b}[2J\u{202e}b".parse::<Isa>().unwrap_err();
    assert!(error.to_string().contains(r"`a\n\u{1b}[2J\u{202e}b`"), "{error}");
}

#[test]
#[cfg(target_arch = "x86_64")] // where the tests run in an emulator, they cannot start themselves
fn the_environment_is_honoured() {
    let best = backends().last().expect("portable at least").to_string();
    let from_env = |expected: &str, variables: &[(&str, &str)]| {
        let all = [variables, &[("EXPECTED", expected)]].concat();
        assert!(passes("from_env_gives_what_is_expected", &all), "{variables:?} should give {expected}");
    };
    from_env(&best, &[]);
    from_env(&best, &[("HORQ_ISA", "")]);
    from_env("portable", &[("HORQ_ISA", "portable")]);
    from_env("missing neon", &[("HORQ_ISA", "neon")]);
    from_env("unknown avx9", &[("HORQ_ISA", "avx9")]);
    from_env(&best, &[("HORQ_REQUIRE_ISA", "portable")]);
    from_env(&best, &[("HORQ_REQUIRE_ISA", &format!("portable,{best}"))]);
    from_env("missing neon", &[("HORQ_REQUIRE_ISA", "portable,neon")]);
    from_env("unknown mmx", &[("HORQ_REQUIRE_ISA", "mmx")]);
    from_env("missing neon", &[("HORQ_ISA", "portable"), ("HORQ_REQUIRE_ISA", "neon")]);
    from_env(&best, &[("HORQ_ISA", " "), ("HORQ_REQUIRE_ISA", "")]);
    // What is no text is no name either, and not ignored.
    #[cfg(unix)]
    for name in ["HORQ_ISA", "HORQ_REQUIRE_ISA"] {
        use std::os::unix::ffi::OsStrExt;
        for (value, expected) in [(&b"\xff"[..], "unknown \u{fffd}"), (b"avx2\xc3", "unknown avx2\u{fffd}")] {
            let variables = [(name, OsStr::from_bytes(value)), ("EXPECTED", OsStr::new(expected))];
            assert!(passes("from_env_gives_what_is_expected", &variables), "{variables:?}");
        }
    }
    // And the tests themselves fail where a required one is missing.
    assert!(passes("backends_are_those_that_the_cpu_has", &[("HORQ_REQUIRE_ISA", "portable")]));
    assert!(!passes("backends_are_those_that_the_cpu_has", &[("HORQ_REQUIRE_ISA", "portable,neon")]));
}
