//! Metrics of trained models, from predicted classes and labels.

use crate::arrays::read;
use crate::errors::raised;
use crate::threads::compute;
use ndarray::Ix1;
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use softmargin::{Error, ErrorKind};
use softmargin_metrics::Classification;
use softmargin_metrics::confusion::ClassCounts;

/// Compares predicted classes (N) with labels (N). The values of a class (C) are NaN where they are undefined.
#[pyfunction]
pub(crate) fn classification<'py>(
    predicted: Bound<'py, PyAny>,
    labels: Bound<'py, PyAny>,
    num_classes: usize,
) -> PyResult<Bound<'py, PyDict>> {
    let py = predicted.py();
    let (predicted, labels) = (read::<i64, Ix1>("predicted", &predicted)?, read::<i64, Ix1>("labels", &labels)?);
    let (predicted, labels) = (predicted.as_array(), labels.as_array());
    let found = compute(py, || {
        let predicted = predicted.iter().map(|&class| index("predictions", class, num_classes));
        let labels = labels.iter().map(|&label| index("labels", label, num_classes));
        Classification::new(
            &predicted.collect::<Result<Vec<_>, _>>()?,
            &labels.collect::<Result<Vec<_>, _>>()?,
            num_classes,
        )
    });
    let found = found.map_err(raised)?;
    let result = PyDict::new(py);
    result.set_item("accuracy", found.accuracy)?;
    result.set_item("mean_recall", found.mean_recall())?;
    result.set_item("mean_f1", found.mean_f1())?;
    let metrics = [
        ("recall", ClassCounts::recall as fn(&ClassCounts) -> _),
        ("precision", ClassCounts::precision),
        ("f1", ClassCounts::f1),
    ];
    for (name, metric) in metrics {
        let of_classes = found.classes.iter().map(|class| metric(class).unwrap_or(f64::NAN));
        result.set_item(name, PyArray1::from_iter(py, of_classes))?;
    }
    let support = found.classes.iter().map(|class| class.support as i64);
    result.set_item("support", PyArray1::from_iter(py, support))?;
    Ok(result)
}

/// Returns a class index as the metrics crate has it.
fn index<T: TryFrom<i64>>(subject: &str, class: i64, num_classes: usize) -> softmargin::Result<T> {
    T::try_from(class).map_err(|_| {
        let expected = format!("class indices below {num_classes}");
        Error::new(ErrorKind::Label, subject, expected, class.to_string(), "number the classes from 0")
    })
}
