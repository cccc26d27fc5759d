//! The core crate and the metrics crate as a Python extension module: arrays are passed without copies, and the GIL is released during the
//! computation. The public API is written in Python, in `python/softmargin`, and calls this module.

mod arrays;
mod errors;
mod functions;
mod head;
mod lease;
mod loss;
mod memory;
mod metrics;
mod optimizer;
mod row_arrays;
mod rows;
mod spec;
mod threads;

use pyo3::prelude::*;

/// Extension module of softmargin; not for direct use.
#[pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::functions::{
        cross_entropy, entropy, kl_divergence, log_softmax, log_sum_exp, self_information, softmax, softplus,
    };
    #[pymodule_export]
    use super::head::{Head, SampledClasses};
    #[pymodule_export]
    use super::lease::release_memory;
    #[pymodule_export]
    use super::loss::Loss;
    #[pymodule_export]
    use super::metrics::classification;
    #[pymodule_export]
    use super::optimizer::Optimizer;
    #[pymodule_export]
    use super::rows::{RowPlan, plan_rows, sweep_of, update_rows};
    #[pymodule_export]
    use super::spec::{losses, needs_class_counts};

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::threads::loaded();
        Ok(())
    }

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the Python convention for this name")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
