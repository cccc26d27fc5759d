//! The Python package: built and installed as a user does it, into an environment of its own, and tested there.
//!
//! On Linux with x86-64, PyPI has PyTorch only with CUDA: no extra and no other package there is a build for the CPU.
//! pip's own settings apply, so `PIP_FIND_LINKS` with `PIP_CONSTRAINT` can choose a smaller build from a folder.

use crate::say::say;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PACKAGE: &str = "bindings/python";

/// Sizes of PyTorch 2.15 with its dependencies, as PyPI has them for Python 3.11.
const PYTORCH_SIZE: &str = if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
    "PyTorch with its CUDA libraries is a download of 3.0 GB and takes 5.4 GB on disk"
} else {
    "PyTorch is the largest download"
};

/// Installs the package with what its tests need, and runs them.
pub(crate) fn test() -> Result<(), String> {
    let environment = PathBuf::from("target/python");
    let python = interpreter(&environment);
    if !python.exists() {
        let found = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
        run(Command::new(found).args(["-m", "venv"]).arg(&environment))?;
    }
    let pip = |arguments: &[&str]| {
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(arguments))
    };
    if !has_pytorch(&python) {
        say(&format!("installing what the tests need into {}, once: {PYTORCH_SIZE}", environment.display()));
    }
    pip(&["--requirement", &format!("{PACKAGE}/tests/requirements.txt")])?;
    pip(&["--no-deps", "--force-reinstall", &format!("./{PACKAGE}")])?;
    let within = |arguments: &[&str]| run(Command::new(absolute(&python)?).args(arguments).current_dir(PACKAGE));
    within(&["-m", "ruff", "check", "."])?;
    within(&["-m", "ruff", "format", "--check", "."])?;
    within(&["-m", "mypy.stubtest", "softmargin._core"])?;
    within(&["-m", "pytest", "--quiet", "--doctest-modules", "--pyargs", "softmargin", "tests"])
}

/// Returns whether the environment has PyTorch already. An environment that cannot say so has none.
fn has_pytorch(python: &Path) -> bool {
    let question = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)";
    let status = Command::new(python).args(["-c", question]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn interpreter(environment: &Path) -> PathBuf {
    environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" })
}

/// Makes a path absolute without resolving links: the environment is found by the path of its interpreter.
fn absolute(python: &Path) -> Result<PathBuf, String> {
    std::path::absolute(python).map_err(|cause| format!("{}: {cause}", python.display()))
}

fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|cause| format!("{command:?}: {cause}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}
