//! Loss and accuracy over the epochs, on the training set and, if there is one, on the validation set.

use crate::charts::line_chart::{BLUE, Corner, Curve, LineChart, ORANGE};
use crate::error::Error;
use crate::records::EpochPoint;

pub(crate) fn section(epochs: &[EpochPoint]) -> Result<String, Error> {
    let curve = |name, color, value: fn(&EpochPoint) -> Option<f64>| {
        let points = epochs.iter().filter_map(|epoch| Some((epoch.epoch as f64, value(epoch)?)));
        Curve::new(name, color, points)
    };
    let loss = LineChart {
        title: "loss",
        x_label: "epoch",
        curves: vec![
            curve("training", BLUE, |epoch| Some(epoch.loss)),
            curve("validation", ORANGE, |epoch| epoch.validation_loss),
        ],
        top: None,
        legend: Corner::UpperRight,
    };
    let accuracy = LineChart {
        title: "accuracy",
        x_label: "epoch",
        curves: vec![
            curve("training (running)", BLUE, |epoch| Some(epoch.accuracy)),
            curve("validation", ORANGE, |epoch| epoch.validation_accuracy),
        ],
        top: Some(1.0),
        legend: Corner::LowerRight,
    };
    let charts = loss.svg()? + &accuracy.svg()?;
    let note = "Training figures are means over the epoch, on augmented samples and while the model learns; validation \
                figures are those of the model at the end of the epoch, on unchanged samples.";
    Ok(format!("<div class=\"beside\">{charts}</div><p class=\"note\">{note}</p>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(epoch: usize, loss: f64, validation: Option<f64>) -> EpochPoint {
        EpochPoint {
            epoch,
            loss,
            accuracy: 1.0 - loss / 10.0,
            validation_loss: validation,
            validation_accuracy: validation.map(|loss| 1.0 - loss / 10.0),
        }
    }

    #[test]
    fn charts_are_drawn_for_no_epoch_one_and_many() {
        for count in [0, 1, 2, 30] {
            let epochs: Vec<EpochPoint> =
                (1..=count).map(|number| epoch(number, 1.0 / number as f64, Some(0.5))).collect();
            let page = section(&epochs).unwrap();
            assert_eq!(page.matches("<svg").count(), 2, "{page}");
            assert_eq!(page.contains("validation\n"), count > 0, "{page}");
        }
    }

    #[test]
    fn a_run_without_validation_has_one_curve_a_chart() {
        let one = section(&[epoch(1, 1.0, None), epoch(2, 0.5, None)]).unwrap();
        let two = section(&[epoch(1, 1.0, Some(1.0)), epoch(2, 0.5, Some(0.7))]).unwrap();
        let lines = |page: &str| page.matches("stroke-width=\"2\"").count();
        assert_eq!((lines(&one), lines(&two)), (2, 8), "two curves and two keys a chart with validation");
    }
}
