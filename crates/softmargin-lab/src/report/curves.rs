//! Loss and accuracy over the epochs, of training and, where there is one, of validation.

use crate::observer::Epoch;
use plotters::prelude::*;

const CHART: (u32, u32) = (520, 280);
const BLUE: RGBColor = RGBColor(32, 98, 201);
const ORANGE: RGBColor = RGBColor(222, 120, 20);

/// A line of a chart.
struct Curve {
    name: &'static str,
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

impl Curve {
    fn of(name: &'static str, color: RGBColor, epochs: &[Epoch], value: impl Fn(&Epoch) -> Option<f64>) -> Self {
        let point = |epoch: &Epoch| Some((epoch.epoch as f64, value(epoch).filter(|value| value.is_finite())?));
        Self { name, color, points: epochs.iter().filter_map(point).collect() }
    }
}

pub(super) fn section(epochs: &[Epoch]) -> Result<String, String> {
    let loss = [
        Curve::of("training", BLUE, epochs, |epoch| Some(epoch.loss)),
        Curve::of("validation", ORANGE, epochs, |epoch| epoch.validation_loss),
    ];
    let accuracy = [
        Curve::of("training (running)", BLUE, epochs, |epoch| Some(epoch.accuracy)),
        Curve::of("validation", ORANGE, epochs, |epoch| epoch.validation_accuracy),
    ];
    let charts = chart("loss", &loss, None)? + &chart("accuracy", &accuracy, Some(1.0))?;
    let note = "Training figures are means over the pass, on samples changed at random and while the model learns; \
                validation figures are those of the model at the end of the pass, on samples as they are.";
    Ok(format!("<div class=\"beside\">{charts}</div><p class=\"note\">{note}</p>"))
}

/// Curves over the epochs, as an SVG picture; `top` is the highest value that there can be.
fn chart(title: &str, curves: &[Curve], top: Option<f64>) -> Result<String, String> {
    let values = || curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1));
    let high = top.unwrap_or_else(|| values().fold(0.0, f64::max) * 1.05).max(1e-6);
    let lowest = values().fold(high, f64::min);
    // An accuracy is looked at near its top; a loss down to 0, or below where it is negative.
    let low = if top.is_some() { (lowest * 20.0).floor() / 20.0 } else { lowest.min(0.0) }.min(high - 0.05 * high);
    let mut svg = String::new();
    draw(&mut svg, title, curves, (low, high)).map_err(|cause| cause.to_string())?;
    Ok(svg)
}

fn draw(
    svg: &mut String,
    title: &str,
    curves: &[Curve],
    (low, high): (f64, f64),
) -> Result<(), Box<dyn std::error::Error>> {
    let epochs = curves.iter().flat_map(|curve| &curve.points).map(|point| point.0).fold(1.0, f64::max);
    // A single epoch stands in the middle.
    let (first, last) = if epochs > 1.0 { (1.0, epochs) } else { (0.5, 1.5) };
    let area = SVGBackend::with_string(svg, CHART).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(first..last, low..high)?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .x_labels(if epochs > 1.0 { (epochs as usize).min(8) } else { 3 })
        .y_labels(6)
        .x_label_formatter(&|x| if x.fract() == 0.0 { format!("{x:.0}") } else { String::new() })
        .y_label_formatter(&|y| if high - low < 0.2 { format!("{y:.3}") } else { format!("{y:.2}") })
        .light_line_style(TRANSPARENT)
        .draw()?;
    let shown: Vec<&Curve> = curves.iter().filter(|curve| !curve.points.is_empty()).collect();
    for Curve { name, color, points } in &shown {
        let line = LineSeries::new(points.iter().copied(), color.stroke_width(2));
        let key = |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2));
        chart.draw_series(line)?.label(*name).legend(key);
        if let [only] = points[..] {
            chart.draw_series(std::iter::once(Circle::new(only, 3, color.filled())))?;
        }
    }
    if shown.len() > 1 {
        let place = if title == "loss" { SeriesLabelPosition::UpperRight } else { SeriesLabelPosition::LowerRight };
        chart.configure_series_labels().position(place).background_style(WHITE.mix(0.8)).draw()?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(epoch: usize, loss: f64, validation: Option<f64>) -> Epoch {
        Epoch {
            epoch,
            loss,
            accuracy: 1.0 - loss / 10.0,
            validation_loss: validation,
            validation_accuracy: validation.map(|loss| 1.0 - loss / 10.0),
            learning_rate: 0.1,
            images_per_second: 1.0,
            seconds: 1.0,
        }
    }

    #[test]
    fn charts_are_drawn_for_no_epoch_one_and_many() {
        for count in [0, 1, 2, 30] {
            let epochs: Vec<Epoch> = (1..=count).map(|number| epoch(number, 1.0 / number as f64, Some(0.5))).collect();
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
