//! SVG pictures of numbers. A chart knows titles and values, not what they measure.

pub(crate) mod confusion_matrix;
pub(crate) mod line_chart;
