//! The public interface of a head: training, state, records, errors.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use burn::module::{Module, Param};
use burn::optim::{AdamConfig, GradientsParams, SgdConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use burn_store::{ModuleSnapshot, SafetensorsStore};
use common::{
    CLASSES, Case, Problem, Question, ROWS, WIDTH, ask, assert_close, cases, device, head, preset, targets, tensor,
};
use softmargin::{ErrorKind, Geometry, LossState, Margin, Reduction, Regularizer, Scale, presets};
use softmargin_burn::{MarginHead, MarginHeadConfig, RowTensors};

fn plain_case(name: &str) -> Case {
    Case { name: name.into(), spec: preset(name), per_sample: false, weighted: false, soft: false }
}

fn number(tensor: &Tensor<1>) -> f32 {
    tensor.clone().into_scalar()
}

#[test]
fn every_preset_learns() {
    for preset in presets::all() {
        let case = plain_case(preset.name);
        let problem = Problem::new();
        let mut head = head(&case, &problem, DType::F32);
        let embeddings = tensor(&problem.embeddings, [ROWS, WIDTH], DType::F32);
        let mut optimizer = SgdConfig::new().init();
        let before = number(&head.forward(embeddings.clone(), targets(&problem)));
        for _ in 0..40 {
            let gradients = head.forward(embeddings.clone(), targets(&problem)).backward();
            let gradients = GradientsParams::from_grads(gradients, &head);
            head = optimizer.step(0.02, head, gradients);
        }
        let after = number(&head.forward(embeddings, targets(&problem)));
        assert!(after < before, "{}: {before} became {after}", preset.name);
    }
}

#[test]
fn gradients_are_central_differences() {
    for name in ["cross-entropy", "normface", "arcface", "sphereface", "l-softmax", "one-versus-rest"] {
        let case = plain_case(name);
        let problem = Problem::new();
        // In f64, where a difference is precise enough, so by the composition; other tests compare it with the operation.
        let question = Question { dtype: DType::F64, composed: false, reduction: Reduction::Mean, upstream: vec![1.0] };
        let answer = ask(&case, &problem, &question);
        let step = 1.0 / 1024.0_f32;
        let loss = |problem: &Problem| ask(&case, problem, &question).loss[0];
        for (part, slopes) in [(0, &answer.embeddings), (1, &answer.weight), (2, &answer.scale)] {
            for (index, slope) in slopes.iter().enumerate().take(ROWS * WIDTH - WIDTH) {
                let moved = |by: f32| {
                    let mut problem = problem.clone();
                    let entry = match part {
                        0 => &mut problem.embeddings[index],
                        1 => &mut problem.weight[index],
                        _ => &mut problem.scale,
                    };
                    let from = *entry;
                    *entry += by;
                    let traveled = f64::from(*entry) - f64::from(from);
                    (loss(&problem), traveled)
                };
                let ((up, over), (down, under)) = (moved(step), moved(-step));
                let difference = (up - down) / (over - under);
                let off = (difference - slope).abs();
                // The third derivative times the square of the step; arcface's scale of 64 makes it large.
                assert!(off < 2e-3 * slope.abs().max(1.0), "{name} {part} {index}: {slope} against {difference}");
            }
        }
    }
}

#[test]
fn results_are_bitwise_identical_for_any_number_of_threads() {
    let (rows, width, classes) = (64, 32, 1000);
    let train = || {
        let device = device();
        let embeddings = tensor(&common::numbers(rows * width, 3), [rows, width], DType::F32);
        let labels: Vec<i64> = (0..rows).map(|row| (row * 37 % classes) as i64).collect();
        let targets = Tensor::<1, Int>::from_data(TensorData::new(labels, [rows]), &device);
        let mut head = MarginHeadConfig::new(width, classes).with_loss(preset("arcface")).init(&device);
        let weight = tensor(&common::numbers(classes * width, 5), [classes, width], DType::F32);
        head.weight = Param::from_tensor(weight);
        let mut optimizer = AdamConfig::new().init();
        for _ in 0..3 {
            let gradients = head.forward(embeddings.clone(), targets.clone()).backward();
            let gradients = GradientsParams::from_grads(gradients, &head);
            head = optimizer.step(0.01, head, gradients);
        }
        head.weight.val().into_data().try_to_vec::<f32>().unwrap()
    };
    let with = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(train);
    let one = with(1);
    for threads in [2, 3] {
        let other = with(threads);
        assert!(one.iter().zip(&other).all(|(a, b)| a.to_bits() == b.to_bits()), "{threads} threads");
    }
}

#[test]
fn a_bad_label_is_an_error_that_names_the_row() {
    for inputs in [RowTensors::new(), RowTensors::new().composed()] {
        let problem = Problem::new();
        let head = head(&plain_case("am-softmax"), &problem, DType::F32);
        let embeddings = tensor(&problem.embeddings, [ROWS, WIDTH], DType::F32);
        let bad = Tensor::<1, Int>::from_ints([0, 1, 2, 5, 0, 1, 2], &device());
        let error = head.try_forward_batch(embeddings.clone(), bad, inputs.clone()).unwrap_err();
        assert_eq!((error.kind(), error.subject()), (ErrorKind::Label, "target of row 3"));
        let few = Tensor::<1, Int>::from_ints([0, 1], &device());
        let error = head.try_forward_batch(embeddings.clone(), few, inputs.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Shape);
        let narrow = Tensor::<2>::ones([ROWS, WIDTH - 1], &device());
        let error = head.try_forward_batch(narrow, targets(&problem), inputs.clone()).unwrap_err();
        assert_eq!((error.kind(), error.subject()), (ErrorKind::Shape, "weight"));
        let margins = Tensor::<1>::ones([ROWS], &device());
        let unwanted =
            head.try_forward_batch(embeddings.clone(), targets(&problem), inputs.clone().with_margins(margins));
        assert_eq!(unwanted.unwrap_err().kind(), ErrorKind::Input);
        let negative = inputs.with_sample_weights(Tensor::<1>::ones([ROWS], &device()).neg());
        let error = head.try_forward_batch(embeddings, targets(&problem), negative).unwrap_err();
        assert_eq!((error.kind(), error.subject()), (ErrorKind::Number, "sample weights[0]"));
    }
}

#[test]
fn labels_in_main_memory_are_those_of_a_tensor() {
    for inputs in [RowTensors::new(), RowTensors::new().composed()] {
        let problem = Problem::new();
        let head = head(&plain_case("am-softmax"), &problem, DType::F32);
        let embeddings = tensor(&problem.embeddings, [ROWS, WIDTH], DType::F32);
        let labels: Vec<i64> = targets(&problem).into_data().iter::<i64>().collect();
        let of_labels = head.try_forward_batch(embeddings.clone(), labels.clone(), inputs.clone()).unwrap();
        let of_tensor = head.try_forward_batch(embeddings.clone(), targets(&problem), inputs.clone()).unwrap();
        assert_eq!(number(&of_labels.loss).to_bits(), number(&of_tensor.loss).to_bits());
        let error = head.try_forward_batch(embeddings, labels[1..].to_vec(), inputs).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Shape);
    }
}

#[test]
#[should_panic(expected = "target of row 0: expected a class from 0 to 4, found 9")]
fn forward_panics_with_the_message() {
    let problem = Problem::new();
    let head = head(&plain_case("am-softmax"), &problem, DType::F32);
    let embeddings = tensor(&problem.embeddings[..WIDTH], [1, WIDTH], DType::F32);
    head.forward(embeddings, Tensor::<1, Int>::from_ints([9], &device()));
}

#[test]
fn nan_is_an_error_on_flex_and_shows_in_the_loss_elsewhere() {
    let mut problem = Problem::new();
    problem.embeddings[WIDTH] = f32::NAN;
    let head = head(&plain_case("arcface"), &problem, DType::F32);
    let embeddings = tensor(&problem.embeddings, [ROWS, WIDTH], DType::F32);
    let error = head.try_forward(embeddings.clone(), targets(&problem)).unwrap_err();
    assert_eq!(error.subject(), "scores of row 1");
    let composed = head.forward_batch(embeddings, targets(&problem), RowTensors::new().composed());
    assert!(number(&composed.loss).is_nan());
}

#[test]
fn half_precision_is_composed() {
    for name in ["cross-entropy", "am-softmax", "normface", "sphereface", "one-versus-rest"] {
        let (case, problem) = (plain_case(name), Problem::new());
        for reduction in [Reduction::Mean, Reduction::None] {
            let upstream = vec![1.0; if reduction == Reduction::None { ROWS } else { 1 }];
            let half = Question { dtype: DType::BF16, composed: false, reduction, upstream };
            let single = Question { dtype: DType::F32, ..half.clone() };
            // Scores are rounded to 8 bits, and the scale of am-softmax is 30.
            assert_close(name, &ask(&case, &problem, &half), &ask(&case, &problem, &single), 0.1);
        }
    }
}

#[test]
fn specs_that_make_no_loss_are_rejected() {
    let config = MarginHeadConfig::new(WIDTH, CLASSES);
    assert!(config.clone().with_preset("arcfase").unwrap_err().to_string().contains("arcface"));
    let degrees = preset("am-softmax").with_margin(Margin::score(28.6));
    assert_eq!(config.with_loss(degrees).try_init(&device()).unwrap_err().kind(), ErrorKind::Spec);
    assert_eq!(MarginHeadConfig::new(0, 3).try_init(&device()).unwrap_err().subject(), "embedding_size");
    assert_eq!(MarginHeadConfig::new(3, 0).try_init(&device()).unwrap_err().subject(), "num_classes");
}

#[test]
fn zero_rows_are_no_loss_and_no_gradient() {
    for preset in presets::all() {
        for reduction in [Reduction::Mean, Reduction::Sum, Reduction::MeanOrNan, Reduction::None] {
            for inputs in [RowTensors::new(), RowTensors::new().composed()] {
                let head = head(&plain_case(preset.name), &Problem::new(), DType::F32);
                let embeddings = Tensor::<2>::zeros([0, WIDTH], &device());
                let none = Tensor::<1, Int>::from_data(TensorData::new(Vec::<i64>::new(), [0]), &device());
                let loss = head.forward_batch(embeddings, none, inputs.with_reduction(reduction)).loss;
                let values = loss.clone().into_data().try_to_vec::<f32>().unwrap();
                match reduction {
                    Reduction::None => assert!(values.is_empty()),
                    Reduction::MeanOrNan => assert!(values[0].is_nan()),
                    _ => assert_eq!(values, [0.0]),
                }
                if reduction != Reduction::None {
                    let gradients = loss.backward();
                    let slopes =
                        head.weight.val().grad(&gradients).map(|slopes| slopes.abs().sum().into_scalar::<f32>());
                    assert!(slopes.is_none_or(|slopes| slopes == 0.0));
                }
            }
        }
    }
}

#[test]
fn one_class_is_no_loss_and_no_gradient() {
    for preset in presets::all() {
        for inputs in [RowTensors::new(), RowTensors::new().composed()] {
            // A term on norms alone stays.
            let spec = preset.spec().with_class_counts(&[9]).with_regularizer(None);
            let head = MarginHeadConfig::new(WIDTH, 1).with_loss(spec).init(&device());
            let embeddings = tensor(&common::numbers(3 * WIDTH, 1), [3, WIDTH], DType::F32).require_grad();
            let targets = Tensor::<1, Int>::zeros([3], &device());
            let loss = head.forward_batch(embeddings.clone(), targets, inputs).loss;
            assert_eq!(number(&loss), 0.0, "{}", preset.name);
            let slopes = embeddings.grad(&loss.backward()).unwrap();
            assert_eq!(slopes.abs().sum().into_scalar::<f32>(), 0.0, "{}", preset.name);
        }
    }
}

#[test]
fn all_rows_ignored_is_no_loss_and_no_gradient() {
    for inputs in [RowTensors::new(), RowTensors::new().composed()] {
        let case = Case { spec: preset("arcface").with_ignored_label(-1), ..plain_case("arcface") };
        let problem = Problem::new();
        let head = head(&case, &problem, DType::F32);
        let embeddings = tensor(&problem.embeddings, [ROWS, WIDTH], DType::F32);
        let ignored = Tensor::<1, Int>::full([ROWS], -1, &device());
        let loss = head.forward_batch(embeddings, ignored, inputs).loss;
        assert_eq!(number(&loss), 0.0);
        let slopes = head.weight.val().grad(&loss.backward()).unwrap();
        assert_eq!(slopes.abs().sum().into_scalar::<f32>(), 0.0);
    }
}

#[test]
fn a_training_batch_enters_the_averages_with_the_step() {
    for name in ["curricularface", "adaface"] {
        for inputs in [RowTensors::new(), RowTensors::new().composed()] {
            let problem = Problem::new();
            let mut head = head(&plain_case(name), &problem, DType::F32);
            let embeddings = tensor(&problem.embeddings, [ROWS, WIDTH], DType::F32);
            let start = head.state().cloned().unwrap();
            let ask = |head: &MarginHead| {
                number(&head.forward_batch(embeddings.clone(), targets(&problem), inputs.clone()).loss)
            };
            let first = ask(&head);
            assert_eq!((ask(&head), head.state()), (first, Some(&start)), "{name}: a second forward changes nothing");
            head.advance();
            let after = head.state().cloned().unwrap();
            assert_eq!(after.step, 1);
            let averages = |state: &LossState| [state.target_mean, state.norm_mean, state.norm_std];
            assert_ne!(averages(&after), averages(&start), "{name}");
            // Evaluation reads the state that the batch was computed with, and changes nothing.
            let valid = head.valid();
            let (x, y) = (embeddings.clone().inner(), targets(&problem).inner());
            let evaluated = valid.forward_batch(x, y, inputs.clone()).loss;
            assert!((number(&evaluated) - first).abs() < 1e-4 * first.abs(), "{name}");
            let mut valid = valid;
            valid.advance();
            assert_eq!(averages(valid.state().unwrap()), averages(&after), "{name}");
        }
    }
}

#[test]
fn a_nan_prototype_shows_in_the_loss() {
    let case = plain_case("sub-center-arcface");
    let mut problem = Problem::new();
    problem.weight[WIDTH] = f32::NAN;
    let head = head(&case, &problem, DType::F32);
    let embeddings = tensor(&problem.embeddings, [ROWS, WIDTH], DType::F32);
    assert!(head.try_forward(embeddings.clone(), targets(&problem)).is_err());
    let composed = head.forward_batch(embeddings, targets(&problem), RowTensors::new().composed()).loss;
    assert!(number(&composed).is_nan());
}

#[test]
fn averages_go_through_an_optimizers_step() {
    for name in ["curricularface", "adaface"] {
        for inputs in [RowTensors::new(), RowTensors::new().composed()] {
            let problem = Problem::new();
            let mut head = head(&plain_case(name), &problem, DType::F32);
            let embeddings = tensor(&problem.embeddings, [ROWS, WIDTH], DType::F32);
            let mut expected = head.clone();
            let mut optimizer = SgdConfig::new().init();
            for step in 1..=2 {
                let loss = head.forward_batch(embeddings.clone(), targets(&problem), inputs.clone()).loss;
                let gradients = GradientsParams::from_grads(loss.backward(), &head);
                head = optimizer.step(0.0, head, gradients);
                head.advance();
                expected.set_state(expected.state().cloned().unwrap());
                expected.forward_batch(embeddings.clone(), targets(&problem), inputs.clone());
                expected.advance();
                assert_eq!(head.state().unwrap().step, step);
                assert_eq!(head.state(), expected.state(), "{name}");
            }
        }
    }
}

#[test]
fn a_clone_that_went_another_way_keeps_its_own_averages() {
    let problem = Problem::new();
    let mut head = head(&plain_case("curricularface"), &problem, DType::F32);
    let mut other = head.clone();
    let mut elsewhere = LossState::default();
    elsewhere.target_mean = 0.5;
    other.set_state(elsewhere);
    head.forward(tensor(&problem.embeddings, [ROWS, WIDTH], DType::F32), targets(&problem));
    other.advance();
    assert_eq!(other.state().unwrap().target_mean, 0.5);
    head.advance();
    assert_ne!(head.state().unwrap().target_mean, 0.0);
}

#[test]
fn draws_change_from_step_to_step_and_with_the_seed() {
    let problem = Problem::new();
    let embeddings = tensor(&problem.embeddings, [ROWS, WIDTH], DType::F32);
    let mut head = head(&plain_case("elasticface"), &problem, DType::F32);
    let ask = |head: &MarginHead| number(&head.forward(embeddings.clone(), targets(&problem)));
    let first = ask(&head);
    assert_eq!(ask(&head), first);
    head.advance();
    assert_ne!(ask(&head), first);
    head.set_state(LossState::default().with_seed(7));
    assert_ne!(ask(&head), first);
}

#[test]
fn the_state_goes_where_the_head_goes() {
    let problem = Problem::new();
    let mut head = head(&plain_case("sphereface"), &problem, DType::F32);
    assert_eq!(head.state().unwrap().step, 0);
    let embeddings = tensor(&problem.embeddings, [ROWS, WIDTH], DType::F32);
    let at_start = number(&head.forward(embeddings.clone(), targets(&problem)));
    for _ in 0..3000 {
        head.advance();
    }
    let later = number(&head.forward(embeddings.clone(), targets(&problem)));
    assert!(later > at_start, "the margin comes in: {at_start} became {later}");
    assert_eq!(head.clone().state().unwrap().step, 3000);
    let valid = head.valid();
    assert_eq!(valid.state().unwrap().step, 3000);
    assert_eq!(number(&valid.forward(embeddings.clone().inner(), targets(&problem).inner())), later);
    let gradients = head.forward(embeddings.clone(), targets(&problem)).backward();
    let gradients = GradientsParams::from_grads(gradients, &head);
    let state = head.state().cloned().unwrap();
    let stepped = SgdConfig::new().init().step(0.0, head, gradients);
    assert_eq!(stepped.state(), Some(&state));
    let mut fresh = common::head(&plain_case("sphereface"), &problem, DType::F32);
    fresh.set_state(state);
    assert_eq!(number(&fresh.forward(embeddings, targets(&problem))), later);
    let mut stateless = common::head(&plain_case("arcface"), &problem, DType::F32);
    stateless.set_state(fresh.state().cloned().unwrap());
    stateless.advance();
    assert_eq!(stateless.state(), None);
}

/// A head with every parameter there is.
fn full_head(device: &Device) -> MarginHead {
    let spec = preset("cross-entropy")
        .with_geometry(Geometry::InnerProduct { bias: true, temperature: 1.0 })
        .with_scale(Scale::Learned { initial: 2.0, min: 1.0, max: 4.0 })
        .with_regularizer(Regularizer::Ring { weight: 0.1, radius: 1.5 });
    MarginHeadConfig::new(WIDTH, CLASSES).with_loss(spec).init(device)
}

fn numbers_of(head: &MarginHead) -> Vec<f32> {
    let vectors = [&head.bias, &head.scale, &head.radius];
    let matrix = head.weight.val().flatten::<1>(0, 1);
    let all = vectors.into_iter().flatten().map(Param::val).chain([matrix]);
    all.flat_map(|tensor| tensor.into_data().try_to_vec::<f32>().unwrap()).collect()
}

#[test]
fn records_keep_every_parameter() {
    let device = device();
    let mut trained = full_head(&device);
    trained.bias = Some(Param::from_tensor(tensor(&common::numbers(CLASSES, 4), [CLASSES], DType::F32)));
    trained.scale = Some(Param::from_tensor(tensor(&[2.5], [1], DType::F32)));
    trained.radius = Some(Param::from_tensor(tensor(&[0.75], [1], DType::F32)));
    let expected = numbers_of(&trained);
    assert_eq!(expected.len(), CLASSES + 2 + CLASSES * WIDTH);
    let record = trained.clone().into_record();
    assert_eq!(numbers_of(&full_head(&device).load_record(record)), expected);
    let mut store = SafetensorsStore::from_bytes(None);
    trained.save_into(&mut store).unwrap();
    let mut store = SafetensorsStore::from_bytes(Some(store.get_bytes().unwrap()));
    let mut loaded = full_head(&device);
    loaded.load_from(&mut store).unwrap();
    assert_eq!(numbers_of(&loaded), expected);
}

#[test]
fn configurations_survive_their_file() {
    use burn::config::Config;
    let directory = std::env::temp_dir().join(format!("softmargin-burn-{}", std::process::id()));
    let config = MarginHeadConfig::new(WIDTH, CLASSES).with_preset("sphereface").unwrap();
    config.save(&directory).unwrap();
    let loaded = MarginHeadConfig::load(&directory);
    std::fs::remove_file(&directory).unwrap();
    let loaded = loaded.unwrap();
    assert_eq!((loaded.loss, loaded.num_classes), (config.loss, CLASSES));
}

#[test]
fn a_learned_scale_stays_within_its_bounds() {
    // Every row is right by far, so that the loss falls with the scale without end.
    let device = device();
    let spec = preset("normface").with_scale(Scale::Learned { initial: 7.9, min: 1.0, max: 8.0 });
    for inputs in [RowTensors::new(), RowTensors::new().composed()] {
        let mut head = MarginHeadConfig::new(2, 2).with_loss(spec.clone()).init(&device);
        head.weight = Param::from_tensor(tensor(&[1.0, 0.0, 0.0, 1.0], [2, 2], DType::F32)).set_require_grad(false);
        let embeddings = tensor(&[1.0, 0.0, 0.0, 1.0], [2, 2], DType::F32);
        let targets = Tensor::<1, Int>::from_ints([0, 1], &device);
        let mut optimizer = SgdConfig::new().init();
        let mut largest = 0.0_f32;
        for _ in 0..3 {
            let gradients = head.forward_batch(embeddings.clone(), targets.clone(), inputs.clone()).loss.backward();
            let gradients = GradientsParams::from_grads(gradients, &head);
            head = optimizer.step(2000.0, head, gradients);
            head.advance();
            largest = largest.max(number(&head.scale.as_ref().unwrap().val()));
            assert!(head.scale.as_ref().unwrap().val().is_require_grad());
        }
        assert_eq!(largest, 8.0);
        // Now one that is wrong by far: the scale comes back.
        let wrong = Tensor::<1, Int>::from_ints([1, 0], &device);
        let gradients = head.forward_batch(embeddings, wrong, inputs).loss.backward();
        let slope = number(&head.scale.as_ref().unwrap().val().grad(&gradients).unwrap());
        assert!(slope > 0.0);
    }
}

#[test]
fn at_a_bound_the_sign_of_the_whole_gradient_decides() {
    let mut problem = Problem::new();
    let case = Case {
        spec: preset("normface").with_scale(Scale::Learned { initial: 2.0, min: 2.0, max: 50.0 }),
        ..plain_case("normface")
    };
    let slope = |problem: &Problem, upstream: f32| {
        let question =
            Question { dtype: DType::F32, composed: false, reduction: Reduction::Mean, upstream: vec![upstream] };
        ask(&case, problem, &question).scale[0]
    };
    problem.scale = 3.0;
    let inside = slope(&problem, 1.0);
    problem.scale = 2.0;
    let (up, down) = (slope(&problem, 1.0), slope(&problem, -1.0));
    assert!(inside != 0.0);
    // A step goes against the slope: a positive one would leave the range, a negative one may.
    assert!(up.min(down) < 0.0 && up.max(down) == 0.0, "{up} {down}");
}

#[test]
fn scores_and_probabilities() {
    for case in cases().into_iter().take(presets::all().len()) {
        let problem = Problem::new();
        let head = head(&case, &problem, DType::F32);
        let embeddings = tensor(&problem.embeddings, [ROWS, WIDTH], DType::F32);
        let scores = head.scores(embeddings.clone());
        assert_eq!(scores.dims(), [ROWS, CLASSES]);
        let output = head.forward_batch(embeddings.clone(), targets(&problem), RowTensors::new());
        let off = (output.scores - scores.clone()).abs().max().into_scalar::<f32>();
        assert!(off < 1e-5, "{}: {off}", case.name);
        if case.spec.geometry == Geometry::Cosine {
            assert!(scores.clone().abs().max().into_scalar::<f32>() <= 1.0);
            let vanished = scores.slice(ROWS - 1..ROWS).abs().max().into_scalar::<f32>();
            assert_eq!(vanished, 0.0, "a vector of norm 0");
        }
        // Without a margin the loss is minus the logarithm of the probability.
        if matches!(case.name.as_str(), "cross-entropy" | "normface") {
            let probabilities = softmax(head.scaled_scores(embeddings), 1);
            let classes = targets(&problem).unsqueeze_dim::<2>(1);
            let expected = number(&probabilities.gather(1, classes).log().neg().mean());
            assert!((number(&output.loss) - expected).abs() < 1e-5, "{}", case.name);
        }
    }
}

#[test]
fn frozen_parameters_get_no_gradient() {
    let problem = Problem::new();
    let case = plain_case("normface");
    let mut head = head(&case, &problem, DType::F32);
    head.weight = head.weight.set_require_grad(false);
    let embeddings = tensor(&problem.embeddings, [ROWS, WIDTH], DType::F32);
    let gradients = head.forward(embeddings, targets(&problem)).backward();
    assert!(head.weight.val().grad(&gradients).is_none());
    assert!(head.scale.unwrap().val().grad(&gradients).is_some());
}

#[test]
fn a_prototype_and_an_embedding_may_be_views() {
    let problem = Problem::new();
    let case = plain_case("arcface");
    let mut head = head(&case, &problem, DType::F32);
    let embeddings = tensor(&problem.embeddings, [ROWS, WIDTH], DType::F32);
    let expected = number(&head.forward(embeddings.clone(), targets(&problem)));
    let turned = Tensor::from_data(embeddings.transpose().into_data(), &device()).transpose();
    let weight = Tensor::from_data(head.weight.val().transpose().into_data(), &device()).transpose();
    head.weight = Param::from_tensor(weight);
    assert_eq!(number(&head.forward(turned, targets(&problem))), expected);
}

#[test]
fn many_classes_are_composed_in_chunks_of_rows() {
    // 70 rows of 65,536 classes: more scores than are composed at once.
    let (rows, classes, width) = (70, 1 << 16, 3);
    let spread = |k: usize| ((k * 7919 + 13) % 1009) as f32 / 504.5 - 1.0;
    let device = device();
    let values = |count: usize, from: usize| (0..count).map(|k| spread(k + from)).collect::<Vec<f32>>();
    let labels: Vec<i64> = (0..rows).map(|row| (row * 911 % classes) as i64).collect();
    let ring = Regularizer::Ring { weight: 0.1, radius: 1.5 };
    let plain = |name| (name, presets::find(name).unwrap().spec());
    let specs = [
        plain("normface"),
        plain("arcface"),
        plain("cross-entropy"),
        plain("curricularface"),
        plain("adaface"),
        plain("magface"),
        plain("sphereface"),
        plain("one-versus-rest"),
        ("ring", presets::CROSS_ENTROPY.spec().with_regularizer(ring)),
    ];
    for (name, spec) in specs {
        let spec = spec.with_ignored_label(911);
        let mut head = MarginHeadConfig::new(width, classes).with_loss(spec).try_init(&device).unwrap();
        let weight = TensorData::new(values(classes * width, 5), [classes, width]);
        head.weight = Param::from_tensor(Tensor::from_data(weight, &device).require_grad());
        let answer = |composed: bool| {
            let embeddings = TensorData::new(values(rows * width, 77), [rows, width]);
            let embeddings: Tensor<2> = Tensor::from_data(embeddings, &device).require_grad();
            let targets: Tensor<1, Int> = Tensor::from_data(TensorData::new(labels.clone(), [rows]), &device);
            let inputs = if composed { RowTensors::new().composed() } else { RowTensors::new() };
            let answer = head.try_forward_top(embeddings.clone(), targets, inputs).unwrap();
            let gradients = answer.loss.clone().mul_scalar(2.5).backward();
            let list = |tensor: Option<TensorData>| {
                tensor.map_or_else(Vec::new, |data| data.iter::<f32>().collect::<Vec<f32>>())
            };
            let scale = head.scale.as_ref().map(|scale| scale.val().grad(&gradients).unwrap().into_data());
            let bias = head.bias.as_ref().map(|bias| bias.val().grad(&gradients).unwrap().into_data());
            let radius = head.radius.as_ref().map(|radius| radius.val().grad(&gradients).unwrap().into_data());
            let top = answer.top.into_data().iter::<i64>().collect::<Vec<i64>>();
            let slopes = [
                list(Some(embeddings.grad(&gradients).unwrap().into_data())),
                list(Some(head.weight.val().grad(&gradients).unwrap().into_data())),
                list(scale),
                list(bias),
                list(radius),
            ];
            (number(&answer.loss), top, slopes)
        };
        let ((loss, top, slopes), (want, of_want, of_slopes)) = (answer(true), answer(false));
        assert!((loss - want).abs() <= 1e-4 * want.abs(), "{name}: {loss}, {want} wanted");
        assert_eq!(top, of_want, "{name}");
        for (got, want) in slopes.iter().zip(&of_slopes) {
            assert_eq!(got.len(), want.len(), "{name}");
            let square =
                |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
            let off = square(&mut got.iter().zip(want).map(|(a, b)| a - b));
            assert!(off <= 1e-3 * square(&mut want.iter().copied()), "{name}: {off:e}");
        }
    }
}
