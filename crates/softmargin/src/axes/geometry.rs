//! The geometry: the scores of embeddings and prototypes, and the gradients with respect to both.
//!
//! | geometry | score of class `j` | `r` of margins on the angle |
//! |---|---|---|
//! | inner product | `<x, w_j> + b_j` | `r = abs(x) abs(w_y)` |
//! | unit weights | `<x, w_j / abs(w_j)>` | `r = abs(x)` |
//! | cosine | `<x / abs(x), w_j / abs(w_j)>` | `r = 1` |
//!
//! Under the cosine `dL/dx = (I - x^ x^T) (sum_k dL/dcos_k w^_k) / abs(x)`, orthogonal to `x`; likewise for the
//! prototypes. A vector of norm 0 has cosine 0 with every other vector, and gradient 0.

use crate::error::{Error, ErrorKind, Result};
use crate::number::Real;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, CowArray, Ix2};
use serde::{Deserialize, Serialize};

/// The tolerance by which the size of a cosine may exceed 1: the rounding error of 1 in half precision.
pub(crate) const COSINE_TOLERANCE: f64 = 1e-3;

/// The computation of a score from an embedding and a prototype.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Geometry {
    /// `<x, w_j>`, plus `b_j` with a bias; the loss divides it by the temperature.
    InnerProduct {
        /// True if the head has a bias (C).
        bias: bool,
        /// `T > 0`: the scores are multiplied by `1 / T` before the comparison.
        temperature: f64,
    },
    /// `<x, w_j / |w_j|>`: only the prototypes are normalized.
    #[serde(deserialize_with = "super::no_options::no_options")]
    UnitWeights,
    /// `<x / |x|, w_j / |w_j|>`, from -1 to 1.
    #[serde(deserialize_with = "super::no_options::no_options")]
    Cosine,
}

/// The scores of a batch and the norms of their embeddings and prototypes.
#[derive(Clone, Debug)]
pub struct Scored<F> {
    /// Scores (N, C).
    pub scores: Array2<F>,
    /// `|x_i|` (N).
    pub embedding_norms: Array1<F>,
    /// `|w_j|` (C).
    pub weight_norms: Array1<F>,
}

/// Gradients with respect to scores and norms.
#[derive(Clone, Debug)]
pub struct ScoreGradients<F> {
    /// With respect to the scores (N, C).
    pub scores: Array2<F>,
    /// With respect to the norms of the embeddings (N), if the loss depends on them.
    pub embedding_norms: Option<Array1<F>>,
    /// With respect to the norms of the prototypes (C), if the loss depends on them.
    pub weight_norms: Option<Array1<F>>,
}

/// Gradients with respect to embeddings, prototypes and bias.
#[derive(Clone, Debug)]
pub struct OperandGradients<F> {
    /// With respect to the embeddings (N, D).
    pub embeddings: Array2<F>,
    /// With respect to the prototypes (C, D).
    pub weight: Array2<F>,
    /// With respect to the bias (C): the sum over the rows of the scores' gradients.
    pub bias: Array1<F>,
}

impl Geometry {
    /// Returns true if the scores lie in `[-1, 1]` by construction.
    pub fn is_bounded(self) -> bool {
        self == Geometry::Cosine
    }

    /// Returns the temperature, by which the scores are divided before the comparison; 1 except for inner products.
    pub fn temperature(self) -> f64 {
        match self {
            Geometry::InnerProduct { temperature, .. } => temperature,
            Geometry::UnitWeights | Geometry::Cosine => 1.0,
        }
    }

    /// Returns true if the head has a bias.
    pub fn has_bias(self) -> bool {
        matches!(self, Geometry::InnerProduct { bias: true, .. })
    }

    pub(crate) fn normalizes_embeddings(self) -> bool {
        self == Geometry::Cosine
    }

    pub(crate) fn normalizes_weights(self) -> bool {
        matches!(self, Geometry::UnitWeights | Geometry::Cosine)
    }

    /// Computes the scores (N, C) of embeddings (N, D) and prototypes (C, D), with a bias (C) if the geometry has one.
    ///
    /// # Errors
    /// If the embedding dimensions differ, the geometry has a bias and none is given, it has none and one is given, or
    /// the length of the bias is not C.
    ///
    /// ```
    /// use ndarray::array;
    /// use softmargin::Geometry;
    /// let x = array![[3.0_f64, 4.0], [0.0, 0.0]];
    /// let w = array![[2.0, 0.0], [0.0, 1.0]];
    /// let scored = Geometry::Cosine.scores(x.view(), w.view(), None)?;
    /// assert_eq!(scored.scores, array![[0.6, 0.8], [0.0, 0.0]]);
    /// # Ok::<(), softmargin::Error>(())
    /// ```
    pub fn scores<F: Real>(
        self,
        embeddings: ArrayView2<'_, F>,
        weight: ArrayView2<'_, F>,
        bias: Option<ArrayView1<'_, F>>,
    ) -> Result<Scored<F>> {
        check_widths(embeddings, weight)?;
        self.check_bias(weight.nrows(), bias)?;
        let embedding_norms = norms(embeddings);
        let weight_norms = norms(weight);
        let x = if self.normalizes_embeddings() { tamed(embeddings, &embedding_norms) } else { embeddings.into() };
        let w = if self.normalizes_weights() { tamed(weight, &weight_norms) } else { weight.into() };
        let mut scores = x.dot(&w.t());
        if self.normalizes_embeddings() {
            divide(&mut scores, norms(x.view()).insert_axis(Axis(1)).view());
        }
        if self.normalizes_weights() {
            divide(&mut scores, norms(w.view()).insert_axis(Axis(0)).view());
        }
        if self.is_bounded() {
            // Rounding may carry a cosine past 1 by a unit in the last place.
            scores.mapv_inplace(|cos| {
                if cos > F::one() {
                    F::one()
                } else if cos < -F::one() {
                    -F::one()
                } else {
                    cos
                }
            });
        }
        if let Some(bias) = bias {
            scores += &bias;
        }
        Ok(Scored { scores, embedding_norms, weight_norms })
    }

    /// Computes the gradients with respect to embeddings (N, D), prototypes (C, D) and bias (C) from those with respect
    /// to scores (N, C) and norms (N), (C).
    ///
    /// # Errors
    /// If shapes disagree.
    pub fn backward<F: Real>(
        self,
        embeddings: ArrayView2<'_, F>,
        weight: ArrayView2<'_, F>,
        scored: &Scored<F>,
        gradients: &ScoreGradients<F>,
    ) -> Result<OperandGradients<F>> {
        check_widths(embeddings, weight)?;
        check_gradients(embeddings.nrows(), weight.nrows(), scored, gradients)?;
        let slopes = gradients.scores.view();
        let x_inverse = self.normalizes_embeddings().then(|| inverse(&scored.embedding_norms));
        let w_inverse = self.normalizes_weights().then(|| inverse(&scored.weight_norms));

        // dL/dx_i = (sum_j g_ij w^_j - radial_i x^_i) / |x_i|, and the same with the roles exchanged.
        let mut for_weights = slopes.to_owned();
        let mut for_embeddings = slopes.to_owned();
        if let Some(w_inverse) = &w_inverse {
            for_embeddings *= w_inverse;
        }
        if let Some(x_inverse) = &x_inverse {
            scale_rows(&mut for_weights, x_inverse);
        }
        let mut d_embeddings = for_embeddings.dot(&weight);
        let mut d_weight = for_weights.t().dot(&embeddings);
        if let Some(x_inverse) = &x_inverse {
            let along = radial(slopes, scored.scores.view(), Axis(1));
            project_rows(&mut d_embeddings, embeddings, x_inverse, &along);
        }
        if let Some(w_inverse) = &w_inverse {
            let along = radial(slopes, scored.scores.view(), Axis(0));
            project_rows(&mut d_weight, weight, w_inverse, &along);
        }
        if let Some(by_norm) = &gradients.embedding_norms {
            add_along(&mut d_embeddings, embeddings, &inverse(&scored.embedding_norms), by_norm);
        }
        if let Some(by_norm) = &gradients.weight_norms {
            add_along(&mut d_weight, weight, &inverse(&scored.weight_norms), by_norm);
        }
        Ok(OperandGradients { embeddings: d_embeddings, weight: d_weight, bias: slopes.sum_axis(Axis(0)) })
    }

    pub(crate) fn check_bias<F>(self, classes: usize, bias: Option<ArrayView1<'_, F>>) -> Result<()> {
        let found = bias.map_or_else(|| "none".into(), |bias| format!("one of length {}", bias.len()));
        match bias {
            None if self.has_bias() => Err(shape("bias", "one: this geometry has a bias", found)),
            Some(_) if !self.has_bias() => Err(shape("bias", "none: this geometry has no bias", found)),
            Some(bias) if bias.len() != classes => {
                Err(shape("bias", format!("length {classes}, one per class"), found))
            }
            _ => Ok(()),
        }
    }
}

fn check_widths<F>(embeddings: ArrayView2<'_, F>, weight: ArrayView2<'_, F>) -> Result<()> {
    if embeddings.ncols() == weight.ncols() {
        return Ok(());
    }
    let expected = format!("(C, {}), as wide as the embeddings", embeddings.ncols());
    Err(shape("weight", expected, format!("{:?}", weight.dim())))
}

fn check_gradients<F>(rows: usize, classes: usize, scored: &Scored<F>, gradients: &ScoreGradients<F>) -> Result<()> {
    for (name, matrix) in [("scores", &scored.scores), ("gradient of the scores", &gradients.scores)] {
        if matrix.dim() != (rows, classes) {
            return Err(shape(name, format!("({rows}, {classes})"), format!("{:?}", matrix.dim())));
        }
    }
    let vectors = [
        ("embedding norms", Some(&scored.embedding_norms), rows),
        ("weight norms", Some(&scored.weight_norms), classes),
        ("gradient of the embedding norms", gradients.embedding_norms.as_ref(), rows),
        ("gradient of the weight norms", gradients.weight_norms.as_ref(), classes),
    ];
    for (name, vector, length) in vectors {
        if let Some(vector) = vector.filter(|vector| vector.len() != length) {
            return Err(shape(name, format!("length {length}"), format!("length {}", vector.len())));
        }
    }
    Ok(())
}

/// Scales rows whose products could overflow or vanish, by a power of two, to norms near 1. This is exact and has no
/// effect on a cosine.
fn tamed<'a, F: Real>(rows: ArrayView2<'a, F>, norms: &Array1<F>) -> CowArray<'a, F, Ix2> {
    const TAME: std::ops::RangeInclusive<f64> = 1e-9..=1e9;
    let wild = |norm: &F| norm.is_finite() && *norm > F::zero() && !TAME.contains(&norm.widen());
    if !norms.iter().any(wild) {
        return rows.into();
    }
    let mut rows = rows.to_owned();
    for (mut row, norm) in rows.rows_mut().into_iter().zip(norms).filter(|(_, norm)| wild(norm)) {
        let power = norm.widen().log2().round().exp2();
        row.mapv_inplace(|entry| F::round_from(entry.widen() / power));
    }
    rows.into()
}

fn shape(subject: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::new(ErrorKind::Shape, subject, expected, found, "give arrays whose shapes agree")
}

/// Computes the Euclidean norms of the rows, in f64. The entries are divided by the largest one first, so that no
/// square overflows or vanishes.
pub(crate) fn norms<F: Real>(rows: ArrayView2<'_, F>) -> Array1<F> {
    rows.map_axis(Axis(1), |row| {
        let largest = row.iter().fold(0.0_f64, |most, v| most.max(v.widen().abs()));
        if largest == 0.0 || !largest.is_finite() {
            return F::round_from(if row.iter().any(|v| v.is_nan()) { f64::NAN } else { largest });
        }
        F::round_from(largest * row.iter().map(|v| (v.widen() / largest).powi(2)).sum::<f64>().sqrt())
    })
}

/// Divides scores by norms. A norm of 0 gives 0.
fn divide<F: Real>(scores: &mut Array2<F>, norms: ArrayView2<'_, F>) {
    ndarray::Zip::from(scores)
        .and_broadcast(norms)
        .for_each(|score, &norm| *score = if norm == F::zero() { F::zero() } else { *score / norm });
}

/// Returns `1 / norm`, or 0 if that overflows, so that a vector of norm 0 has cosine 0.
pub(crate) fn inverse<F: Real>(norms: &Array1<F>) -> Array1<F> {
    norms.mapv(|norm| {
        let inverse = norm.recip();
        if inverse.is_infinite() { F::zero() } else { inverse }
    })
}

fn scale_rows<F: Real>(rows: &mut Array2<F>, factors: &Array1<F>) {
    *rows *= &factors.view().insert_axis(Axis(1));
}

/// Computes `sum g z` along an axis: the radial part of a gradient, along the vector itself.
fn radial<F: Real>(slopes: ArrayView2<'_, F>, scores: ArrayView2<'_, F>, axis: Axis) -> Array1<F> {
    let sums = ndarray::Zip::from(slopes.lanes(axis)).and(scores.lanes(axis));
    sums.map_collect(|g, z| F::round_from(g.iter().zip(z).map(|(g, z)| g.widen() * z.widen()).sum()))
}

/// Replaces `d` by `(d - along v^) / |v|`, row by row.
fn project_rows<F: Real>(d: &mut Array2<F>, v: ArrayView2<'_, F>, inverse: &Array1<F>, along: &Array1<F>) {
    for (((mut d, v), &inverse), &along) in d.rows_mut().into_iter().zip(v.rows()).zip(inverse).zip(along) {
        ndarray::Zip::from(&mut d).and(&v).for_each(|d, &v| *d = (*d - along * (v * inverse)) * inverse);
    }
}

/// Adds `radial v^` to `d`, row by row.
pub(crate) fn add_along<F: Real>(d: &mut Array2<F>, v: ArrayView2<'_, F>, inverse: &Array1<F>, radial: &Array1<F>) {
    for (((mut d, v), &inverse), &radial) in d.rows_mut().into_iter().zip(v.rows()).zip(inverse).zip(radial) {
        d.scaled_add(radial * inverse, &v);
    }
}
