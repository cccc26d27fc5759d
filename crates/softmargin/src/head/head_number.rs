//! The two number types of a head: `f32` takes the fused path, `f64` the unfused one.

use super::batch::{HeadBatch, HeadParameters};
use super::chunk::gradient_chunks;
use super::fused::FirstSweepDone;
use super::paths::Paths;
use super::result::{HeadGradients, HeadValue, LearnedGradients};
use crate::error::Result;
use crate::number::Real;
use crate::reduction::Reduction;
use ndarray::ArrayViewMut2;

/// The number type of embeddings and prototypes: `f32` or `f64`.
pub trait HeadNumber: Real + sealed::Compute {}

impl HeadNumber for f32 {}
impl HeadNumber for f64 {}

pub(super) mod sealed {
    use super::{ArrayViewMut2, HeadBatch, HeadParameters, HeadValue, LearnedGradients, Paths, Reduction, Result};

    /// The computation of a head in a type. Shapes have been checked.
    pub trait Compute: Sized {
        fn value(
            paths: Paths<'_>,
            batch: &HeadBatch<'_, Self>,
            parameters: &HeadParameters<'_, Self>,
            reduction: Reduction,
        ) -> Result<HeadValue<Self>>;

        fn value_and_grad(
            paths: Paths<'_>,
            batch: &HeadBatch<'_, Self>,
            parameters: &HeadParameters<'_, Self>,
            reduction: Reduction,
            embeddings: ArrayViewMut2<'_, Self>,
            weight: ArrayViewMut2<'_, Self>,
        ) -> Result<(HeadValue<Self>, LearnedGradients<Self>)>;
    }
}

impl sealed::Compute for f32 {
    fn value(
        paths: Paths<'_>,
        batch: &HeadBatch<'_, Self>,
        parameters: &HeadParameters<'_, Self>,
        reduction: Reduction,
    ) -> Result<HeadValue<Self>> {
        match begin(paths, batch, parameters, reduction, false)? {
            Some(after_first_sweep) => Ok(after_first_sweep.value()),
            None => plain_value(paths, batch, parameters, reduction),
        }
    }

    fn value_and_grad(
        paths: Paths<'_>,
        batch: &HeadBatch<'_, Self>,
        parameters: &HeadParameters<'_, Self>,
        reduction: Reduction,
        embeddings: ArrayViewMut2<'_, Self>,
        mut weight: ArrayViewMut2<'_, Self>,
    ) -> Result<(HeadValue<Self>, LearnedGradients<Self>)> {
        let Some(after_first_sweep) = begin(paths, batch, parameters, reduction, true)? else {
            return plain_gradients(paths, batch, parameters, reduction, embeddings, weight);
        };
        if batch.sampled.is_some() {
            weight.fill(0.0);
        }
        let starts = after_first_sweep.starts(weight.nrows());
        let chunks = gradient_chunks(parameters.weight, weight, &starts);
        Ok(after_first_sweep.finish(chunks, embeddings))
    }
}

impl sealed::Compute for f64 {
    fn value(
        paths: Paths<'_>,
        batch: &HeadBatch<'_, Self>,
        parameters: &HeadParameters<'_, Self>,
        reduction: Reduction,
    ) -> Result<HeadValue<Self>> {
        plain_value(paths, batch, parameters, reduction)
    }

    fn value_and_grad(
        paths: Paths<'_>,
        batch: &HeadBatch<'_, Self>,
        parameters: &HeadParameters<'_, Self>,
        reduction: Reduction,
        embeddings: ArrayViewMut2<'_, Self>,
        weight: ArrayViewMut2<'_, Self>,
    ) -> Result<(HeadValue<Self>, LearnedGradients<Self>)> {
        plain_gradients(paths, batch, parameters, reduction, embeddings, weight)
    }
}

fn begin<'a>(
    paths: Paths<'a>,
    batch: &'a HeadBatch<'_, f32>,
    parameters: &'a HeadParameters<'_, f32>,
    reduction: Reduction,
    gradients: bool,
) -> Result<Option<FirstSweepDone<'a>>> {
    let HeadParameters { weight, bias, learned } = parameters.reborrow();
    paths.begin(batch.reborrow(), weight, bias, learned, reduction, gradients)
}

fn plain_value<F: Real>(
    paths: Paths<'_>,
    batch: &HeadBatch<'_, F>,
    parameters: &HeadParameters<'_, F>,
    reduction: Reduction,
) -> Result<HeadValue<F>> {
    paths.unfused(batch, parameters, reduction, false).map(|(value, _)| value)
}

fn plain_gradients<F: Real>(
    paths: Paths<'_>,
    batch: &HeadBatch<'_, F>,
    parameters: &HeadParameters<'_, F>,
    reduction: Reduction,
    mut embeddings: ArrayViewMut2<'_, F>,
    mut weight: ArrayViewMut2<'_, F>,
) -> Result<(HeadValue<F>, LearnedGradients<F>)> {
    let (value, gradients) = paths.unfused(batch, parameters, reduction, true)?;
    let HeadGradients { embeddings: of_embeddings, weight: of_weight, learned } =
        gradients.expect("gradients were requested");
    embeddings.assign(&of_embeddings);
    weight.assign(&of_weight);
    Ok((value, learned))
}
