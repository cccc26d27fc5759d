//! The one direction of dependence: core, then Burn, then lab, then command; core, then Python.

use crate::cargo_command;
use serde_json::Value;

/// Which crates of the project a crate may use, and which more its tests may.
const ALLOWED: [(&str, &[&str], &[&str]); 9] = [
    ("softmargin", &[], &["softmargin-oracle"]),
    ("softmargin-oracle", &[], &[]),
    ("softmargin-burn", &["softmargin"], &["softmargin-oracle"]),
    ("softmargin-metrics", &["softmargin"], &[]),
    ("softmargin-report", &[], &[]),
    ("softmargin-lab", &["softmargin", "softmargin-burn", "softmargin-metrics", "softmargin-report"], &[]),
    ("softmargin-cli", &["softmargin", "softmargin-lab"], &[]),
    ("softmargin-python", &["softmargin"], &[]),
    ("xtask", &[], &[]),
];

/// Compares the manifests with the table.
pub(crate) fn check() -> Result<(), String> {
    let output = cargo_command()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .map_err(|cause| format!("cargo metadata: {cause}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|cause| format!("cargo metadata: {cause}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata: no packages")?;
    let names: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    for package in packages {
        check_package(package, &names)?;
    }
    Ok(())
}

fn check_package(package: &Value, names: &[&str]) -> Result<(), String> {
    let name = package["name"].as_str().unwrap_or_default();
    let Some((_, allowed, in_tests)) = ALLOWED.iter().find(|(known, ..)| *known == name) else {
        return Err(format!("{name} is new: give it its place in xtask/src/dependence.rs and ARCHITECTURE.md"));
    };
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let other = dependency["name"].as_str().unwrap_or_default();
        let for_tests = dependency["kind"].as_str() == Some("dev");
        let is_allowed = allowed.contains(&other) || (for_tests && in_tests.contains(&other));
        if names.contains(&other) && !is_allowed {
            return Err(format!("{name} must not depend on {other}"));
        }
    }
    Ok(())
}
