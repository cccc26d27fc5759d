//! The direction of dependence between crates: the manifests against the table.

use super::table::{CrateRule, rule_of};
use crate::cargo::cargo_command;
use serde_json::Value;
use std::path::PathBuf;

/// One package of the workspace, as `cargo metadata` describes it.
pub(crate) struct Package {
    /// The package name.
    pub(crate) name: String,
    /// The root files of its library and its programs.
    pub(crate) roots: Vec<PathBuf>,
    /// Its dependencies: the name, and whether only tests use it.
    dependencies: Vec<(String, bool)>,
}

/// Reads the workspace's packages.
///
/// # Errors
/// If `cargo metadata` fails or prints something else than expected.
pub(crate) fn packages() -> Result<Vec<Package>, String> {
    let output = cargo_command()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .map_err(|cause| format!("cargo metadata: {cause}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|cause| format!("cargo metadata: {cause}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata: expected a list of packages, found none")?;
    Ok(packages.iter().map(read_package).collect())
}

fn read_package(package: &Value) -> Package {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let is_code = |target: &Value| {
        list(&target["kind"]).iter().any(|kind| matches!(kind.as_str(), Some("lib" | "rlib" | "cdylib" | "bin")))
    };
    Package {
        name: text(&package["name"]),
        roots: list(&package["targets"])
            .iter()
            .filter(|target| is_code(target))
            .map(|target| PathBuf::from(text(&target["src_path"])))
            .collect(),
        dependencies: list(&package["dependencies"])
            .iter()
            .map(|dependency| (text(&dependency["name"]), dependency["kind"].as_str() == Some("dev")))
            .collect(),
    }
}

/// Compares the dependencies of all packages with the table; returns one message per fault.
pub(crate) fn faults(packages: &[Package]) -> Vec<String> {
    let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut faults = Vec::new();
    for package in packages {
        match rule_of(&package.name) {
            Ok(rule) => faults.extend(package_faults(package, rule, &names)),
            Err(fault) => faults.push(fault),
        }
    }
    faults
}

fn package_faults(package: &Package, rule: &CrateRule, names: &[&str]) -> Vec<String> {
    let is_allowed = |name: &str, for_tests: bool| {
        rule.uses.contains(&name) || (for_tests && rule.tests_use.contains(&name)) || !names.contains(&name)
    };
    package
        .dependencies
        .iter()
        .filter(|(name, for_tests)| !is_allowed(name, *for_tests))
        .map(|(name, _)| format!("crate {} must not depend on {name}", package.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Package, faults};

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        let dependencies = dependencies.iter().map(|(name, for_tests)| ((*name).to_owned(), *for_tests)).collect();
        Package { name: name.into(), roots: Vec::new(), dependencies }
    }

    #[test]
    fn dependencies_against_the_direction_are_named() {
        let packages = [
            package("softmargin", &[("softmargin-oracle", true), ("serde", false)]),
            package("softmargin-oracle", &[]),
            package("softmargin-burn", &[("softmargin", false), ("softmargin-oracle", false)]),
        ];
        assert_eq!(faults(&packages), ["crate softmargin-burn must not depend on softmargin-oracle"]);
    }

    #[test]
    fn a_crate_without_a_row_is_named() {
        let faults = faults(&[package("softmargin-new", &[])]);
        assert!(faults.len() == 1 && faults[0].contains("crate softmargin-new: expected a row"), "{faults:?}");
    }
}
