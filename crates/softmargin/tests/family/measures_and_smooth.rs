//! Measures of distributions and smooth functions: golden values, properties and rejected inputs.

use crate::error_report::ErrorReport;
use crate::golden::{file, items, list, number};
use crate::tolerances::{PLAIN, Precision, V};
use softmargin::measures::{Unit, cross_entropy, entropy, kl_divergence, self_information};
use softmargin::{ErrorKind, smooth};
use softmargin_oracle::central_difference;

#[test]
fn measures_agree_with_golden_values() {
    let mut report = ErrorReport::new("measures");
    let golden = file("measures");
    for case in items(&golden["cases"]) {
        let name = case["name"].as_str().unwrap();
        let unit = if case["unit"] == "bits" { Unit::Bits } else { Unit::Nats };
        let (p, q) = (list(&case["p"]).unwrap(), list(&case["q"]).unwrap());
        for (k, want) in list(&case["self_information"]).unwrap().into_iter().enumerate() {
            let got = self_information(p[k], unit).unwrap();
            report.check("self-information", || format!("{name} [{k}]"), got, want, PLAIN * want);
        }
        let mut check = |key: &str, got: f64, gap: f64| {
            let want = number(&case[key]);
            report.check(key, || name.to_owned(), got, want, PLAIN * (want + gap));
        };
        check("entropy", entropy(&p, unit).unwrap(), 0.0);
        check("cross_entropy", cross_entropy(&p, &q, unit).unwrap(), 0.0);
        // A term p ln(p/q) - p + q of size (p - q)^2 / p is the difference of two values of size p - q.
        let gap = p.iter().zip(&q).map(|(p, q)| (p - q).abs()).fold(0.0, f64::max);
        check("kullback_leibler", kl_divergence(&p, &q, unit).unwrap(), gap);
    }
    report.finish(120);
}

#[test]
fn measures_satisfy_their_identities() {
    let p = [0.5, 0.25, 0.125, 0.125];
    let q = [0.1, 0.2, 0.3, 0.4];
    for unit in [Unit::Nats, Unit::Bits] {
        let sum = entropy(&p, unit).unwrap() + kl_divergence(&p, &q, unit).unwrap();
        assert!((cross_entropy(&p, &q, unit).unwrap() - sum).abs() <= PLAIN * sum);
        assert_eq!(cross_entropy(&p, &p, unit).unwrap(), entropy(&p, unit).unwrap());
        assert_eq!(kl_divergence(&q, &q, unit).unwrap(), 0.0);
        assert!(kl_divergence(&p, &q, unit).unwrap() > 0.0);
        assert_eq!(entropy(&[0.0, 1.0, 0.0], unit).unwrap().to_bits(), 0, "not minus zero");
    }
    for n in 1_u32..40 {
        let uniform = vec![1.0 / f64::from(n); n as usize];
        assert!((entropy(&uniform, Unit::Nats).unwrap() - f64::from(n).ln()).abs() <= PLAIN * f64::from(n + 1).ln());
    }
    assert_eq!(self_information(0.0, Unit::Bits).unwrap(), f64::INFINITY);
    assert_eq!(self_information(1.0, Unit::Bits).unwrap().to_bits(), 0, "not minus zero");
    assert_eq!(cross_entropy(&[0.5, 0.5], &[1.0, 0.0], Unit::Nats).unwrap(), f64::INFINITY);
}

#[test]
fn invalid_distributions_are_rejected() {
    let good = [0.5, 0.5];
    for (bad, found) in [
        (vec![], "none"),
        (vec![0.5, 0.6], "1.1"),
        (vec![-0.5, 1.5], "-0.5"),
        (vec![f64::NAN, 1.0], "NaN"),
        (vec![f64::INFINITY, 0.0], "inf"),
    ] {
        for error in [
            entropy(&bad, Unit::Nats).unwrap_err(),
            cross_entropy(&good, &bad, Unit::Nats).unwrap_err(),
            kl_divergence(&bad, &good, Unit::Bits).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Distribution);
            assert!(error.to_string().contains(found), "{error}");
        }
    }
    let lengths = kl_divergence(&good, &[1.0], Unit::Nats).unwrap_err();
    assert_eq!(lengths.kind(), ErrorKind::Shape);
    for p in [-0.1, 1.1, f64::NAN] {
        assert_eq!(self_information(p, Unit::Nats).unwrap_err().kind(), ErrorKind::Distribution);
    }
}

#[test]
fn smooth_functions_agree_with_golden_values() {
    let mut report = ErrorReport::new("smooth");
    let golden = file("smooth");
    for case in items(&golden["vectors"]) {
        let name = case["name"].as_str().unwrap();
        let (z, t) = (list(&case["z"]).unwrap(), number(&case["temperature"]));
        for precision in Precision::ALL {
            // Everything is computed in f64 and rounded once.
            let (lse, p, ln_p): (f64, Vec<f64>, Vec<f64>) = match precision {
                Precision::F64 => (
                    smooth::log_sum_exp(&z, t).unwrap(),
                    smooth::softmax(&z, t).unwrap(),
                    smooth::log_softmax(&z, t).unwrap(),
                ),
                Precision::F32 => {
                    let z: Vec<f32> = z.iter().map(|&z| z as f32).collect();
                    let wide = |all: Vec<f32>| all.into_iter().map(f64::from).collect();
                    (
                        f64::from(smooth::log_sum_exp(&z, t).unwrap()),
                        wide(smooth::softmax(&z, t).unwrap()),
                        wide(smooth::log_softmax(&z, t).unwrap()),
                    )
                }
            };
            let finite = z.iter().filter(|z| z.is_finite());
            let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &z| (l.min(z), h.max(z)));
            // e^d has the relative error |d| v because of the division by the temperature.
            let condition = 1.0 + (high - low) / t;
            let u = precision.unit();
            let least = if precision == Precision::F32 { f64::from(f32::from_bits(1)) } else { 0.0 };
            let mut check = |what: &str, got: f64, want: f64, canceled: f64| {
                let allowed = 2.0 * u * want.abs() + PLAIN * (condition * want.abs() + canceled) + least;
                report.check(&format!("{what} {precision:?}"), || name.to_owned(), got, want, allowed);
            };
            check("log-sum-exp", lse, number(&case["log_sum_exp"]), high.abs().min(1e300));
            for (got, want) in p.iter().zip(list(&case["softmax"]).unwrap()) {
                check("softmax", *got, want, 0.0);
            }
            for (got, want) in ln_p.iter().zip(list(&case["log_softmax"]).unwrap()) {
                check("log-softmax", *got, want, 0.0);
            }
        }
        check_jacobian(&mut report, name, case, &z, t);
    }
    for case in items(&golden["scalars"]) {
        let x = number(&case["x"]);
        let mut check = |key: &str, got: f64| {
            let want = number(&case[key]);
            report.check(key, || format!("{x}"), got, want, PLAIN * want);
        };
        check("softplus", smooth::softplus(x));
        check("logistic", smooth::sigmoid(x));
        check("relu", smooth::relu(x));
        check("relu_derivative", smooth::relu_slope(x));
        check("logistic_derivative", smooth::sigmoid(x) * smooth::sigmoid(-x));
    }
    report.finish(300);
}

/// Compares the products with unit vectors, which are the columns of the Jacobian.
fn check_jacobian(report: &mut ErrorReport, name: &str, case: &serde_json::Value, z: &[f64], t: f64) {
    if case["softmax_jacobian"].is_null() {
        return;
    }
    let p = smooth::softmax(z, t).unwrap();
    for (i, row) in items(&case["softmax_jacobian"]).iter().enumerate() {
        let mut direction = vec![0.0; z.len()];
        direction[i] = 1.0;
        let got = smooth::softmax_gradient(z, t, &direction).unwrap();
        for (j, want) in list(row).unwrap().into_iter().enumerate() {
            // p_j (g_j - sum g p) cancels as 1 - p_i does.
            let allowed = PLAIN * (want.abs() + p[j] / t);
            report.check("softmax gradient", || format!("{name} [{i}, {j}]"), got[j], want, allowed);
        }
        let got = smooth::log_softmax_gradient(z, t, &direction).unwrap();
        for (j, got) in got.into_iter().enumerate() {
            let want = (if i == j { 1.0 } else { 0.0 } - p[j]) / t;
            report.check("log-softmax gradient", || format!("{name} [{i}, {j}]"), got, want, PLAIN / t);
        }
    }
}

#[test]
fn derivatives_of_smooth_functions_agree_with_differences() {
    let z = [0.3, -1.2, 2.0, 0.9];
    for t in [0.5, 1.0, 3.0] {
        let slope = central_difference(|z| smooth::log_sum_exp(z, t).unwrap(), &z, 1e-5);
        for (a, b) in slope.iter().zip(smooth::softmax(&z, t).unwrap()) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
        let g = [0.2, -0.7, 1.1, 0.4];
        let along = |values: Vec<f64>| values.iter().zip(g).map(|(v, g)| v * g).sum::<f64>();
        let slope = central_difference(|z| along(smooth::softmax(z, t).unwrap()), &z, 1e-5);
        for (a, b) in slope.iter().zip(smooth::softmax_gradient(&z, t, &g).unwrap()) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
        let slope = central_difference(|z| along(smooth::log_softmax(z, t).unwrap()), &z, 1e-5);
        for (a, b) in slope.iter().zip(smooth::log_softmax_gradient(&z, t, &g).unwrap()) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
    }
}

#[test]
fn special_values_of_smooth_functions_are_handled() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    assert_eq!(smooth::log_sum_exp::<f64>(&[], 1.0).unwrap(), -inf);
    assert_eq!(smooth::log_sum_exp(&[-inf, -inf], 1.0).unwrap(), -inf);
    assert_eq!(smooth::log_sum_exp(&[inf, inf, 1.0], 1.0).unwrap(), inf);
    assert_eq!(smooth::softmax(&[inf, 1.0], 1.0).unwrap(), [1.0, 0.0]);
    assert_eq!(smooth::log_softmax(&[inf, 1.0], 1.0).unwrap(), [0.0, -inf]);
    assert_eq!(smooth::softmax(&[0.0, -inf], 2.0).unwrap(), [1.0, 0.0]);
    for scores in [vec![], vec![-inf, -inf], vec![inf, inf]] {
        assert_eq!(smooth::softmax(&scores, 1.0).unwrap_err().kind(), ErrorKind::Number);
        assert_eq!(smooth::log_softmax(&scores, 1.0).unwrap_err().kind(), ErrorKind::Number);
    }
    for error in [
        smooth::log_sum_exp(&[0.0, nan], 1.0).unwrap_err(),
        smooth::maximum(&[0.0, nan]).unwrap_err(),
        smooth::one_hot(&[0.0, nan]).unwrap_err(),
    ] {
        assert!(error.subject() == "score 1" && error.to_string().contains("NaN"), "{error}");
    }
    for temperature in [0.0, -1.0, nan, inf] {
        assert_eq!(smooth::softmax(&[0.0, 1.0], temperature).unwrap_err().subject(), "temperature");
    }
    assert_eq!(smooth::softmax_gradient(&[0.0, 1.0], 1.0, &[1.0]).unwrap_err().kind(), ErrorKind::Shape);
    assert_eq!(smooth::maximum::<f32>(&[]).unwrap(), f32::NEG_INFINITY);
    assert_eq!(smooth::one_hot(&[1.0, 3.0, 3.0]).unwrap(), [0.0, 1.0, 0.0], "the lowest index on ties");
    assert_eq!(smooth::arg_max(&[1.0, nan]), None);
    assert_eq!((smooth::softplus(-inf), smooth::softplus(inf)), (0.0, inf));
    assert_eq!((smooth::sigmoid(-inf), smooth::sigmoid(inf)), (0.0, 1.0));
}

#[test]
fn smooth_functions_satisfy_their_bounds() {
    let z = [1.0, 2.0, 3.0, 4.0];
    let max = smooth::maximum(&z).unwrap();
    for t in [1e-3, 0.1, 1.0, 10.0] {
        let lse: f64 = smooth::log_sum_exp(&z, t).unwrap();
        assert!((max..=max + t * 4_f64.ln()).contains(&lse));
        let sum: f64 = smooth::softmax(&z, t).unwrap().iter().sum();
        assert!((sum - 1.0).abs() <= 8.0 * V);
    }
    assert!((smooth::log_sum_exp(&z, 1e-6).unwrap() - max).abs() < 1e-12, "the limit at temperature 0 is the maximum");
    assert!((smooth::log_sum_exp(&z, 1.0).unwrap() - 4.4402).abs() < 5e-5);
    for x in [-50.0, -1.0, 0.0, 0.5, 40.0] {
        let (hard, soft) = (smooth::relu(x), smooth::softplus(x));
        assert!(hard <= soft && soft <= hard + 2_f64.ln());
    }
    // The naive difference of 1e4 and the log-sum-exp is -0.3135 in f32.
    let sharp = smooth::log_softmax(&[1e4_f32, 9999.0], 1.0).unwrap();
    assert_eq!(sharp[0], -0.313_261_7);
}
