//! The Python package: built and installed as a user does it, into an environment of its own, and tested there.

use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "bindings/python";

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
    pip(&["--requirement", &format!("{PACKAGE}/tests/requirements.txt")])?;
    pip(&["--no-deps", "--force-reinstall", &format!("./{PACKAGE}")])?;
    let within = |arguments: &[&str]| run(Command::new(absolute(&python)?).args(arguments).current_dir(PACKAGE));
    within(&["-m", "ruff", "check", "."])?;
    within(&["-m", "ruff", "format", "--check", "."])?;
    within(&["-m", "mypy.stubtest", "softmargin._core"])?;
    within(&["-m", "pytest", "--quiet", "--doctest-modules", "--pyargs", "softmargin", "tests"])
}

fn interpreter(environment: &Path) -> PathBuf {
    environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" })
}

/// Not resolved: the environment is found by the path of its interpreter.
fn absolute(python: &Path) -> Result<PathBuf, String> {
    std::path::absolute(python).map_err(|cause| format!("{}: {cause}", python.display()))
}

fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|cause| format!("{command:?}: {cause}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}
