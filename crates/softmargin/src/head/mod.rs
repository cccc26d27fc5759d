//! The last layer and its loss as one operation: a hundred thousand classes without ever holding the scores.
//!
//! Embeddings X (N, D), prototypes W (C, D) and targets give the loss and its gradients by X and W, for every loss of the
//! family. Two sweeps go over the classes, tile by tile:
//!
//! ```text
//! first     Z = X W^T,  E = exp(s (Z - reference)),  sums of E,  A += E W
//!           the losses of the rows are known, and what their slopes are multiplied by
//! second    dW = E^T X',  X' the embeddings times what their rows' slopes are multiplied by
//! ```
//!
//! The margin changes one score of a row, in f64, outside the sweeps (`rows.rs`); the negatives go through one of three
//! kinds of work on a tile (`tile.rs`). [`Mode`] says what is kept of E between the sweeps.
//!
//! ```
//! use ndarray::array;
//! use softmargin::head::{Head, HeadBatch};
//! use softmargin::{Reduction, presets};
//! let head = Head::new(presets::find("am-softmax")?.spec().build(3)?);
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
//! # Which bits
//!
//! Results have the same bits for any number of threads, and from run to run. Modes, instruction sets and precisions round
//! differently.

mod arithmetic;
mod barrier;
mod batch;
mod chunk;
mod first;
mod fused;
mod memory;
mod optimizer;
mod options;
mod panels;
mod product;
mod row_chunked;
mod rows;
mod sampling;
mod second;
mod sweep;
mod tile;
mod tiling;
mod unfused;
mod value;

pub use batch::HeadBatch;
pub use optimizer::{Optimizer, Rule};
pub use options::{HeadOptions, Mode, Precision};
pub use sampling::SampledClasses;
pub use value::{Distribution, HeadValue, RowStatistics};

use crate::buffer;
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::{HeadGradients, norms};
use crate::loss::Loss;
use crate::real::Real;
use crate::reduction::Reduction;
use crate::state::LossState;
use chunk::{Chunk, gradient_chunks};
use fused::{Begun, Request, among_threads};
use memory::Memory;
use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut2};
use unfused::Wanted;

/// A last layer with its loss. It owns no parameters: they come with each call.
///
/// It keeps the memory that its calls work in; clones start without any.
#[derive(Clone, Debug)]
pub struct Head {
    loss: Loss,
    options: HeadOptions,
    memory: Memory,
    tile: Option<usize>,
}

impl Head {
    /// A head of a loss, computed as [`HeadOptions::default`] says.
    pub fn new(loss: Loss) -> Self {
        Self { loss, options: HeadOptions::default(), memory: Memory::default(), tile: None }
    }

    /// A head of a loss.
    ///
    /// # Errors
    /// When the memory is less than [`HeadOptions::LEAST_MEMORY`].
    pub fn with_options(loss: Loss, options: HeadOptions) -> Result<Self> {
        options.check()?;
        Ok(Self { options, ..Self::new(loss) })
    }

    /// The same with tiles of about so many prototypes, for tests: a tile that is chosen by width is faster.
    #[doc(hidden)]
    #[must_use]
    pub fn with_tile(self, tile: usize) -> Self {
        Self { tile: Some(tile.max(1)), ..self }
    }

    /// The loss that it was made with.
    pub fn loss(&self) -> &Loss {
        &self.loss
    }

    /// How it is computed.
    pub fn options(&self) -> &HeadOptions {
        &self.options
    }

    /// Rows of the weight: C, or C K with K sub-centers.
    pub fn num_prototypes(&self) -> usize {
        self.loss.num_classes() * self.loss.spec().sub_centers
    }

    /// Gives the memory that calls work in back to the system; the next call takes it anew.
    pub fn release_memory(&self) {
        self.memory.release();
    }

    /// The classes of the targets and a `share` (above 0, up to 1) of all others, drawn by `(seed, step)`.
    ///
    /// # Errors
    /// On a share outside its range.
    ///
    /// ```
    /// use ndarray::array;
    /// use softmargin::head::{Head, HeadBatch};
    /// use softmargin::{Reduction, presets};
    /// let head = Head::new(presets::find("arcface")?.spec().build(1000)?);
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

    /// The loss of a batch against prototypes (C K, D).
    ///
    /// # Errors
    /// On shapes that disagree, labels out of range, inputs that the loss needs and does not get (or gets and has no use
    /// for), and scores that are NaN; the message names the rows.
    pub fn value<F: Real>(
        &self,
        batch: &HeadBatch<'_, F>,
        weight: ArrayView2<'_, F>,
        reduction: Reduction,
    ) -> Result<HeadValue<F>> {
        self.check(batch, weight)?;
        among_threads(size_of_call(batch, weight), || self.value_of(batch, weight, reduction))
    }

    fn value_of<F: Real>(
        &self,
        batch: &HeadBatch<'_, F>,
        weight: ArrayView2<'_, F>,
        reduction: Reduction,
    ) -> Result<HeadValue<F>> {
        if let (Some(batch), Some(weight)) = (F::single_batch(batch), F::single(weight))
            && let Some(begun) = self.begin(batch.reborrow(), weight, reduction, false)?
        {
            return Ok(F::from_single_value(begun.value()));
        }
        self.unfused(batch, weight, reduction, false).map(|(value, _)| value)
    }

    /// The loss of a batch against prototypes (C K, D), and its gradients.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn value_and_grad<F: Real>(
        &self,
        batch: &HeadBatch<'_, F>,
        weight: ArrayView2<'_, F>,
        reduction: Reduction,
    ) -> Result<(HeadValue<F>, HeadGradients<F>)> {
        // Before any memory is taken: shapes that disagree may be of any size.
        self.check(batch, weight)?;
        let (rows, width) = batch.embeddings.dim();
        let (mut embeddings, mut of_weight) = (buffer::zeros(rows, width), buffer::zeros(weight.nrows(), width));
        let (value, gradients) =
            self.value_and_grad_into(batch, weight, reduction, embeddings.view_mut(), of_weight.view_mut())?;
        Ok((value, HeadGradients { embeddings, weight: of_weight, ..gradients }))
    }

    /// As [`value_and_grad`](Self::value_and_grad), with the gradients by embeddings (N, D) and weight (C K, D) written
    /// into arrays of the caller's, of any strides; these two fields of the answer are empty then. After an error their
    /// content is not specified.
    ///
    /// # Errors
    /// As [`value`](Self::value); also when an array has another shape.
    pub fn value_and_grad_into<F: Real>(
        &self,
        batch: &HeadBatch<'_, F>,
        weight: ArrayView2<'_, F>,
        reduction: Reduction,
        embeddings: ArrayViewMut2<'_, F>,
        of_weight: ArrayViewMut2<'_, F>,
    ) -> Result<(HeadValue<F>, HeadGradients<F>)> {
        self.check(batch, weight)?;
        check_shape("gradient by the embeddings", embeddings.dim(), batch.embeddings.dim())?;
        check_shape("gradient by the weight", of_weight.dim(), weight.dim())?;
        among_threads(size_of_call(batch, weight), || {
            self.value_and_grad_of(batch, weight, reduction, embeddings, of_weight)
        })
    }

    fn value_and_grad_of<F: Real>(
        &self,
        batch: &HeadBatch<'_, F>,
        weight: ArrayView2<'_, F>,
        reduction: Reduction,
        mut embeddings: ArrayViewMut2<'_, F>,
        mut of_weight: ArrayViewMut2<'_, F>,
    ) -> Result<(HeadValue<F>, HeadGradients<F>)> {
        if let (Some(batch), Some(weight)) = (F::single_batch(batch), F::single(weight))
            && let Some(begun) = self.begin(batch.reborrow(), weight, reduction, true)?
            && let (Some(mut into), Some(mut of_weight)) =
                (F::single_mut(&mut embeddings), F::single_mut(&mut of_weight))
        {
            if batch.sampled.is_some() {
                of_weight.fill(0.0);
            }
            let starts = begun.starts(weight.nrows());
            let chunks = gradient_chunks(weight, of_weight.view_mut(), &starts);
            let (value, gradients) = begun.finish(chunks, into.view_mut());
            return Ok((F::from_single_value(value), F::from_single_gradients(gradients)));
        }
        let (value, gradients) = self.unfused(batch, weight, reduction, true)?;
        let mut gradients = gradients.expect("they were asked for");
        embeddings.assign(&gradients.embeddings);
        of_weight.assign(&gradients.weight);
        (gradients.embeddings, gradients.weight) = (Array2::zeros((0, 0)), Array2::zeros((0, 0)));
        Ok((value, gradients))
    }

    /// A step of training: the gradients of [`value_and_grad`](Self::value_and_grad), of which that by the weight never
    /// is. Each of its rows is used up by the optimizer where it is made; the field of the answer is empty. Prototypes
    /// of classes that were not sampled are not touched.
    ///
    /// The gradient cannot be clipped by its norm here, which is known only when all of it is; see [`Optimizer`].
    ///
    /// # Errors
    /// As [`value`](Self::value), and when the optimizer is of another shape; weight and optimizer are then as they were.
    ///
    /// ```
    /// use ndarray::{Array2, array};
    /// use softmargin::head::{Head, HeadBatch, Optimizer, Rule};
    /// use softmargin::{Reduction, presets};
    /// let head = Head::new(presets::find("am-softmax")?.spec().build(3)?);
    /// let mut weight = array![[1.0_f32, 0.2], [0.1, 1.0], [-1.0, -1.0]];
    /// let rule = Rule::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.0 };
    /// let mut optimizer = Optimizer::new(rule, 0.1, weight.dim())?;
    /// let (x, targets) = (array![[1.0_f32, 1.0], [-1.0, 0.0]], array![1, 2]);
    /// let batch = HeadBatch::new(x.view(), targets.view());
    /// let mut losses = Vec::new();
    /// for _ in 0..5 {
    ///     let (value, gradients) = head.step(&batch, weight.view_mut(), &mut optimizer, Reduction::Mean)?;
    ///     losses.push(value.total); // gradients.embeddings goes back into the network
    /// }
    /// assert!(losses.is_sorted_by(|a, b| a > b));
    /// # Ok::<(), softmargin::Error>(())
    /// ```
    pub fn step(
        &self,
        batch: &HeadBatch<'_, f32>,
        weight: ArrayViewMut2<'_, f32>,
        optimizer: &mut Optimizer,
        reduction: Reduction,
    ) -> Result<(HeadValue<f32>, HeadGradients<f32>)> {
        self.check(batch, weight.view())?;
        optimizer.check_shape("optimizer", weight.dim())?;
        among_threads(size_of_call(batch, weight.view()), || self.step_of(batch, weight, optimizer, reduction))
    }

    fn step_of(
        &self,
        batch: &HeadBatch<'_, f32>,
        weight: ArrayViewMut2<'_, f32>,
        optimizer: &mut Optimizer,
        reduction: Reduction,
    ) -> Result<(HeadValue<f32>, HeadGradients<f32>)> {
        let mut embeddings = buffer::zeros(batch.embeddings.nrows(), batch.embeddings.ncols());
        let begun = self.begin(batch.reborrow(), weight.view(), reduction, true)?;
        let Some(begun) = begun else {
            return self.unfused_step(batch, weight, optimizer, reduction);
        };
        let starts = begun.starts(weight.nrows());
        let firsts = starts.clone();
        let rows = optimizer.split(weight, &starts);
        let chunks = firsts.into_iter().zip(rows).map(|(first, rows)| Chunk::Step { first, rows }).collect();
        let (value, gradients) = begun.finish(chunks, embeddings.view_mut());
        optimizer.count_step();
        Ok((value, HeadGradients { embeddings, ..gradients }))
    }

    /// Takes a batch into the averages of a state that the loss looks at; see [`Loss::update`]. Of the scores only those
    /// of the targets are computed.
    ///
    /// # Errors
    /// As [`Loss::update`].
    pub fn update<F: Real>(
        &self,
        state: &mut LossState,
        batch: &HeadBatch<'_, F>,
        weight: ArrayView2<'_, F>,
    ) -> Result<()> {
        self.check(batch, weight)?;
        let column = self.target_column(batch, weight)?;
        let shape = (column.nrows(), self.loss.num_classes());
        let scores = column.broadcast(shape).expect("a column takes any number of columns");
        let of_embeddings = self.loss.needs_embedding_norms().then(|| norms(batch.embeddings));
        let of_weight = self.loss.needs_weight_norms().then(|| norms(weight));
        let mut of_scores = batch.of_scores(scores);
        of_scores.embedding_norms = of_embeddings.as_ref().map(|norms| norms.view());
        of_scores.weight_norms = of_weight.as_ref().map(|norms| norms.view());
        self.loss.update(state, &of_scores)
    }

    /// (N, 1): the score of each row and its target; 0 where that is no class.
    fn target_column<F: Real>(&self, batch: &HeadBatch<'_, F>, weight: ArrayView2<'_, F>) -> Result<Array2<F>> {
        let sub_centers = self.loss.spec().sub_centers;
        let mut column = Array2::zeros((batch.embeddings.nrows(), 1));
        let crate::batch::Targets::Hard(labels) = batch.targets else { return Ok(column) };
        for (row, &label) in labels.iter().enumerate().take(column.nrows()) {
            let Some(class) = usize::try_from(label).ok().filter(|&class| class < self.loss.num_classes()) else {
                continue;
            };
            let own = class * sub_centers..(class + 1) * sub_centers;
            let bias = batch.bias.map(|bias| bias.slice_move(ndarray::s![own.clone()]));
            let (x, w) = (batch.embeddings.slice(ndarray::s![row..=row, ..]), weight.slice(ndarray::s![own, ..]));
            let scored = self.loss.spec().geometry.scores(x, w, bias)?;
            column[[row, 0]] = crate::sub_centers::pool(scored.scores.view(), sub_centers)?.scores[[0, 0]];
        }
        Ok(column)
    }

    fn check<F: Real>(&self, batch: &HeadBatch<'_, F>, weight: ArrayView2<'_, F>) -> Result<()> {
        batch.check(weight, self.loss.spec().geometry, self.num_prototypes())?;
        let ignored = self.loss.spec().ignored_label;
        batch.sampled.map_or(Ok(()), |sampled| sampled.check(self.loss.num_classes(), batch.targets, ignored))
    }

    /// The fused path as far as its barrier; `None` where the plain code is to be taken.
    fn begin<'a>(
        &'a self,
        batch: HeadBatch<'a, f32>,
        weight: ArrayView2<'_, f32>,
        reduction: Reduction,
        gradients: bool,
    ) -> Result<Option<Begun<'a>>> {
        let is_hard = matches!(batch.targets, crate::batch::Targets::Hard(_));
        let too_many = u32::try_from(self.num_prototypes()).is_err();
        if self.options.mode == Mode::Unfused || !is_hard || too_many {
            return Ok(None);
        }
        let request = Request {
            loss: &self.loss,
            options: &self.options,
            memory: &self.memory,
            batch,
            reduction,
            tile: self.tile,
        };
        request.begin(weight, gradients)
    }

    fn unfused<F: Real>(
        &self,
        batch: &HeadBatch<'_, F>,
        weight: ArrayView2<'_, F>,
        reduction: Reduction,
        gradients: bool,
    ) -> Result<(HeadValue<F>, Option<HeadGradients<F>>)> {
        let rows_at_a_time = unfused::rows_at_a_time::<F>(self.options.memory, self.num_prototypes());
        let wanted = Wanted { gradients, statistics: self.options.statistics, rows_at_a_time };
        unfused::compute(&self.loss, batch, weight, reduction, wanted)
    }

    fn unfused_step(
        &self,
        batch: &HeadBatch<'_, f32>,
        weight: ArrayViewMut2<'_, f32>,
        optimizer: &mut Optimizer,
        reduction: Reduction,
    ) -> Result<(HeadValue<f32>, HeadGradients<f32>)> {
        let (value, gradients) = self.unfused(batch, weight.view(), reduction, true)?;
        let gradients = gradients.expect("they were asked for");
        let sub_centers = self.loss.spec().sub_centers;
        optimizer.apply_where(weight, gradients.weight.view(), |row| {
            batch.sampled.is_none_or(|sampled| sampled.classes().binary_search(&(row / sub_centers)).is_ok())
        });
        Ok((value, HeadGradients { weight: Array2::zeros((0, 0)), ..gradients }))
    }
}

/// Rows, prototypes and width of a call.
fn size_of_call<F>(batch: &HeadBatch<'_, F>, weight: ArrayView2<'_, F>) -> [usize; 3] {
    [batch.embeddings.nrows(), weight.nrows(), weight.ncols()]
}

fn check_shape(name: &str, found: (usize, usize), expected: (usize, usize)) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let advice = "give an array of that shape";
    Err(Error::new(ErrorKind::Shape, name, format!("{expected:?}"), format!("{found:?}"), advice))
}
