//! The margin values of each row: [`MarginValue`](crate::MarginValue) evaluated for the batch and the state.

use super::inputs::RowInputs;
use super::plan::PlannedRow;
use crate::axes::margin::Margin;
use crate::axes::margin_value::{MarginValue, Place, RowMargin, by_frequency, drawn};
use crate::loss::Loss;
use crate::number::Real;
use crate::random::{Generator, Purpose};
use crate::state::LossState;

impl Loss {
    /// Sets the margin values of every valid row.
    pub(super) fn set_margins<F: Real>(&self, rows: &mut [PlannedRow], inputs: &RowInputs<'_, F>) {
        let [first, second] = self.spec().margin.places(self.spec().geometry.is_bounded());
        match &self.spec().margin {
            Margin::None => {}
            Margin::Score { value } | Margin::Logit { value } => set(rows, 0, value, first, inputs),
            Margin::Angle(angle) => {
                set(rows, 0, &angle.plus, first, inputs);
                set(rows, 1, &angle.minus, second, inputs);
            }
        }
    }
}

/// Sets one of the two margin values of every valid row.
fn set<F: Real, T: Copy + Into<f64>>(
    rows: &mut [PlannedRow],
    which: usize,
    value: &MarginValue<T>,
    place: Place,
    inputs: &RowInputs<'_, F>,
) {
    let initial = LossState::default();
    let state = inputs.state.unwrap_or(&initial);
    let constant = |value: f64| RowMargin { value, slope: 0.0 };
    let mut each = |of: &mut dyn FnMut(usize, &PlannedRow) -> RowMargin| {
        for (index, row) in rows.iter_mut().enumerate().filter(|(_, row)| row.weight > 0.0) {
            row.margins[which] = of(index, row);
        }
    };
    match value {
        MarginValue::One(m) => each(&mut |_, _| constant((*m).into())),
        MarginValue::PerClass(all) => each(&mut |_, row| constant(all[row.class].into())),
        MarginValue::PerSample => {
            each(&mut |index, _| constant(inputs.margins.map_or(0.0, |margins| margins[index].widen())));
        }
        MarginValue::Drawn { mean, std } => {
            // Ignored rows are drawn too, so that a row's draw depends only on its position in the batch.
            let mut stream = Generator::new(state.seed, Purpose::Margins, state.step);
            let normal: Vec<f64> = (0..inputs.count()).map(|_| stream.normal()).collect();
            each(&mut |index, _| constant(drawn((*mean).into(), (*std).into(), normal[index], place.range)));
        }
        MarginValue::FromNorm(value) => {
            each(&mut |_, row| value.of(row.embedding_norm, state, place.is_added_to_angle));
        }
        MarginValue::ByFrequency { largest, class_counts } => {
            let of_class = by_frequency((*largest).into(), class_counts.as_deref().unwrap_or_default());
            each(&mut |_, row| constant(of_class(row.class)));
        }
    }
}
