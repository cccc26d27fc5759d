//! Several prototypes per class: the score of a class is the largest of theirs (Deng, Guo, Liu, Gong, Zafeiriou 2020,
//! Sub-center ArcFace, ECCV).
//!
//! ```text
//! z_c = max_k z_{c K + k},    dL/dz_{c K + k} = dL/dz_c for the first largest k, 0 for the others
//! ```
//!
//! In the weight (C K, D), the prototypes of class `c` are the rows `c K` to `c K + K - 1`. [`Loss`](crate::Loss) takes
//! pooled scores (N, C): a head pools the result of [`Geometry::scores`](crate::Geometry::scores), and spreads the
//! gradient before [`Geometry::backward`](crate::Geometry::backward).

use crate::error::{Error, ErrorKind, Result};
use crate::number::Real;
use ndarray::{Array2, ArrayView2, Axis};

/// The largest number of prototypes per class.
pub const MOST: usize = 64;

/// The scores of classes, and the prototypes that they belong to.
#[derive(Clone, Debug, PartialEq)]
pub struct Pooled<F> {
    /// (N, C): the largest score of each class; NaN if one of its scores is NaN.
    pub scores: Array2<F>,
    /// (N, C): the index, within its class, of the prototype with that score; the first one on ties.
    pub winners: Array2<u8>,
}

/// Returns the largest of each class's K = `sub_centers` scores, from scores (N, C K).
///
/// # Errors
/// If `sub_centers` is not from 1 to [`MOST`], or does not divide the number of columns.
///
/// ```
/// use ndarray::array;
/// use softmargin::sub_centers;
/// let pooled = sub_centers::pool(array![[0.1_f32, 0.5, 0.2, 0.2]].view(), 2)?;
/// assert_eq!((pooled.scores, pooled.winners), (array![[0.5, 0.2]], array![[1, 0]]));
/// # Ok::<(), softmargin::Error>(())
/// ```
pub fn pool<F: Real>(scores: ArrayView2<'_, F>, sub_centers: usize) -> Result<Pooled<F>> {
    check(sub_centers)?;
    if !scores.ncols().is_multiple_of(sub_centers) {
        let expected = format!("(N, C K) with K = {sub_centers} prototypes per class");
        let found = format!("{:?}", scores.dim());
        return Err(Error::new(
            ErrorKind::Shape,
            "scores",
            expected,
            found,
            "give every class the same number of prototypes",
        ));
    }
    let shape = (scores.nrows(), scores.ncols() / sub_centers);
    let mut pooled = Pooled { scores: Array2::zeros(shape), winners: Array2::zeros(shape) };
    for ((row, mut best), mut winners) in
        scores.rows().into_iter().zip(pooled.scores.rows_mut()).zip(pooled.winners.rows_mut())
    {
        let classes = row.axis_chunks_iter(Axis(0), sub_centers).zip(&mut best).zip(&mut winners);
        for ((centers, best), winner) in classes {
            *best = centers[0];
            for (k, &score) in (0_u8..).zip(&centers).skip(1) {
                if score > *best || score.is_nan() {
                    (*best, *winner) = (score, k);
                }
            }
        }
    }
    Ok(pooled)
}

/// Returns the gradient with respect to all scores (N, C K), given that with respect to the pooled scores (N, C). It is
/// 0 for all prototypes except the winners.
///
/// # Errors
/// If shapes disagree, `sub_centers` is not from 1 to [`MOST`], or a winner is not below it.
///
/// ```
/// use ndarray::array;
/// use softmargin::sub_centers;
/// let spread = sub_centers::spread(array![[3.0_f32, 4.0]].view(), array![[1, 0]].view(), 2)?;
/// assert_eq!(spread, array![[0.0, 3.0, 4.0, 0.0]]);
/// # Ok::<(), softmargin::Error>(())
/// ```
pub fn spread<F: Real>(
    gradient: ArrayView2<'_, F>,
    winners: ArrayView2<'_, u8>,
    sub_centers: usize,
) -> Result<Array2<F>> {
    check(sub_centers)?;
    let reject = |expected: String, found: String| {
        Err(Error::new(ErrorKind::Shape, "winners", expected, found, "give the winners that pool returned"))
    };
    if winners.dim() != gradient.dim() {
        return reject(format!("{:?}, as the gradient", gradient.dim()), format!("{:?}", winners.dim()));
    }
    if let Some(winner) = winners.iter().find(|winner| usize::from(**winner) >= sub_centers) {
        return reject(format!("numbers below {sub_centers}"), winner.to_string());
    }
    let mut all = Array2::zeros((gradient.nrows(), gradient.ncols() * sub_centers));
    for (((row, class), &slope), &winner) in gradient.indexed_iter().zip(winners) {
        all[[row, class * sub_centers + usize::from(winner)]] = slope;
    }
    Ok(all)
}

/// Returns an error for a number of prototypes out of range.
pub(crate) fn check(sub_centers: usize) -> Result<()> {
    if (1..=MOST).contains(&sub_centers) {
        return Ok(());
    }
    let expected = format!("a number from 1 to {MOST}");
    let advice = "1 is one prototype per class; the paper uses 3";
    Err(Error::new(ErrorKind::Spec, "sub_centers", expected, sub_centers.to_string(), advice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn the_first_largest_wins_and_nan_is_not_hidden() {
        let z = array![[1.0_f64, 1.0, 0.0, -3.0, f64::NEG_INFINITY, -2.0], [0.0, f64::NAN, 5.0, 2.0, 3.0, 1.0]];
        let pooled = pool(z.view(), 3).unwrap();
        assert_eq!(pooled.scores.row(0), array![1.0, -2.0]);
        assert_eq!(pooled.winners.row(0), array![0, 2]);
        assert!(pooled.scores[[1, 0]].is_nan() && pooled.scores[[1, 1]] == 3.0);
        let one = pool(z.slice(ndarray::s![..1, ..]), 1).unwrap();
        assert_eq!((one.scores.row(0), one.winners.sum()), (z.row(0), 0));
        let strided = z.t().as_standard_layout().into_owned();
        assert_eq!(pool(strided.t(), 3).unwrap().winners, pooled.winners);
    }

    #[test]
    fn what_does_not_fit_is_rejected() {
        let z = Array2::<f32>::zeros((2, 6));
        assert_eq!(pool(z.view(), 4).unwrap_err().subject(), "scores");
        for count in [0, MOST + 1] {
            assert_eq!(pool(z.view(), count).unwrap_err().subject(), "sub_centers");
        }
        let winners = array![[0_u8, 3], [0, 0]];
        let gradient = Array2::<f32>::zeros((2, 2));
        assert!(spread(gradient.view(), winners.view(), 4).is_ok());
        assert_eq!(spread(gradient.view(), winners.view(), 3).unwrap_err().subject(), "winners");
        assert_eq!(spread(z.view(), winners.view(), 4).unwrap_err().subject(), "winners");
        assert_eq!(pool(Array2::<f32>::zeros((0, 6)).view(), 3).unwrap().scores.dim(), (0, 2));
    }
}
