//! How much margin each row has: [`Amount`](crate::Amount) resolved against the batch and the state.

use super::Loss;
use super::plan::Plan;
use crate::amount::{Amount, Place, RowAmount, by_frequency, drawn};
use crate::batch::Batch;
use crate::error::Result;
use crate::margin::Margin;
use crate::random::{Generator, Purpose};
use crate::real::Real;
use crate::state::LossState;

/// The amounts of each row of a batch (N), and their slopes by the norm of the row's embedding; all 0 where the row is
/// ignored, where there is no margin, and slopes where the norm decides nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MarginAmounts {
    /// Of a margin on score or logit; of one on the angle [`plus`](crate::AngularMargin::plus), in radians.
    pub amount: Vec<f64>,
    /// Of one on the angle, [`minus`](crate::AngularMargin::minus).
    pub minus: Vec<f64>,
    /// The slope of `amount` by the norm. Under a straight-through gradient it goes nowhere.
    pub amount_slope: Vec<f64>,
    /// The slope of `minus` by the norm.
    pub minus_slope: Vec<f64>,
}

/// The two amounts of every row: `amount` or `plus`, and `minus`.
pub(crate) type RowAmounts = [Vec<RowAmount>; 2];

impl Loss {
    /// The amounts of margin of each row, as numbers. For callers that compute the loss by other means, on a GPU say; the
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
    /// let amounts = loss.margin_amounts(&batch)?;
    /// assert_eq!(amounts.amount, [0.625, 0.8]);
    /// assert!(amounts.amount_slope[0] > 0.003 && amounts.amount_slope[1] == 0.0);
    /// # Ok::<(), softmargin::Error>(())
    /// ```
    pub fn margin_amounts<F: Real>(&self, batch: &Batch<'_, F>) -> Result<MarginAmounts> {
        batch.check(&self.needs)?;
        let (plans, _) = self.plan(batch)?;
        let [amount, minus] = self.amounts(batch, &plans);
        let values = |all: &[RowAmount]| all.iter().map(|amount| amount.value).collect();
        let slopes = |all: &[RowAmount]| all.iter().map(|amount| amount.slope).collect();
        Ok(MarginAmounts {
            amount: values(&amount),
            minus: values(&minus),
            amount_slope: slopes(&amount),
            minus_slope: slopes(&minus),
        })
    }

    /// The amounts of every row of a batch that has been checked.
    pub(crate) fn amounts<F: Real>(&self, batch: &Batch<'_, F>, plans: &[Plan]) -> RowAmounts {
        let [first, second] = self.spec.margin.places(self.spec.geometry.is_bounded());
        let none = || vec![RowAmount::default(); plans.len()];
        match &self.spec.margin {
            Margin::None => [none(), none()],
            Margin::Score { amount } | Margin::Logit { amount } => [each(amount, first, batch, plans), none()],
            Margin::Angle(angle) => [each(&angle.plus, first, batch, plans), each(&angle.minus, second, batch, plans)],
        }
    }
}

/// One amount of every row.
fn each<F: Real, T: Copy + Into<f64>>(
    amount: &Amount<T>,
    place: Place,
    batch: &Batch<'_, F>,
    plans: &[Plan],
) -> Vec<RowAmount> {
    let fixed = LossState::default();
    let state = batch.state.unwrap_or(&fixed);
    let constant = |value: f64| RowAmount { value, slope: 0.0 };
    match amount {
        Amount::One(m) => of_kept(plans, |_, _| constant((*m).into())),
        Amount::PerClass(all) => of_kept(plans, |_, class| constant(all[class].into())),
        Amount::PerSample => {
            of_kept(plans, |row, _| constant(batch.margins.map_or(0.0, |margins| margins[row].widen())))
        }
        Amount::Drawn { mean, deviation } => {
            let mut stream = Generator::new(state.seed, Purpose::Margins, state.step);
            let normal: Vec<f64> = plans.iter().map(|_| stream.normal()).collect();
            of_kept(plans, |row, _| constant(drawn((*mean).into(), (*deviation).into(), normal[row], place.range)))
        }
        Amount::FromNorm(amount) => of_kept(plans, |row, _| {
            let norm = batch.embedding_norms.map_or(0.0, |norms| norms[row].widen());
            amount.of(norm, state, place.is_added_to_angle)
        }),
        Amount::ByFrequency { largest, class_counts } => {
            let of_class = by_frequency((*largest).into(), class_counts.as_deref().unwrap_or_default());
            of_kept(plans, |_, class| constant(of_class(class)))
        }
    }
}

/// The amount of each row that counts, by its number and its class.
fn of_kept(plans: &[Plan], of: impl Fn(usize, usize) -> RowAmount) -> Vec<RowAmount> {
    let rows = plans.iter().enumerate();
    rows.map(|(row, plan)| if plan.weight > 0.0 { of(row, plan.class) } else { RowAmount::default() }).collect()
}
