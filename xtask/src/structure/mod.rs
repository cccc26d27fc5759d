//! `cargo xtask structure`: the direction of dependence, between the crates and between the modules of each crate.

mod crates;
mod graph;
mod modules;
mod resolve;
mod sources;
mod table;
mod test_code;
mod uses;

use crates::{Package, packages};
use modules::ModuleGraph;
use std::path::Path;
use table::{ModuleRule, rule_of};

/// The structure of the project, as its sources have it.
pub(crate) struct Structure {
    /// The modules of every crate, and what each one uses.
    pub(crate) description: String,
    /// Everything that is against the rules, one message each.
    pub(crate) faults: Vec<String>,
}

/// Reads all manifests and sources, and compares them with the table.
///
/// # Errors
/// If a manifest or a source file cannot be read.
pub(crate) fn check() -> Result<Structure, String> {
    let packages = packages()?;
    let mut structure = Structure { description: String::new(), faults: crates::faults(&packages) };
    for package in &packages {
        add_modules(package, &mut structure)?;
    }
    Ok(structure)
}

fn add_modules(package: &Package, structure: &mut Structure) -> Result<(), String> {
    // A crate without a row is among the faults already.
    let Ok(rule) = rule_of(&package.name) else { return Ok(()) };
    let here = std::env::current_dir().map_err(|cause| format!("the current folder: {cause}"))?;
    match rule.modules {
        ModuleRule::Exempt(reason) => {
            structure.description.push_str(&format!("{}: modules not checked: {reason}\n\n", package.name));
        }
        ModuleRule::Layers(layers) => {
            for root in &package.roots {
                let root = root.strip_prefix(&here).unwrap_or(root);
                let graph = ModuleGraph::read(root, &|path: &Path| std::fs::read_to_string(path).ok())?;
                structure.description.push_str(&format!("{}:\n{}\n", package.name, graph.describe()));
                structure.faults.extend(graph.faults(layers));
            }
        }
    }
    Ok(())
}
