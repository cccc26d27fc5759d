//! Curves over whole numbers, as an SVG picture.

use crate::error::Error;
use plotters::prelude::*;

/// Pixels.
const SIZE: (u32, u32) = (520, 280);
pub(crate) const BLUE: RGBColor = RGBColor(32, 98, 201);
pub(crate) const ORANGE: RGBColor = RGBColor(222, 120, 20);

/// The position of the legend.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Corner {
    UpperRight,
    LowerRight,
}

/// A curve: its name in the legend, and its points.
pub(crate) struct Curve {
    name: &'static str,
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

impl Curve {
    /// Creates a curve through the points that are finite.
    pub(crate) fn new(name: &'static str, color: RGBColor, points: impl Iterator<Item = (f64, f64)>) -> Self {
        Self { name, color, points: points.filter(|point| point.1.is_finite()).collect() }
    }
}

/// Some curves over the same axis, which begins at 1.
pub(crate) struct LineChart {
    pub(crate) title: &'static str,
    pub(crate) x_label: &'static str,
    /// Those without points are left out.
    pub(crate) curves: Vec<Curve>,
    /// The highest possible value, for values that are read near their top.
    pub(crate) top: Option<f64>,
    pub(crate) legend: Corner,
}

impl LineChart {
    /// Draws the chart as SVG.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub(crate) fn svg(&self) -> Result<String, Error> {
        let mut svg = String::new();
        self.draw(&mut svg).map_err(|cause| Error::new(self.title, cause))?;
        Ok(svg)
    }

    /// Returns the least and the greatest value of the vertical axis.
    fn range(&self) -> (f64, f64) {
        let values = || self.curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1));
        let high = self.top.unwrap_or_else(|| values().fold(0.0, f64::max) * 1.05).max(1e-6);
        let lowest = values().fold(high, f64::min);
        // Values with a top are read near it; others down to 0, or below if they are negative.
        let low = if self.top.is_some() { (lowest * 20.0).floor() / 20.0 } else { lowest.min(0.0) };
        (low.min(high - 0.05 * high), high)
    }

    fn draw(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let (low, high) = self.range();
        let end = self.curves.iter().flat_map(|curve| &curve.points).map(|point| point.0).fold(1.0, f64::max);
        // A single point stands in the middle.
        let (first, last) = if end > 1.0 { (1.0, end) } else { (0.5, 1.5) };
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 15))
            .margin(8)
            .x_label_area_size(36)
            .y_label_area_size(48)
            .build_cartesian_2d(first..last, low..high)?;
        chart
            .configure_mesh()
            .x_desc(self.x_label)
            .x_labels(if end > 1.0 { (end as usize).min(8) } else { 3 })
            .y_labels(6)
            .x_label_formatter(&|x| if x.fract() == 0.0 { format!("{x:.0}") } else { String::new() })
            .y_label_formatter(&|y| if high - low < 0.2 { format!("{y:.3}") } else { format!("{y:.2}") })
            .light_line_style(TRANSPARENT)
            .draw()?;
        let shown: Vec<&Curve> = self.curves.iter().filter(|curve| !curve.points.is_empty()).collect();
        for Curve { name, color, points } in &shown {
            let line = LineSeries::new(points.iter().copied(), color.stroke_width(2));
            let key = |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2));
            chart.draw_series(line)?.label(*name).legend(key);
            if let [only] = points[..] {
                chart.draw_series(std::iter::once(Circle::new(only, 3, color.filled())))?;
            }
        }
        if shown.len() > 1 {
            let place = match self.legend {
                Corner::UpperRight => SeriesLabelPosition::UpperRight,
                Corner::LowerRight => SeriesLabelPosition::LowerRight,
            };
            chart.configure_series_labels().position(place).background_style(WHITE.mix(0.8)).draw()?;
        }
        area.present()?;
        Ok(())
    }
}
