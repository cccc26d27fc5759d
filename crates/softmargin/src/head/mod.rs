//! The last layer and its loss as one operation, for large numbers of classes. The scores are computed tile
//! by tile, and [`HeadOptions::memory`] limits what is stored of them.
//!
//! From embeddings X (N, D), prototypes W (C, D) and targets, a head computes the loss and its gradients with respect
//! to X and W, for every [`Loss`]. Two sweeps run over the classes, tile by tile:
//!
//! ```text
//! first     Z = X W^T,  E = exp(s (Z - reference)),  sums of E,  A += E W
//!           between the sweeps: the losses of the rows, and the factors f of their derivatives
//! second    dW = E^T X',  X' = f X
//! ```
//!
//! The margin changes one score per row, in f64, outside the sweeps (`rows.rs`). The negatives are computed by one of
//! three kinds of work on a tile (`tile.rs`). [`Mode`] defines what is stored of E between the sweeps.
//!
//! ```
//! use ndarray::array;
//! use softmargin::head::{Head, HeadBatch};
//! use softmargin::{Reduction, presets};
//! let head = Head::new(presets::AM_SOFTMAX.spec().build(3)?);
//! let x = array![[0.5_f32, 1.0], [2.0, -0.3]];
//! let w = array![[1.0_f32, 0.0], [0.0, 1.0], [-1.0, -1.0]];
//! let targets = array![1, 0];
//! let batch = HeadBatch::new(x.view(), targets.view());
//! let (value, gradients) = head.value_and_grad(&batch, w.view(), Reduction::Mean)?;
//! assert_eq!((gradients.embeddings.dim(), gradients.weight.dim()), ((2, 2), (3, 2)));
//! assert_eq!(value.statistics.top, array![1, 0]);
//! # Ok::<(), softmargin::Error>(())
//! ```
//!
//! # Reproducibility
//!
//! Results are bitwise identical for any number of threads, and from run to run. Results of different modes,
//! instruction sets and precisions differ by rounding.

mod arithmetic;
mod barrier;
mod batch;
mod chunk;
mod first_sweep;
mod fused;
mod head_number;
mod memory;
mod optimizer;
mod options;
mod panels;
mod paths;
mod product;
mod result;
mod row_chunked;
mod rows;
mod sampling;
mod second_sweep;
mod sweep;
mod tile;
mod tiling;
mod unfused;

pub use batch::{HeadBatch, HeadParameters, HeadParametersMut};
pub use head_number::HeadNumber;
pub use optimizer::{Optimizer, OptimizerMoments, Rule, SavedMoments};
pub use options::{HeadOptions, Mode, Precision};
pub use result::{Distribution, HeadGradients, HeadValue, LearnedGradients, RowStatistics, StepGradients};
pub use sampling::SampledClasses;

use crate::axes::geometry::norms;
use crate::axes::sub_centers::pool;
use crate::buffer;
use crate::error::{Error, ErrorKind, Result};
use crate::loss::Loss;
use crate::number::Real;
use crate::reduction::Reduction;
use crate::rows::Targets;
use crate::state::LossState;
use chunk::Chunk;
use fused::among_threads;
use memory::Memory;
use ndarray::{ArrayView1, ArrayViewMut2, s};
use paths::Paths;

/// A last layer with its loss. It owns no parameters: they are given with each call.
///
/// A head reuses its working memory from call to call. Clones start without working memory.
#[derive(Clone, Debug)]
pub struct Head {
    loss: Loss,
    options: HeadOptions,
    memory: Memory,
    tile: Option<usize>,
}

impl Head {
    /// Creates a head with the default [`HeadOptions`].
    pub fn new(loss: Loss) -> Self {
        Self { loss, options: HeadOptions::default(), memory: Memory::default(), tile: None }
    }

    /// Creates a head with options.
    ///
    /// # Errors
    /// If the memory is less than [`HeadOptions::LEAST_MEMORY`].
    pub fn with_options(loss: Loss, options: HeadOptions) -> Result<Self> {
        options.check()?;
        Ok(Self { options, ..Self::new(loss) })
    }

    /// Sets the number of prototypes per tile, for tests. By default it depends on D, which is faster.
    #[doc(hidden)]
    #[must_use]
    pub fn with_tile(self, tile: usize) -> Self {
        Self { tile: Some(tile.max(1)), ..self }
    }

    /// Returns the loss.
    pub fn loss(&self) -> &Loss {
        &self.loss
    }

    /// Returns the options.
    pub fn options(&self) -> &HeadOptions {
        &self.options
    }

    /// Returns the number of prototypes: C, or C K with K sub-centers.
    pub fn num_prototypes(&self) -> usize {
        self.loss.num_classes() * self.loss.spec().sub_centers
    }

    /// Frees the working memory. The next call allocates it again.
    pub fn release_memory(&self) {
        self.memory.release();
    }

    /// Samples the classes of a step: those of the targets (N) and a `share` (above 0, up to 1) of all others, drawn by
    /// `(seed, step)`. Labels that are no classes are skipped.
    ///
    /// # Errors
    /// If the share is out of range.
    ///
    /// ```
    /// use ndarray::array;
    /// use softmargin::head::{Head, HeadBatch};
    /// use softmargin::{Reduction, presets};
    /// let head = Head::new(presets::ARCFACE.spec().build(1000)?);
    /// let targets = array![7, 900];
    /// let sampled = head.sample(targets.view(), 0.1, 1, 0)?;
    /// assert_eq!(sampled.classes().len(), 2 + 100);
    /// let (x, w) = (ndarray::Array2::<f32>::ones((2, 4)), ndarray::Array2::<f32>::ones((1000, 4)));
    /// let batch = HeadBatch::new(x.view(), targets.view()).with_sampled_classes(&sampled);
    /// let (_, gradients) = head.value_and_grad(&batch, w.view(), Reduction::Mean)?;
    /// # Ok::<(), softmargin::Error>(())
    /// ```
    pub fn sample(&self, targets: ArrayView1<'_, i64>, share: f64, seed: u64, step: u64) -> Result<SampledClasses> {
        SampledClasses::draw(targets, self.loss.num_classes(), share, seed, step)
    }

    /// Computes the loss of a batch, given the parameters of the head. A view of the prototypes (C K, D) converts into
    /// [`HeadParameters`].
    ///
    /// # Errors
    /// If shapes disagree, a label is out of range, an input that the loss needs is missing, the loss does not use an
    /// input, or a score is NaN. The message names the rows.
    pub fn value<'p, F: HeadNumber>(
        &self,
        batch: &HeadBatch<'_, F>,
        parameters: impl Into<HeadParameters<'p, F>>,
        reduction: Reduction,
    ) -> Result<HeadValue<F>> {
        let parameters = parameters.into();
        self.check(batch, &parameters)?;
        among_threads(size_of_call(batch, &parameters), || F::value(self.paths(), batch, &parameters, reduction))
    }

    /// Computes the loss of a batch and its gradients, given the parameters of the head.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn value_and_grad<'p, F: HeadNumber>(
        &self,
        batch: &HeadBatch<'_, F>,
        parameters: impl Into<HeadParameters<'p, F>>,
        reduction: Reduction,
    ) -> Result<(HeadValue<F>, HeadGradients<F>)> {
        let parameters = parameters.into();
        // Checked before allocating: shapes that disagree may be of any size.
        self.check(batch, &parameters)?;
        let (rows, width) = batch.embeddings.dim();
        let prototypes = parameters.weight.nrows();
        let (mut embeddings, mut weight) = (buffer::zeros(rows, width), buffer::zeros(prototypes, width));
        let (value, learned) = among_threads(size_of_call(batch, &parameters), || {
            F::value_and_grad(self.paths(), batch, &parameters, reduction, embeddings.view_mut(), weight.view_mut())
        })?;
        Ok((value, HeadGradients { embeddings, weight, learned }))
    }

    /// Computes the loss of a batch and its gradients, and writes those with respect to embeddings (N, D) and
    /// prototypes (C K, D) into arrays of any strides. After an error, their content is unspecified.
    ///
    /// # Errors
    /// As [`value`](Self::value); also if an array has another shape.
    pub fn value_and_grad_into<'p, F: HeadNumber>(
        &self,
        batch: &HeadBatch<'_, F>,
        parameters: impl Into<HeadParameters<'p, F>>,
        reduction: Reduction,
        embeddings: ArrayViewMut2<'_, F>,
        weight: ArrayViewMut2<'_, F>,
    ) -> Result<(HeadValue<F>, LearnedGradients<F>)> {
        let parameters = parameters.into();
        self.check(batch, &parameters)?;
        check_shape("gradient with respect to the embeddings", embeddings.dim(), batch.embeddings.dim())?;
        check_shape("gradient with respect to the weight", weight.dim(), parameters.weight.dim())?;
        among_threads(size_of_call(batch, &parameters), || {
            F::value_and_grad(self.paths(), batch, &parameters, reduction, embeddings, weight)
        })
    }

    /// Makes a training step: updates every parameter that is given, and returns the loss and its gradient with respect
    /// to everything but the prototypes.
    ///
    /// The gradient with respect to the prototypes is never stored as a whole: the optimizer consumes each row as soon
    /// as it is computed. Prototypes of classes that were not sampled are not changed. A learned scale is clamped to
    /// its range. Weight decay applies to the prototypes only. A bias, scale or radius that is not given is not
    /// updated.
    ///
    /// Clipping by the norm of the gradient is not possible here, since the norm is known only after all rows; see
    /// [`Optimizer`].
    ///
    /// # Errors
    /// As [`value`](Self::value), and if the optimizer has another shape. Parameters and optimizer are then unchanged.
    ///
    /// ```
    /// use ndarray::{Array2, array};
    /// use softmargin::head::{Head, HeadBatch, Optimizer, Rule};
    /// use softmargin::{Reduction, presets};
    /// let head = Head::new(presets::AM_SOFTMAX.spec().build(3)?);
    /// let mut weight = array![[1.0_f32, 0.2], [0.1, 1.0], [-1.0, -1.0]];
    /// let rule = Rule::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.0 };
    /// let mut optimizer = Optimizer::new(rule, 0.1, weight.dim())?;
    /// let (x, targets) = (array![[1.0_f32, 1.0], [-1.0, 0.0]], array![1, 2]);
    /// let batch = HeadBatch::new(x.view(), targets.view());
    /// let mut losses = Vec::new();
    /// for _ in 0..5 {
    ///     let (value, gradients) = head.step(&batch, weight.view_mut(), &mut optimizer, Reduction::Mean)?;
    ///     losses.push(value.total); // gradients.embeddings is backpropagated
    /// }
    /// assert!(losses.is_sorted_by(|a, b| a > b));
    /// # Ok::<(), softmargin::Error>(())
    /// ```
    pub fn step<'p>(
        &self,
        batch: &HeadBatch<'_, f32>,
        parameters: impl Into<HeadParametersMut<'p>>,
        optimizer: &mut Optimizer,
        reduction: Reduction,
    ) -> Result<(HeadValue<f32>, StepGradients)> {
        let mut parameters = parameters.into();
        self.check(batch, &parameters.view())?;
        optimizer.check_shape("optimizer", parameters.weight.dim())?;
        let size = size_of_call(batch, &parameters.view());
        let (value, gradients) = among_threads(size, || self.step_of(batch, &mut parameters, optimizer, reduction))?;
        optimizer.apply_to_learned(&mut parameters, &gradients.learned, self.loss.spec().scale);
        optimizer.count_step();
        Ok((value, gradients))
    }

    /// Makes the step of the prototypes. The caller updates the other parameters and counts the step.
    fn step_of(
        &self,
        batch: &HeadBatch<'_, f32>,
        parameters: &mut HeadParametersMut<'_>,
        optimizer: &mut Optimizer,
        reduction: Reduction,
    ) -> Result<(HeadValue<f32>, StepGradients)> {
        let learned = parameters.view().learned;
        let (weight, bias) = (parameters.weight.view(), parameters.bias.as_ref().map(|bias| bias.view()));
        let Some(after_first_sweep) = self.paths().begin(batch.reborrow(), weight, bias, learned, reduction, true)?
        else {
            let (value, gradients) = self.paths().unfused(batch, &parameters.view(), reduction, true)?;
            let HeadGradients { embeddings, weight, learned } = gradients.expect("gradients were requested");
            let sub_centers = self.loss.spec().sub_centers;
            optimizer.apply_where(parameters.weight.view_mut(), weight.view(), |row| {
                batch.sampled.is_none_or(|sampled| sampled.classes().binary_search(&(row / sub_centers)).is_ok())
            });
            return Ok((value, StepGradients { embeddings, learned }));
        };
        let mut embeddings = buffer::zeros(batch.embeddings.nrows(), batch.embeddings.ncols());
        let starts = after_first_sweep.starts(parameters.weight.nrows());
        let rows = optimizer.split(parameters.weight.view_mut(), &starts);
        let chunks = starts.into_iter().zip(rows).map(|(first, rows)| Chunk::Step { first, rows }).collect();
        let (value, learned) = after_first_sweep.finish(chunks, embeddings.view_mut());
        Ok((value, StepGradients { embeddings, learned }))
    }

    /// Updates the moving averages of a state with a batch; see [`Loss::update`]. Only the scores of the targets are
    /// computed.
    ///
    /// # Errors
    /// As [`Loss::update`].
    pub fn update<'p, F: HeadNumber>(
        &self,
        state: &mut LossState,
        batch: &HeadBatch<'_, F>,
        parameters: impl Into<HeadParameters<'p, F>>,
    ) -> Result<()> {
        let parameters = parameters.into();
        self.check(batch, &parameters)?;
        let of_embeddings = self.loss.needs_embedding_norms().then(|| norms(batch.embeddings));
        let mut inputs = batch.rows.reborrow();
        inputs.embedding_norms = of_embeddings.as_ref().map(|norms| norms.view());
        self.loss.update_rows(state, &inputs, &self.target_scores(batch, &parameters)?)
    }

    /// Computes the score of each row's target (N); 0 if the label is no class.
    fn target_scores<F: Real>(&self, batch: &HeadBatch<'_, F>, parameters: &HeadParameters<'_, F>) -> Result<Vec<f64>> {
        let (sub_centers, geometry) = (self.loss.spec().sub_centers, self.loss.spec().geometry);
        let mut found = vec![0.0; batch.embeddings.nrows()];
        let Targets::Hard(labels) = batch.rows.targets else { return Ok(found) };
        for (row, (&label, found)) in labels.iter().zip(&mut found).enumerate() {
            let Some(class) = usize::try_from(label).ok().filter(|&class| class < self.loss.num_classes()) else {
                continue;
            };
            let own = class * sub_centers..(class + 1) * sub_centers;
            let bias = parameters.bias.map(|bias| bias.slice_move(s![own.clone()]));
            let (x, w) = (batch.embeddings.slice(s![row..=row, ..]), parameters.weight.slice(s![own, ..]));
            let scored = geometry.scores(x, w, bias)?;
            *found = pool(scored.scores.view(), sub_centers)?.scores[[0, 0]].widen();
        }
        Ok(found)
    }

    fn check<F: Real>(&self, batch: &HeadBatch<'_, F>, parameters: &HeadParameters<'_, F>) -> Result<()> {
        batch.check()?;
        parameters.check(&self.loss, batch.embeddings.ncols(), self.num_prototypes())?;
        let ignored = self.loss.spec().ignored_label;
        batch.sampled.map_or(Ok(()), |sampled| sampled.check(self.loss.num_classes(), batch.rows.targets, ignored))
    }

    fn paths(&self) -> Paths<'_> {
        Paths { loss: &self.loss, options: &self.options, memory: &self.memory, tile: self.tile }
    }
}

/// Returns the numbers of rows and prototypes and the embedding dimension of a call.
fn size_of_call<F>(batch: &HeadBatch<'_, F>, parameters: &HeadParameters<'_, F>) -> [usize; 3] {
    [batch.embeddings.nrows(), parameters.weight.nrows(), parameters.weight.ncols()]
}

fn check_shape(name: &str, found: (usize, usize), expected: (usize, usize)) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let advice = "give an array of that shape";
    Err(Error::new(ErrorKind::Shape, name, format!("{expected:?}"), format!("{found:?}"), advice))
}
