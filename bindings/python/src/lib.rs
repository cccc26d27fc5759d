//! The core crate as a Python extension: arrays in and out without copies, and without the interpreter's lock while
//! anything is computed. What users see is written in Python, in `python/softmargin`; this module is its engine room.

mod arrays;
mod errors;
mod functions;
mod head;
mod lease;
mod loss;
mod memory;
mod optimizer;
mod spec;
mod threads;

use pyo3::prelude::*;

/// The engine room of softmargin; not for direct use.
#[pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::functions::{
        cross_entropy, entropy, kl_divergence, log_softmax, log_sum_exp, self_information, softmax, softplus,
    };
    #[pymodule_export]
    use super::head::{Head, Sampled};
    #[pymodule_export]
    use super::lease::release_memory;
    #[pymodule_export]
    use super::loss::Loss;
    #[pymodule_export]
    use super::optimizer::Optimizer;
    #[pymodule_export]
    use super::spec::{losses, needs_class_counts};

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::threads::loaded();
        Ok(())
    }

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name that it has in Python")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
