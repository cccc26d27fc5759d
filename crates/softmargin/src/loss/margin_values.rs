//! How much margin each row has: [`MarginValue`](crate::MarginValue) resolved against the batch and the state.

use super::Loss;
use super::plan::Plan;
use crate::batch::Batch;
use crate::error::Result;
use crate::margin::Margin;
use crate::margin_value::{MarginValue, Place, RowMargin, by_frequency, drawn};
use crate::random::{Generator, Purpose};
use crate::real::Real;
use crate::state::LossState;

/// The margin values of each row of a batch (N), and their slopes by the norm of the row's embedding; all 0 where the row is
/// ignored, where there is no margin, and slopes where the norm decides nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowMargins {
    /// Of a margin on score or logit; of one on the angle [`plus`](crate::AngularMargin::plus), in radians.
    pub value: Vec<f64>,
    /// Of one on the angle, [`minus`](crate::AngularMargin::minus).
    pub minus: Vec<f64>,
    /// The slope of `value` by the norm. Under a straight-through gradient it goes nowhere.
    pub value_slope: Vec<f64>,
    /// The slope of `minus` by the norm.
    pub minus_slope: Vec<f64>,
}

/// The two margin values of every row: `value` or `plus`, and `minus`.
pub(crate) type RowMarginPairs = [Vec<RowMargin>; 2];

impl Loss {
    /// The margin values of margin of each row, as numbers. For callers that compute the loss by other means, on a GPU say; the
    /// scores of the batch are not looked at, and may be a single zero, broadcast.
    ///
    /// # Errors
    /// As [`value`](Self::value), but for what the scores would show.
    ///
    /// ```
    /// use ndarray::{arr0, array};
    /// use softmargin::{presets, Batch};
    /// let loss = presets::find("magface")?.spec().build(4)?;
    /// let (zero, targets, norms) = (arr0(0.0_f32), array![2, 0], array![60.0, 200.0]);
    /// let scores = zero.broadcast((2, 4)).expect("a single number takes any shape");
    /// let batch = Batch::new(scores, targets.view()).with_embedding_norms(norms.view());
    /// let margins = loss.row_margins(&batch)?;
    /// assert_eq!(margins.value, [0.625, 0.8]);
    /// assert!(margins.value_slope[0] > 0.003 && margins.value_slope[1] == 0.0);
    /// # Ok::<(), softmargin::Error>(())
    /// ```
    pub fn row_margins<F: Real>(&self, batch: &Batch<'_, F>) -> Result<RowMargins> {
        batch.check(&self.needs)?;
        let (plans, _) = self.plan(batch)?;
        let [value, minus] = self.values(batch, &plans);
        let values = |all: &[RowMargin]| all.iter().map(|value| value.value).collect();
        let slopes = |all: &[RowMargin]| all.iter().map(|value| value.slope).collect();
        Ok(RowMargins {
            value: values(&value),
            minus: values(&minus),
            value_slope: slopes(&value),
            minus_slope: slopes(&minus),
        })
    }

    /// The margin values of every row of a batch that has been checked.
    pub(crate) fn values<F: Real>(&self, batch: &Batch<'_, F>, plans: &[Plan]) -> RowMarginPairs {
        let [first, second] = self.spec.margin.places(self.spec.geometry.is_bounded());
        let none = || vec![RowMargin::default(); plans.len()];
        match &self.spec.margin {
            Margin::None => [none(), none()],
            Margin::Score { value } | Margin::Logit { value } => [each(value, first, batch, plans), none()],
            Margin::Angle(angle) => [each(&angle.plus, first, batch, plans), each(&angle.minus, second, batch, plans)],
        }
    }
}

/// One margin value of every row.
fn each<F: Real, T: Copy + Into<f64>>(
    value: &MarginValue<T>,
    place: Place,
    batch: &Batch<'_, F>,
    plans: &[Plan],
) -> Vec<RowMargin> {
    let fixed = LossState::default();
    let state = batch.state.unwrap_or(&fixed);
    let constant = |value: f64| RowMargin { value, slope: 0.0 };
    match value {
        MarginValue::One(m) => of_kept(plans, |_, _| constant((*m).into())),
        MarginValue::PerClass(all) => of_kept(plans, |_, class| constant(all[class].into())),
        MarginValue::PerSample => {
            of_kept(plans, |row, _| constant(batch.margins.map_or(0.0, |margins| margins[row].widen())))
        }
        MarginValue::Drawn { mean, std } => {
            let mut stream = Generator::new(state.seed, Purpose::Margins, state.step);
            let normal: Vec<f64> = plans.iter().map(|_| stream.normal()).collect();
            of_kept(plans, |row, _| constant(drawn((*mean).into(), (*std).into(), normal[row], place.range)))
        }
        MarginValue::FromNorm(value) => of_kept(plans, |row, _| {
            let norm = batch.embedding_norms.map_or(0.0, |norms| norms[row].widen());
            value.of(norm, state, place.is_added_to_angle)
        }),
        MarginValue::ByFrequency { largest, class_counts } => {
            let of_class = by_frequency((*largest).into(), class_counts.as_deref().unwrap_or_default());
            of_kept(plans, |_, class| constant(of_class(class)))
        }
    }
}

/// The margin value of each row that counts, by its number and its class.
fn of_kept(plans: &[Plan], of: impl Fn(usize, usize) -> RowMargin) -> Vec<RowMargin> {
    let rows = plans.iter().enumerate();
    rows.map(|(row, plan)| if plan.weight > 0.0 { of(row, plan.class) } else { RowMargin::default() }).collect()
}
