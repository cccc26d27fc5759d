//! A checked loss: the result of [`LossSpec::build`].
//!
//! The check rejects every combination of parts that has no minimum, no meaning or no effect, and gives the reason, so
//! that later computations cannot fail on their parameters. [`rows`](crate::rows) defines the mathematics of its rows;
//! `scores/` and `head/` compute it.

use crate::axes::geometry::Geometry;
use crate::axes::sub_centers;
use crate::error::{Bound, Error, ErrorKind, Result, check_number};
use crate::simd::InstructionSet;
use crate::spec::LossSpec;
use crate::state::LossState;
use std::sync::Arc;

/// A checked loss; created by [`LossSpec::build`]. Cloning is cheap: clones share the spec.
#[derive(Clone, Debug)]
pub struct Loss {
    spec: Arc<LossSpec>,
    num_classes: usize,
    needs: Needs,
    instruction_set: InstructionSet,
}

/// The requirement on an input of a batch: required, optional or rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Must,
    May,
    Not,
}

impl Need {
    fn must_if(needed: bool) -> Self {
        if needed { Self::Must } else { Self::Not }
    }

    fn may_if(useful: bool) -> Self {
        if useful { Self::May } else { Self::Not }
    }
}

/// The requirements of a loss on the inputs other than scores, targets and sample weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    pub(crate) margins: Need,
    pub(crate) embedding_norms: Need,
    pub(crate) weight_norms: Need,
    pub(crate) scale: Need,
    pub(crate) radius: Need,
    pub(crate) state: Need,
}

impl Needs {
    fn of(spec: &LossSpec) -> Self {
        let (angular, bounded) = (spec.margin.is_angular(), spec.geometry.is_bounded());
        let regularized = spec.regularizer.is_some();
        let inner_product = matches!(spec.geometry, Geometry::InnerProduct { .. });
        let averages = spec.negatives.momentum().is_some() || spec.margin.norm_momentum().is_some();
        Self {
            margins: Need::must_if(spec.margin.is_per_sample()),
            embedding_norms: Need::must_if(regularized || spec.margin.is_from_norm() || (angular && !bounded)),
            weight_norms: Need::must_if(angular && inner_product),
            scale: Need::may_if(spec.scale.is_learned()),
            radius: Need::may_if(spec.regularizer.and_then(|term| term.initial_radius()).is_some()),
            state: Need::must_if(averages || spec.margin.is_drawn() || spec.margin.anneal().is_some()),
        }
    }
}

impl LossSpec {
    /// Checks every part against the others and returns the loss for `num_classes` classes.
    ///
    /// # Errors
    /// If a part is out of range or parts cannot be combined. The message names them and gives the reason.
    ///
    /// ```
    /// use softmargin::{Scale, presets};
    /// let learned = Scale::Learned { initial: 1.0, min: 0.1, max: 10.0 };
    /// let hinge = presets::CRAMMER_SINGER.spec().with_scale(learned);
    /// assert!(hinge.build(10).is_err(), "a hinge is proportional to its scale, which would fall to its minimum");
    /// # Ok::<(), softmargin::Error>(())
    /// ```
    pub fn build(self, num_classes: usize) -> Result<Loss> {
        Loss::new(self, num_classes)
    }
}

impl Loss {
    fn new(spec: LossSpec, num_classes: usize) -> Result<Self> {
        if num_classes == 0 {
            let advice = "give the number of classes of the data";
            return Err(Error::new(ErrorKind::Spec, "num_classes", "at least 1", "0", advice));
        }
        let bounded = spec.geometry.is_bounded();
        check_number("geometry.temperature", spec.geometry.temperature(), Bound::Positive)?;
        spec.scale.check()?;
        spec.scale.check_range_over(spec.geometry.temperature())?;
        spec.margin.check(num_classes, bounded)?;
        if spec.margin.is_angular() && spec.geometry.has_bias() {
            let expected = "none with a margin on the angle";
            let advice =
                "a score with a bias is no cosine times norms: leave the bias out, or use a margin on the score";
            return Err(Error::new(ErrorKind::Spec, "geometry.bias", expected, "one", advice));
        }
        spec.comparison.check(bounded, spec.scale)?;
        if let Some(regularizer) = spec.regularizer {
            regularizer.check(spec.geometry)?;
        }
        check_class_weights(spec.class_weights.as_deref(), num_classes)?;
        spec.negatives.check(spec.geometry)?;
        let needs = Needs::of(&spec);
        check_sub_centers(spec.sub_centers, needs.weight_norms == Need::Must)?;
        Ok(Self { spec: Arc::new(spec), num_classes, needs, instruction_set: InstructionSet::best() })
    }

    /// Returns the spec that the loss was built from.
    pub fn spec(&self) -> &LossSpec {
        &self.spec
    }

    /// Returns the number of classes C.
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// Returns true if the loss depends on the norms of the embeddings.
    pub fn needs_embedding_norms(&self) -> bool {
        self.needs.embedding_norms == Need::Must
    }

    /// Returns true if the loss depends on the norms of the prototypes.
    pub fn needs_weight_norms(&self) -> bool {
        self.needs.weight_norms == Need::Must
    }

    pub(crate) fn needs(&self) -> &Needs {
        &self.needs
    }

    pub(crate) fn instruction_set(&self) -> InstructionSet {
        self.instruction_set
    }

    /// Returns the state at the start of training.
    ///
    /// `None` for a loss without a state. Annealed margins, drawn margins, and margins or negatives that depend on
    /// moving averages (of norms or of the targets' cosines) have one.
    pub fn initial_state(&self) -> Option<LossState> {
        (self.needs.state == Need::Must).then(LossState::default)
    }

    /// Returns the same loss, computed with another instruction set. Results of different instruction sets differ by
    /// rounding.
    ///
    /// If the machine does not support `instruction_set`, the loss uses the portable one.
    #[must_use]
    pub fn with_instruction_set(self, instruction_set: InstructionSet) -> Self {
        Self { instruction_set, ..self }
    }
}

/// Rejects sub-centers if the angle depends on the norm of the prototype, which is then not unique for a class.
fn check_sub_centers(count: usize, needs_weight_norms: bool) -> Result<()> {
    sub_centers::check(count)?;
    if count == 1 || !needs_weight_norms {
        return Ok(());
    }
    let expected = "1 with a margin on the angle of inner products";
    let advice = "use cosines or unit weights, whose scores do not depend on the norms of prototypes";
    Err(Error::new(ErrorKind::Spec, "sub_centers", expected, count.to_string(), advice))
}

fn check_class_weights(weights: Option<&[f64]>, num_classes: usize) -> Result<()> {
    let Some(weights) = weights else { return Ok(()) };
    if weights.len() != num_classes {
        let expected = format!("{num_classes} numbers, one per class");
        let advice = "give as many weights as classes";
        return Err(Error::new(ErrorKind::Spec, "class_weights", expected, weights.len().to_string(), advice));
    }
    for (class, &weight) in weights.iter().enumerate() {
        check_number(&format!("class_weights[{class}]"), weight, Bound::NotNegative)?;
    }
    Ok(())
}
