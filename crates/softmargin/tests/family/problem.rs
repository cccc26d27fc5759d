//! Test batches whose f64 values are exact in f32, and their evaluation in either precision.

use ndarray::{Array1, Array2, ArrayView2};
use softmargin::{Batch, Loss, LossState, Real, Reduction, Result, RowInputs};

/// Targets of a problem: labels or soft targets.
#[derive(Clone, Debug)]
pub(crate) enum ProblemTargets {
    Labels(Vec<i64>),
    Soft(Array2<f64>),
}

/// All inputs of a batch, in f64.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) scores: Array2<f64>,
    pub(crate) targets: ProblemTargets,
    pub(crate) sample_weights: Option<Vec<f64>>,
    pub(crate) margins: Option<Vec<f64>>,
    pub(crate) embedding_norms: Option<Vec<f64>>,
    pub(crate) weight_norms: Option<Vec<f64>>,
    pub(crate) scale: Option<f64>,
    pub(crate) radius: Option<f64>,
    pub(crate) state: Option<LossState>,
}

impl Problem {
    pub(crate) fn new(scores: Array2<f64>, labels: Vec<i64>) -> Self {
        Self {
            scores,
            targets: ProblemTargets::Labels(labels),
            sample_weights: None,
            margins: None,
            embedding_norms: None,
            weight_norms: None,
            scale: None,
            radius: None,
            state: None,
        }
    }

    /// Creates a problem of one row with a label.
    pub(crate) fn row(scores: &[f64], label: i64) -> Self {
        Self::new(Array2::from_shape_vec((1, scores.len()), scores.to_vec()).unwrap(), vec![label])
    }

    pub(crate) fn soft(scores: Array2<f64>, targets: Array2<f64>) -> Self {
        Self { targets: ProblemTargets::Soft(targets), ..Self::new(scores, Vec::new()) }
    }

    pub(crate) fn rows(&self) -> usize {
        self.scores.nrows()
    }

    pub(crate) fn classes(&self) -> usize {
        self.scores.ncols()
    }

    pub(crate) fn label(&self, row: usize) -> Option<i64> {
        match &self.targets {
            ProblemTargets::Labels(labels) => Some(labels[row]),
            ProblemTargets::Soft(_) => None,
        }
    }

    /// Removes the inputs that the loss does not need, and adds the initial state if a needed state is missing.
    pub(crate) fn fitted_to(mut self, loss: &Loss) -> Self {
        if !loss.needs_embedding_norms() {
            self.embedding_norms = None;
        }
        if !loss.needs_weight_norms() {
            self.weight_norms = None;
        }
        self.state = loss.initial_state().map(|initial| self.state.unwrap_or(initial));
        self
    }
}

/// Returns the initial state with this step.
pub(crate) fn state(step: u64) -> LossState {
    let mut state = LossState::default();
    state.step = step;
    state
}

/// Returns a random state as it may occur during training.
pub(crate) fn random_state(random: &mut Random) -> LossState {
    let mut state = state([0, 1, 100, 3000][random.below(4)]).with_seed(random.bits() >> 12);
    state.target_mean = random.between(-0.2, 0.9);
    state.norm_mean = random.between(10.0, 40.0);
    state.norm_std = random.between(2.0, 30.0);
    state
}

/// A problem in one precision that owns its arrays.
pub(crate) struct Owned<F> {
    pub(crate) scores: Array2<F>,
    labels: Array1<i64>,
    soft: Option<Array2<F>>,
    sample_weights: Option<Array1<F>>,
    margins: Option<Array1<F>>,
    embedding_norms: Option<Array1<F>>,
    weight_norms: Option<Array1<F>>,
    scale: Option<f64>,
    radius: Option<f64>,
    state: Option<LossState>,
}

impl<F: Real> Owned<F> {
    pub(crate) fn of(problem: &Problem) -> Self {
        let vector = |values: &Option<Vec<f64>>| {
            values.as_ref().map(|values| values.iter().map(|&v| F::round_from(v)).collect::<Array1<F>>())
        };
        let (labels, soft) = match &problem.targets {
            ProblemTargets::Labels(labels) => (Array1::from(labels.clone()), None),
            ProblemTargets::Soft(targets) => (Array1::zeros(0), Some(targets.mapv(F::round_from))),
        };
        Self {
            scores: problem.scores.mapv(F::round_from),
            labels,
            soft,
            sample_weights: vector(&problem.sample_weights),
            margins: vector(&problem.margins),
            embedding_norms: vector(&problem.embedding_norms),
            weight_norms: vector(&problem.weight_norms),
            scale: problem.scale,
            radius: problem.radius,
            state: problem.state.clone(),
        }
    }

    pub(crate) fn batch(&self) -> Batch<'_, F> {
        self.batch_on(self.scores.view())
    }

    /// Returns the same batch with other scores.
    pub(crate) fn batch_on<'a>(&'a self, scores: ArrayView2<'a, F>) -> Batch<'a, F> {
        let mut batch = Batch::new(scores, self.rows());
        if let Some(scale) = self.scale {
            batch = batch.with_scale(scale);
        }
        if let Some(radius) = self.radius {
            batch = batch.with_radius(radius);
        }
        batch
    }

    /// Returns the inputs of the rows.
    pub(crate) fn rows(&self) -> RowInputs<'_, F> {
        let mut rows = match &self.soft {
            Some(soft) => RowInputs::soft(soft.view()),
            None => RowInputs::new(self.labels.view()),
        };
        if let Some(weights) = &self.sample_weights {
            rows = rows.with_sample_weights(weights.view());
        }
        if let Some(margins) = &self.margins {
            rows = rows.with_margins(margins.view());
        }
        if let Some(norms) = &self.embedding_norms {
            rows = rows.with_embedding_norms(norms.view());
        }
        if let Some(norms) = &self.weight_norms {
            rows = rows.with_weight_norms(norms.view());
        }
        match &self.state {
            Some(state) => rows.with_state(state),
            None => rows,
        }
    }
}

/// Loss and gradients of a problem, converted to f64.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Evaluation {
    pub(crate) rows: Vec<f64>,
    pub(crate) total: f64,
    pub(crate) weight: f64,
    pub(crate) valid_rows: usize,
    pub(crate) scores: Array2<f64>,
    pub(crate) scale: f64,
    pub(crate) radius: f64,
    pub(crate) embedding_norms: Option<Vec<f64>>,
    pub(crate) weight_norms: Option<Vec<f64>>,
}

fn widened<F: Real>(values: &Array1<F>) -> Vec<f64> {
    values.iter().map(|v| v.widen()).collect()
}

/// Returns loss and gradients, and checks that `value`, `value_and_grad` and `value_and_grad_into` agree bitwise.
pub(crate) fn evaluate<F: Real>(loss: &Loss, problem: &Problem, reduction: Reduction) -> Result<Evaluation> {
    let owned = Owned::<F>::of(problem);
    let batch = owned.batch();
    let (value, gradients) = loss.value_and_grad(&batch, reduction)?;

    let alone = loss.value(&batch, reduction).expect("value() succeeds if value_and_grad() does");
    assert_eq!(bits(&widened(&alone.rows)), bits(&widened(&value.rows)), "value() returns different row losses");
    assert_eq!(alone.total.widen().to_bits(), value.total.widen().to_bits(), "value() returns a different total");
    let mut written = Array2::from_elem(owned.scores.raw_dim(), F::nan());
    let (into, rest) = loss
        .value_and_grad_into(&batch, reduction, written.view_mut())
        .expect("value_and_grad_into() succeeds if value_and_grad() does");
    assert_eq!(into.total.widen().to_bits(), value.total.widen().to_bits(), "value_and_grad_into() differs");
    assert_eq!(
        matrix_bits(&written),
        matrix_bits(&gradients.scores),
        "value_and_grad_into() writes a different gradient"
    );
    assert_eq!(rest.scale.widen().to_bits(), gradients.rows.scale.widen().to_bits());

    Ok(Evaluation {
        rows: widened(&value.rows),
        total: value.total.widen(),
        weight: value.weight,
        valid_rows: value.valid_rows,
        scores: gradients.scores.mapv(|v| v.widen()),
        scale: gradients.rows.scale.widen(),
        radius: gradients.rows.radius.widen(),
        embedding_norms: gradients.rows.embedding_norms.as_ref().map(widened),
        weight_norms: gradients.rows.weight_norms.as_ref().map(widened),
    })
}

/// Returns the total loss in f64, for numerical derivatives.
pub(crate) fn total(loss: &Loss, problem: &Problem, reduction: Reduction) -> f64 {
    loss.value(&Owned::<f64>::of(problem).batch(), reduction).expect("a valid problem").total
}

pub(crate) fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

pub(crate) fn matrix_bits<F: Real>(matrix: &Array2<F>) -> Vec<u64> {
    matrix.iter().map(|v| v.widen().to_bits()).collect()
}

/// SplitMix64 generator (Steele, Lea, Flood 2014), reproducible on every platform.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a value from `low` to `high` that is exact in f32.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.bits() >> 40) as f64 / f64::from(1 << 24);
        f64::from((low + (high - low) * unit) as f32)
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        (self.bits() % count as u64) as usize
    }

    pub(crate) fn vector(&mut self, length: usize, low: f64, high: f64) -> Vec<f64> {
        (0..length).map(|_| self.between(low, high)).collect()
    }

    pub(crate) fn matrix(&mut self, rows: usize, columns: usize, low: f64, high: f64) -> Array2<f64> {
        Array2::from_shape_simple_fn((rows, columns), || self.between(low, high))
    }

    pub(crate) fn labels(&mut self, rows: usize, classes: usize) -> Vec<i64> {
        (0..rows).map(|_| self.below(classes) as i64).collect()
    }

    /// Returns distributions in multiples of 1/64, so that each row sums to 1 exactly.
    pub(crate) fn distributions(&mut self, rows: usize, classes: usize) -> Array2<f64> {
        let mut targets = Array2::zeros((rows, classes));
        for mut row in targets.rows_mut() {
            for _ in 0..64 {
                // The smaller of two draws, so that some classes get 0 and some get much.
                let class = self.below(classes).min(self.below(classes));
                row[class] += 1.0 / 64.0;
            }
        }
        targets
    }
}
