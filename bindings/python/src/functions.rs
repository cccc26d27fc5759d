//! Measures of distributions and smooth functions, over the rows of a matrix.

use crate::arrays::{Number, read, with_type_of};
use crate::errors::raised;
use crate::threads::compute;
use ndarray::{Array1, Array2, ArrayView1, Axis, Ix1, Ix2};
use numpy::{PyArray1, PyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use softmargin::measures::{self, Unit};
use softmargin::smooth;
use std::borrow::Cow;

fn unit_of(name: &str) -> PyResult<Unit> {
    match name {
        "nats" => Ok(Unit::Nats),
        "bits" => Ok(Unit::Bits),
        _ => Err(PyValueError::new_err(format!("unit: expected \"nats\" or \"bits\", found \"{name}\""))),
    }
}

fn slice<F: Number>(row: ArrayView1<'_, F>) -> Cow<'_, [F]> {
    row.to_slice().map_or_else(|| Cow::Owned(row.to_vec()), Cow::Borrowed)
}

/// Maps every row to a number.
fn of_rows<'py>(
    rows: &Bound<'py, PyAny>,
    of: impl Fn(&[f64]) -> softmargin::Result<f64> + Send + Sync,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let (py, rows) = (rows.py(), read::<f64, Ix2>("p", rows)?);
    let rows = rows.as_array();
    let found: softmargin::Result<Vec<f64>> =
        compute(py, || rows.rows().into_iter().map(|row| of(&slice(row))).collect());
    Ok(PyArray1::from_vec(py, found.map_err(raised)?))
}

/// Maps every pair of rows to a number.
fn of_pairs<'py>(
    p: &Bound<'py, PyAny>,
    q: &Bound<'py, PyAny>,
    of: impl Fn(&[f64], &[f64]) -> softmargin::Result<f64> + Send + Sync,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let (py, p, q) = (p.py(), read::<f64, Ix2>("p", p)?, read::<f64, Ix2>("q", q)?);
    let (p, q) = (p.as_array(), q.as_array());
    let found: softmargin::Result<Vec<f64>> =
        compute(py, || p.rows().into_iter().zip(q.rows()).map(|(p, q)| of(&slice(p), &slice(q))).collect());
    Ok(PyArray1::from_vec(py, found.map_err(raised)?))
}

#[pyfunction]
pub(crate) fn self_information<'py>(p: Bound<'py, PyAny>, unit: &str) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let (unit, py) = (unit_of(unit)?, p.py());
    let p = read::<f64, Ix1>("p", &p)?;
    let p = p.as_array();
    let found: softmargin::Result<Vec<f64>> =
        compute(py, || p.iter().map(|&p| measures::self_information(p, unit)).collect());
    Ok(PyArray1::from_vec(py, found.map_err(raised)?))
}

#[pyfunction]
pub(crate) fn entropy<'py>(p: Bound<'py, PyAny>, unit: &str) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let unit = unit_of(unit)?;
    of_rows(&p, |p| measures::entropy(p, unit))
}

#[pyfunction]
pub(crate) fn cross_entropy<'py>(
    p: Bound<'py, PyAny>,
    q: Bound<'py, PyAny>,
    unit: &str,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let unit = unit_of(unit)?;
    of_pairs(&p, &q, |p, q| measures::cross_entropy(p, q, unit))
}

#[pyfunction]
pub(crate) fn kl_divergence<'py>(
    p: Bound<'py, PyAny>,
    q: Bound<'py, PyAny>,
    unit: &str,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let unit = unit_of(unit)?;
    of_pairs(&p, &q, |p, q| measures::kl_divergence(p, q, unit))
}

/// Maps every row to a row.
fn rows_to_rows<'py, F: Number>(
    scores: &Bound<'py, PyAny>,
    of: impl Fn(&[F]) -> softmargin::Result<Vec<F>> + Send + Sync,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, scores) = (scores.py(), read::<F, Ix2>("scores", scores)?);
    let scores = scores.as_array();
    let found: softmargin::Result<Array2<F>> = compute(py, || {
        let mut answer = Array2::zeros(scores.dim());
        for (row, mut out) in scores.axis_iter(Axis(0)).zip(answer.axis_iter_mut(Axis(0))) {
            out.assign(&ArrayView1::from(&of(&slice(row))?));
        }
        Ok(answer)
    });
    Ok(PyArray2::from_owned_array(py, found.map_err(raised)?).into_any())
}

#[pyfunction]
pub(crate) fn softmax<'py>(scores: Bound<'py, PyAny>, temperature: f64) -> PyResult<Bound<'py, PyAny>> {
    with_type_of!(&scores, F => rows_to_rows::<F>(&scores, |z| smooth::softmax(z, temperature)))
}

#[pyfunction]
pub(crate) fn log_softmax<'py>(scores: Bound<'py, PyAny>, temperature: f64) -> PyResult<Bound<'py, PyAny>> {
    with_type_of!(&scores, F => rows_to_rows::<F>(&scores, |z| smooth::log_softmax(z, temperature)))
}

#[pyfunction]
pub(crate) fn log_sum_exp<'py>(scores: Bound<'py, PyAny>, temperature: f64) -> PyResult<Bound<'py, PyAny>> {
    with_type_of!(&scores, F => log_sum_exp_of::<F>(&scores, temperature))
}

fn log_sum_exp_of<'py, F: Number>(scores: &Bound<'py, PyAny>, temperature: f64) -> PyResult<Bound<'py, PyAny>> {
    let (py, scores) = (scores.py(), read::<F, Ix2>("scores", scores)?);
    let scores = scores.as_array();
    let found: softmargin::Result<Vec<F>> =
        compute(py, || scores.rows().into_iter().map(|row| smooth::log_sum_exp(&slice(row), temperature)).collect());
    Ok(PyArray1::from_owned_array(py, Array1::from(found.map_err(raised)?)).into_any())
}

#[pyfunction]
pub(crate) fn softplus<'py>(x: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let (py, x) = (x.py(), read::<f64, Ix1>("x", &x)?);
    let x = x.as_array();
    Ok(PyArray1::from_owned_array(py, compute(py, || x.mapv(smooth::softplus))))
}
