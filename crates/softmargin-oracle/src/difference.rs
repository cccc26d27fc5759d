//! Numerical derivatives of a function of a vector.

/// Returns `(f(x + h) - f(x - h)) / 2h` in every coordinate, with an error of order `h^2`.
pub fn central_difference(f: impl Fn(&[f64]) -> f64, x: &[f64], h: f64) -> Vec<f64> {
    in_each_coordinate(x, |moved| (moved(&f, h) - moved(&f, -h)) / (2.0 * h))
}

/// Returns the five-point difference in every coordinate.
///
/// The error is of order `h^4`, so `h` may be larger and rounding matters less.
pub fn five_point_difference(f: impl Fn(&[f64]) -> f64, x: &[f64], h: f64) -> Vec<f64> {
    in_each_coordinate(x, |moved| {
        let near = moved(&f, h) - moved(&f, -h);
        let far = moved(&f, 2.0 * h) - moved(&f, -2.0 * h);
        (8.0 * near - far) / (12.0 * h)
    })
}

/// `f` at `x` with one coordinate moved by the second argument.
type Moved<'a> = dyn Fn(&dyn Fn(&[f64]) -> f64, f64) -> f64 + 'a;

fn in_each_coordinate(x: &[f64], derivative: impl Fn(&Moved<'_>) -> f64) -> Vec<f64> {
    let derivative_in = |k: usize| {
        let moved = |f: &dyn Fn(&[f64]) -> f64, step: f64| {
            let mut at = x.to_vec();
            at[k] += step;
            f(&at)
        };
        derivative(&moved)
    };
    (0..x.len()).map(derivative_in).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_differences_approximate_the_derivative_of_a_product() {
        let f = |v: &[f64]| v[0].sin() * v[1].exp();
        let x = [0.7, -0.3];
        let exact = [0.7f64.cos() * (-0.3f64).exp(), 0.7f64.sin() * (-0.3f64).exp()];
        for (k, d) in exact.iter().enumerate() {
            assert!((central_difference(f, &x, 1e-5)[k] - d).abs() < 1e-9);
            assert!((five_point_difference(f, &x, 1e-3)[k] - d).abs() < 1e-12);
        }
    }
}
