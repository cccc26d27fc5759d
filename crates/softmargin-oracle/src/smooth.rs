//! Softplus, logistic, log-sum-exp, softmax: values and derivatives.
//!
//! Each function has the textbook form that neither overflows nor cancels.

/// Returns `max(x, 0)`.
pub fn relu(x: f64) -> f64 {
    if x > 0.0 { x } else { 0.0 }
}

/// Returns the derivative of [`relu`]; it is 0 at 0.
pub fn relu_derivative(x: f64) -> f64 {
    if x > 0.0 { 1.0 } else { 0.0 }
}

/// Returns `ln(1 + e^x)`.
pub fn softplus(x: f64) -> f64 {
    if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() }
}

/// Returns `1 / (1 + e^-x)`, the derivative of [`softplus`].
pub fn logistic(x: f64) -> f64 {
    if x > 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

/// Returns the derivative of [`logistic`].
pub fn logistic_derivative(x: f64) -> f64 {
    logistic(x) * logistic(-x)
}

/// Returns the largest value and its lowest index; `(-inf, 0)` for an empty slice.
pub fn maximum(values: &[f64]) -> (f64, usize) {
    let mut best = (f64::NEG_INFINITY, 0);
    for (index, &value) in values.iter().enumerate() {
        if value > best.0 {
            best = (value, index);
        }
    }
    best
}

/// Returns `ln sum_k e^z_k`; `-inf` for an empty slice.
pub fn log_sum_exp(z: &[f64]) -> f64 {
    let (top, _) = maximum(z);
    if top.is_infinite() {
        return top;
    }
    top + rest_over_top(z).ln_1p()
}

/// Returns `sum_k e^(z_k - max)` without the first largest term, so that a small remainder is not lost.
fn rest_over_top(z: &[f64]) -> f64 {
    let (top, at) = maximum(z);
    let mut rest = 0.0;
    for (k, value) in z.iter().enumerate() {
        if k != at {
            rest += (value - top).exp();
        }
    }
    rest
}

/// Returns `e^z_k / sum e^z`.
///
/// Entries at `+inf` share the probability equally; if all entries are `-inf`, the result is 0.
pub fn softmax(z: &[f64]) -> Vec<f64> {
    let (top, _) = maximum(z);
    if top == f64::NEG_INFINITY {
        return vec![0.0; z.len()];
    }
    if top == f64::INFINITY {
        let count = z.iter().filter(|v| **v == top).count() as f64;
        return z.iter().map(|v| if *v == top { 1.0 / count } else { 0.0 }).collect();
    }
    let total = 1.0 + rest_over_top(z);
    z.iter().map(|v| (v - top).exp() / total).collect()
}

/// Returns `ln softmax(z)`; the largest value must be finite.
pub fn log_softmax(z: &[f64]) -> Vec<f64> {
    let (top, _) = maximum(z);
    let rest = rest_over_top(z).ln_1p();
    z.iter().map(|v| (v - top) - rest).collect()
}

/// Returns `d softmax_i / d z_j`, flat (n, n): `q_i (1 - q_i)` on the diagonal and `-q_i q_j` elsewhere.
pub fn softmax_jacobian(z: &[f64]) -> Vec<f64> {
    let q = softmax(z);
    let mut jacobian = Vec::new();
    for i in 0..q.len() {
        for j in 0..q.len() {
            // 1 - q_i as the sum of the others keeps its digits if q_i is nearly 1.
            let others: f64 = (0..q.len()).filter(|k| *k != i).map(|k| q[k]).sum();
            jacobian.push(if i == j { q[i] * others } else { -q[i] * q[j] });
        }
    }
    jacobian
}

/// Returns `T ln sum e^(z / T)`, which tends to the maximum as `T` tends to 0.
pub fn log_sum_exp_at(z: &[f64], temperature: f64) -> f64 {
    temperature * log_sum_exp(&divided(z, temperature))
}

/// Returns `softmax(z / T)`, the derivative of [`log_sum_exp_at`].
pub fn softmax_at(z: &[f64], temperature: f64) -> Vec<f64> {
    softmax(&divided(z, temperature))
}

/// Returns `ln softmax(z / T)`.
pub fn log_softmax_at(z: &[f64], temperature: f64) -> Vec<f64> {
    log_softmax(&divided(z, temperature))
}

/// Returns `z / T`.
pub fn divided(z: &[f64], temperature: f64) -> Vec<f64> {
    z.iter().map(|v| v / temperature).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::difference::five_point_difference;

    #[test]
    fn known_values_are_reproduced() {
        let z = [1.0, 2.0, 3.0, 4.0];
        let times = |a: f64| z.map(|v| v * a);
        assert!((log_sum_exp(&z) - 4.4402).abs() < 5e-5);
        assert!((softmax(&z)[3] - 0.6439).abs() < 5e-5);
        assert!((log_sum_exp(&times(10.0)) - 40.0).abs() < 5e-5);
        assert!((log_sum_exp(&times(0.1)) - 1.6425).abs() < 5e-5);
        assert!((softmax(&times(0.1))[3] - 0.2887).abs() < 5e-5);
    }

    #[test]
    fn derivatives_agree_with_differences() {
        let z = [0.3, -1.2, 2.0];
        let q = five_point_difference(log_sum_exp, &z, 1e-3);
        for (a, b) in q.iter().zip(softmax(&z)) {
            assert!((a - b).abs() < 1e-11);
        }
        for i in 0..3 {
            let row = five_point_difference(|v| softmax(v)[i], &z, 1e-3);
            for (j, d) in row.iter().enumerate() {
                assert!((d - softmax_jacobian(&z)[i * 3 + j]).abs() < 1e-11);
            }
        }
        for x in [-30.0, -1.0, 0.0, 2.0, 30.0] {
            let d = five_point_difference(|v| softplus(v[0]), &[x], 1e-3)[0];
            assert!((d - logistic(x)).abs() < 1e-11);
            let d = five_point_difference(|v| logistic(v[0]), &[x], 1e-3)[0];
            assert!((d - logistic_derivative(x)).abs() < 1e-11);
        }
    }

    #[test]
    fn infinite_and_extreme_arguments_give_the_limits() {
        assert_eq!(softplus(f64::NEG_INFINITY), 0.0);
        assert_eq!(softplus(f64::INFINITY), f64::INFINITY);
        assert_eq!(logistic(f64::NEG_INFINITY), 0.0);
        assert_eq!(logistic(1e4), 1.0);
        assert_eq!(softmax(&[f64::INFINITY, 1.0, f64::INFINITY]), [0.5, 0.0, 0.5]);
        assert_eq!(log_sum_exp(&[]), f64::NEG_INFINITY);
        let z = [1.0, 3.0, 2.0];
        assert!((log_sum_exp_at(&z, 1e-3) - 3.0).abs() < 1e-12);
        let bound = 3f64.ln();
        assert!(log_sum_exp(&z) >= 3.0 && log_sum_exp(&z) <= 3.0 + bound);
    }

    #[test]
    fn log_softmax_keeps_its_digits_near_probability_one() {
        assert!((log_softmax(&[20.0, 0.0])[0] + 2.061153620314381e-9).abs() < 1e-23);
        assert!((log_softmax(&[1e4, 9999.0])[0] + 0.3132616875182228).abs() < 1e-15);
    }
}
